"""Runs what README.md and the help of every verb show, as pasted, with an installed spadework in an empty folder.

    python tests/wheel/documented.py README.md FOLDER           # the quick start: a minute on two quiet cores
    python tests/wheel/documented.py README.md FOLDER --all     # all of it, and the example of each verb's help

`python` is that of the environment in which the wheel is installed. In a FOLDER that is there already it goes on with
what was not run or failed. What an example reads and no example makes is put there first (`prepare_inputs`). `SHORTER`
has the commands that take too long, with what is added to them, and `NOT_RUN` those that need what cannot be had here,
each with the reason; both are told. Exit code 1 if a command fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
LIMIT_SECONDS = 1200
"""For one command: only against hanging."""

SHORTER = {
    "spadework prepare landscape": "--train 40 --validation 24",
    "spadework train-segmenter": "--set segmenter.steps=150",
    "spadework train ": "--set training.steps=2 --set training.decay_steps=1",
    "spadework usefulness": "--seeds 2 --fractions 1/2,1 --set segmenter.steps=4",
}
"""Commands that begin so, unless they say it themselves, and what is added: the steps are the same, only fewer."""

QUICK_START_ENDS = "With a generator and a segmenter of your own"
"""In the README."""

NOT_RUN = {
    "pip install": "run.sh installs the wheel",
    "make ": "from a checkout; .ci/run runs it",
    "spadework demo": "ten minutes; .ci/run runs it",
    "spadework study": "hours of training",
    "spadework prepare coco-stuff": "needs the data set",
    "spadework prepare ade20k": "needs the data set",
    "spadework prepare cityscapes": "needs the data set",
    "spadework weights fetch": "needs a network",
    "spadework import-weights": "needs a public checkpoint",
    "spadework prefer --votes": "needs somebody's votes",
    "spadework prefer images/ my-images/ --votes": "needs somebody's votes",
    "spadework bench": "minutes of a quiet machine",
}
"""Commands that begin so, and why they are left out."""


FIRST = ("prepare", "train", "synthesize", "evaluate", "filter")
"""Verbs whose examples make what those of others read."""


@dataclass(frozen=True)
class Command:
    """What is shown somewhere."""

    where: str
    text: str
    """As pasted; of Python the program."""
    python: bool = False


def commands_of(page: str) -> Iterator[Command]:
    """The indented lines and the Python of a page, in its order."""
    for python, block in re.findall(
        r"^```python\n(.*?)^```|^((?:    [^\n]*(?:\n|$))+)", page, re.MULTILINE | re.DOTALL
    ):
        if python:
            yield Command("README", python, python=True)
        else:
            yield from (Command("README", line) for line in pasted(block))


def help_commands() -> Iterator[Command]:
    """The examples in the help of every verb."""
    import click

    from cli import main

    def verbs(group: click.Group) -> Iterator[tuple[str, click.Command]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from ((f"{name} {below}", verb) for below, verb in verbs(command))
            else:
                yield name, command

    found = list(verbs(main))
    found.sort(key=lambda entry: next((n for n, start in enumerate(FIRST) if entry[0].startswith(start)), len(FIRST)))
    for name, verb in found:
        _, _, examples = (verb.help or "").partition("Example:\n")
        yield from (Command(f"{name} --help", line) for line in pasted(examples))


def pasted(block: str) -> Iterator[str]:
    """The commands of a block: lines with a backslash at the end go on, and what is behind # is for people."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        if line.strip():
            yield re.sub(r"\s+#.*", "", line.strip())


def prepare_inputs(folder: Path) -> None:
    """What examples read and no other command makes: label maps and photographs, an old CamVid, a run `runs/x`."""
    import numpy as np

    import cli

    weights = Path(cli.__file__).parent / "weights" / "landscape.safetensors"
    random = np.random.default_rng(0)
    names = [f"{sequence}_{frame}" for sequence in ("0001TP", "0006R0") for frame in range(8)]
    for name in names:
        label = (np.arange(96)[:, None] // 40 + (np.arange(128) > random.integers(20, 100))).astype(np.uint8)
        picture = (label[..., None] * 60 + random.integers(0, 40, (96, 128, 3))).astype(np.uint8)
        for place in (f"masks/{name}.png", f"datasets/camvid/{{}}/labels/{name}.png"):
            write_picture(folder, place, label)
        for place in (f"photos/{name}.jpg", f"datasets/camvid/{{}}/images/{name}.jpg"):
            write_picture(folder, place, picture)
    (folder / "classes.txt").write_text("sky\nroad\ntree\ncar\n")
    corners = [0, 0, 60, 0, 60, 40, 0, 40]
    images = [{"id": n, "file_name": f"{name}.jpg", "width": 128, "height": 96} for n, name in enumerate(names)]
    parts = [
        {"id": n, "image_id": n, "category_id": 1, "iscrowd": 0, "segmentation": [corners]} for n in range(len(names))
    ]
    file = {"images": images, "annotations": parts, "categories": [{"id": 1, "name": "car"}]}
    (folder / "instances.json").write_text(json.dumps(file))
    (folder / "data").mkdir()
    for link, to in {
        "data/train.parquet": "landscape/train.parquet",
        "data/validation.parquet": "landscape/validation.parquet",
        "report-a": "report",
        "report-b": "report",
    }.items():
        (folder / link).symlink_to(to)
    for name in ("x", "spade", "pix2pixhd"):
        run = folder / "runs" / name
        run.mkdir(parents=True)
        shutil.copy(weights, run / "generator.safetensors")


def write_picture(folder: Path, place: str, pixels: object) -> None:
    """A picture, or one in `train` and one in `val`."""
    from PIL import Image

    for split in ("train", "val") if "{}" in place else ("",):
        path = folder / place.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)  # type: ignore[arg-type]


def run(command: Command, folder: Path) -> int:
    """The exit code of a command in the folder; a service is asked for its page and ended."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    if command.python:
        (folder / "example.py").write_text(command.text)
        words = [sys.executable, "example.py"]
    else:
        words = shlex.split(command.text)
    if words[:2] == ["spadework", "serve"]:
        return ask_service([*words, "--port", "0"], folder, environment)  # the one that is shown may be taken
    with (folder / "log.txt").open("ab") as log:
        log.write(f"$ {shlex.join(words)}\n".encode())
        log.flush()
        return subprocess.run(
            words, cwd=folder, env=environment, stdout=log, stderr=log, check=False, timeout=LIMIT_SECONDS
        ).returncode


def ask_service(words: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Start a service, fetch its page, end it by Ctrl-C."""
    program = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    try:
        line = program.stdout.readline()
        address = re.search(r"http://\S+?/(?=;|\s|$)", line)
        if address is None:
            return program.wait(60) or 1
        with urllib.request.urlopen(address[0], timeout=60) as answer:
            return 0 if b"<html" in answer.read() else 1
    finally:
        program.send_signal(signal.SIGINT)
        program.wait(60)
        program.stdout.close()


def main() -> int:
    """Run them, one after the other, and say what came of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readme", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--all", action="store_true", help="beyond the quick start, and the examples of every verb's help"
    )
    given = parser.parse_args()
    page = given.readme.read_text()
    quick, ends, _ = page.partition(QUICK_START_ENDS)
    assert ends, f"the README has no more '{QUICK_START_ENDS}'"
    commands = [*commands_of(page), *help_commands()] if given.all else list(commands_of(quick))
    done = given.folder / "done.txt"
    if not done.exists():
        given.folder.mkdir(parents=True)
        prepare_inputs(given.folder)
        done.touch()
    failed, began = 0, time.monotonic()
    for command in dict.fromkeys(commands):
        shown = f"{command.where}: {command.text.splitlines()[0]}"
        if shown in done.read_text().splitlines():
            continue
        reason = next((why for start, why in NOT_RUN.items() if command.text.startswith(start)), None)
        if reason:
            print(f"   -    {shown}\n          not run: {reason}", flush=True)
            continue
        added = next((more for start, more in SHORTER.items() if f"{command.text} ".startswith(start)), "")
        added = "" if added.split(" ")[0] in command.text and "--set" not in added else added
        if command.text.startswith("spadework synthesize ") and command.text.endswith(" --out images/"):
            # The README and the help of two verbs show one folder for pictures of what are two data sets here.
            shutil.rmtree(given.folder / "images", ignore_errors=True)
        start = time.monotonic()
        code = run(Command(command.where, f"{command.text} {added}".strip(), command.python), given.folder)
        print(f"{time.monotonic() - start:6.1f} s {shown}" + (f"\n          with {added}" if added else ""), flush=True)
        if code:
            failed += 1
            print(f"          FAILED with exit code {code}; see {given.folder / 'log.txt'}", flush=True)
        else:
            with done.open("a") as file:
                file.write(f"{shown}\n")
    print(f"{failed} failed, in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
