"""Kills a command at each of its file operations in turn, gives it again, and compares what it leaves.

    python -m tests.crash_campaign synthesize train evaluate prepare compile

An operation is a file opened for writing, renamed, removed or synced by Python's own calls, as an audit hook sees
them. The command runs in a forked process, which kills itself (SIGKILL) just before operation n, for every n; the same
command then has to end with the same bytes as an undisturbed one. Prints `verb: N of N`. `--every 10` tries each tenth
only, `--full-disk 20` lets so many random writes fail with ENOSPC instead.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RECIPE = """
name: tiny
labels: landscape
data: {train: data/train.parquet, validation: data/validation.parquet, height: 32, width: 32}
generator: {channels: 1, hidden: 4}
discriminator: {channels: 2, scales: 1, layers: 2}
losses: {perceptual: 0}
training: {steps: 4, batch_size: 2, checkpoint_every: 2, sample_every: 100, log_every: 1, validate_every: 1}
"""
SEGMENTER = Path(__file__).parents[1] / "weights" / "landscape-segmenter.safetensors"


@dataclass(frozen=True)
class Verb:
    """A command, what it needs first, and what of its output must be equal."""

    command: str
    output: str
    varies: str = r"$^"
    """Names of files that hold times; they must be there again, with any content."""


VERBS = {
    "prepare": Verb("prepare landscape --out out --train 3 --validation 2 --size 32x32 --workers 1", "out"),
    "synthesize": Verb(
        "synthesize --input data/validation.parquet --checkpoint run --out out --workers 0 --export folder",
        "out",
        r"summary\.json|token",
    ),
    "train": Verb(
        f"train tiny.yaml --out out --workers 0 --segmenter-weights {SEGMENTER}",
        "out",
        r"stats\.jsonl|summary\.html|events.*|\.lock|tensorboard",
    ),
    "evaluate": Verb(
        "evaluate --images images --reference data/validation.parquet --out out --examples 1", "out", r"report\..*"
    ),
    "compile": Verb("compile --checkpoint run --out out --backend eager --maps 1", "out", r"manifest\.json|\.lock"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verbs", nargs="*", default=list(VERBS), choices=list(VERBS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--full-disk", type=int, default=0)
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="spadework-crash-") as folder:
        base = Path(folder) / "base"
        base.mkdir()
        (base / "tiny.yaml").write_text(RECIPE)
        preload()
        for command in (
            "prepare landscape --out data --train 4 --validation 4 --size 32x32 --workers 1",
            "train tiny.yaml --out run --workers 0",
            "synthesize --input data/validation.parquet --checkpoint run --out images --workers 0",
        ):
            assert run(base, command, Path(folder) / "log").ok, (Path(folder) / "log").read_text()
        for name in options.verbs:
            bad += campaign(name, base, Path(folder), every=options.every, full_disk=options.full_disk)
    sys.exit(bad > 0)


def preload() -> None:
    """Heavy modules before the forks, so that a run takes a second; no threads of theirs are started."""
    import torch

    import cli
    import evaluation.evaluate  # noqa: F401
    import pipeline.engines.compile
    import pipeline.synthesis.synthesize  # noqa: F401
    import training.loop  # noqa: F401

    torch.set_num_threads(1)
    assert cli.main


def campaign(name: str, base: Path, folder: Path, *, every: int, full_disk: int) -> int:
    """How many tries of a verb went wrong."""
    verb = VERBS[name]
    log = folder / "log"
    clean = shutil.copytree(base, folder / "clean")
    undisturbed = run(clean, verb.command, log)
    assert undisturbed.ok, log.read_text()
    expected = digest(clean / verb.output, verb.varies)
    numbers = list(range(1, undisturbed.operations + 1, every))
    if full_disk:
        numbers = random.Random(0).sample(numbers, min(full_disk, len(numbers)))
    good, bad = 0, []
    for number in numbers:
        place = shutil.copytree(base, folder / "try")
        first = run(place, verb.command, log, at=number, full=bool(full_disk))
        again = run(place, verb.command, log)
        found = digest(place / verb.output, verb.varies) if again.ok else {}
        if found == expected and (not full_disk or first.code in (0, 2)):
            good += 1
        else:
            differing = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
            told = f"  {number} ({first.what}): exit {first.code}, then {again.code}; {differing[:4]}"
            bad.append("\n".join([told, log.read_text()[-600:]]))
        shutil.rmtree(place)
    shutil.rmtree(clean)
    print(f"{name}: {good} of {len(numbers)}" + (" full disks" if full_disk else " kills"), flush=True)
    print("\n".join(bad[:5]), end="\n" if bad else "", flush=True)
    return len(bad)


@dataclass(frozen=True)
class Run:
    """What came of a command."""

    code: int
    operations: int
    what: str

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.code == 0


def run(place: Path, command: str, log: Path, *, at: int = 0, full: bool = False) -> Run:
    """Run a command in a fork; before file operation `at` it is killed, or with `full` the operation fails."""
    count = log.with_name("count")
    count.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(place)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            watch(place, count, at, full)
            from cli import main as spadework

            spadework(command.split(), standalone_mode=False)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001 - the parent wants to know
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    seen = json.loads(count.read_text()) if count.exists() else [0, ""]
    return Run(os.waitstatus_to_exitcode(status), *seen)


def watch(place: Path, count: Path, at: int, full: bool) -> None:
    """Count the file operations below a folder, and stop at one of them."""
    root = str(place)
    state = {"seen": 0, "inside": False}

    def happens(what: str, path: object) -> None:
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        place = os.path.abspath(text)  # noqa: PTH100 - links stay links
        if not place.startswith(root) or state["inside"]:
            return
        state["inside"] = True
        state["seen"] += 1
        descriptor = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, json.dumps([state["seen"], f"{what} {place.removeprefix(root)}"]).encode())
        os.close(descriptor)
        state["inside"] = False
        if state["seen"] == at:
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            happens("open", arguments[0])
        elif event == "os.rename":
            happens("rename", arguments[1])
        elif event in ("os.remove", "os.mkdir", "os.rmdir") and not full:
            happens(event, arguments[0])

    sync: Callable[[int], None] = os.fsync

    def fsync(descriptor: int) -> None:
        happens("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    os.fsync = fsync
    sys.addaudithook(hook)


def digest(folder: Path, varies: str) -> dict[str, str]:
    """A hash of each file below a folder, by its name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            told = any(re.fullmatch(varies, part) for part in Path(name).parts)
            if told and path.name.startswith("events"):
                continue
            found[name] = "" if told else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


if __name__ == "__main__":
    main()
