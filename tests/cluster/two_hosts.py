"""A cluster of two hosts on one machine, in network namespaces: train, synthesize, lose a host in the middle, go on.

    sudo make test-cluster          # some minutes; needs `ip` and the right to use it

Each namespace is a host: an address of its own, and a Ray node started in it. Checked is: training with two workers
ends; synthesis with four workers, of which a host's are killed with it half-way, ends with the bytes of one process
without Ray; an evaluation with two workers ends with its scores. Prints a line for each, and `skipped: ...` where
namespaces cannot be made.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.pipeline.synthesis.cases import output_bytes

ROOT = Path(__file__).parents[2]
HOSTS = {"spadework-a": "10.77.0.1", "spadework-b": "10.77.0.2"}
HEAD, OTHER = HOSTS
PORT = 6399
CPUS = 4
"""Of each host; logical ones."""
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def hosts() -> Iterator[None]:
    """Two namespaces with a cable between them; `CalledProcessError` where that is not allowed."""
    try:
        for name in HOSTS:
            ip("netns", "add", name)
        ip("link", "add", "spadework0", "type", "veth", "peer", "name", "spadework1")
        for name, link in zip(HOSTS, ("spadework0", "spadework1"), strict=True):
            ip("link", "set", link, "netns", name)
            ip("-n", name, "addr", "add", f"{HOSTS[name]}/24", "dev", link)
            for each in (link, "lo"):
                ip("-n", name, "link", "set", each, "up")
        yield
    finally:
        for name in HOSTS:
            power_off(name)
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def power_off(host: str) -> None:
    """Kill everything on a host at once."""
    found = subprocess.run(["ip", "netns", "pids", host], check=False, capture_output=True, text=True)
    for process in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def on(host: str, *command: object, **environment: str) -> list[str]:
    """A command line that runs on a host."""
    settings = [f"{key}={value}" for key, value in {**ENVIRONMENT, **environment}.items()]
    return ["ip", "netns", "exec", host, "env", *settings, *map(str, command)]


def start_ray(host: str) -> None:
    """A node on a host: the head on the first one."""
    place = ["--head", f"--port={PORT}", "--include-dashboard=false"] if host == HEAD else []
    place += [f"--address={HOSTS[HEAD]}:{PORT}"] if host != HEAD else []
    command = on(host, Path(sys.executable).with_name("ray"), "start", *place)
    command += [f"--node-ip-address={HOSTS[host]}", f"--num-cpus={CPUS}", "--disable-usage-stats"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def spadework(*arguments: object) -> list[str]:
    """A verb on the head's host, on the cluster."""
    return on(HEAD, sys.executable, ROOT / "cli.py", *arguments, RAY_ADDRESS=f"{HOSTS[HEAD]}:{PORT}")


def run(*arguments: object) -> str:
    """A verb to its end; what it printed."""
    done = subprocess.run(spadework(*arguments), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lose_a_host(folder: Path, *arguments: object) -> None:
    """Synthesis, during which the second host is lost as soon as some parts are there; then the same command again if
    the first ended with it."""
    process = subprocess.Popen(spadework(*arguments), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list(folder.glob("part-*.parquet"))) < 3:
        assert process.poll() is None, "synthesis ended before the host was lost"
        time.sleep(0.05)
    power_off(OTHER)
    made = len(list(folder.glob("part-*.parquet")))
    code = process.wait()
    print(f"lost {OTHER} after {made} parts; the command ended with {code}", flush=True)
    if code:
        run(*arguments)


def check(folder: Path) -> None:
    """The whole, in a folder."""
    data = folder / "data"
    run("prepare", "landscape", "--out", data, "--train", 64, "--validation", 160, "--size", "64x64", "--workers", 1)
    for host in HOSTS:
        start_ray(host)
    files = [f"--set=data.{part}={data / f'{part}.parquet'}" for part in ("train", "validation")]
    short = ["--set=training.steps=20", "--set=training.decay_steps=0", "--set=segmenter.steps=20"]
    recipe = ROOT / "configs" / "demo.yaml"
    run("train", recipe, "--out", folder / "run", "--workers", 2, *files, *short)
    last = json.loads((folder / "run" / "stats.jsonl").read_text().splitlines()[-1])
    print(f"trained on two workers: {last['step']} steps", flush=True)
    job = ["synthesize", "--input", data / "validation.parquet", "--checkpoint", folder / "run", "--samples", 4]
    lose_a_host(folder / "images", *job, "--out", folder / "images", "--workers", 4)
    run(*job, "--out", folder / "local", "--workers", 0)
    same = output_bytes(folder / "images") == output_bytes(folder / "local")
    print(f"bytes equal to those of one process without Ray: {same}", flush=True)
    assert same
    run("train-segmenter", recipe, "--out", folder / "segmenter", *files, *short)
    scores = run(
        "evaluate", "--images", folder / "images", "--reference", data / "validation.parquet", "--workers", 2,
        "--segmenter-weights", folder / "segmenter", "--out", folder / "report",
    )  # fmt: skip
    print(f"evaluated on two workers: {scores.splitlines()[0]}")


def main() -> int:
    """0 where all of it held, or where there can be no namespaces."""
    if shutil.which("ip") is None:
        print("skipped: there is no `ip` (Debian: iproute2)")
        return 0
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hosts())
        except subprocess.CalledProcessError as error:
            print(f"skipped: no network namespaces here ({error.stderr.strip()})")
            return 0
        check(Path(stack.enter_context(TemporaryDirectory(prefix="spadework-"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
