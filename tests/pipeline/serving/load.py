"""Load on a service on loopback, by hand: throughput, latency, errors by code, memory, and whether answers are right.

    python -m tests.pipeline.serving.load --clients 50 --seconds 60
    python -m tests.pipeline.serving.load --clients 50 --seconds 60 --workers 2 --kill

Clients send shipped templates with a few seeds, each as soon as the answer to its last request is there; every answer
is compared with the bytes that a quiet service gave. With --kill, the process of one replica is killed half way.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]


@contextmanager
def running_verb(workers: int, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`serve` as a process, and its port once it answers; afterwards it is told to stop, and must end well."""
    command = [sys.executable, "cli.py", "serve", "--port", "0", "--folder", str(folder), "--workers", str(workers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout
            found = (re.search(r"http://[\w.]+:(\d+)/", line) for line in service.stdout)
            port = next((int(match[1]) for match in found if match), None)
            if port is None:
                raise SystemExit(f"serve ended with {service.wait()} before it said its address")
            yield service, port
        finally:
            service.send_signal(signal.SIGINT)
            ended = service.wait(120)
    assert ended == 0, f"serve ended with {ended}"


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes, float]:
    """Status, body and the seconds after which to come again."""
    connection.request(method, path, body, {"content-type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read(), float(answer.headers.get("retry-after", 0))


class Client(threading.Thread):
    """Asks, waits, asks again."""

    def __init__(self, port: int, number: int, bodies: list[bytes], expected: list[bytes], ends: float) -> None:
        super().__init__(daemon=True)
        self.port, self.number, self.bodies, self.expected, self.ends = port, number, bodies, expected, ends
        self.seconds: list[float] = []
        self.codes: Counter[str] = Counter()

    def run(self) -> None:
        draw = np.random.default_rng(self.number)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while time.monotonic() < self.ends:
            which = int(draw.integers(len(self.bodies)))
            began = time.monotonic()
            try:
                status, data, wait = ask(connection, "POST", "/api/v1/synthesize", self.bodies[which])
            except (OSError, http.client.HTTPException) as error:
                self.codes[f"lost ({type(error).__name__})"] += 1
                connection.close()
                continue
            wrong = status == 200 and data != self.expected[which]
            self.codes["200, but wrong" if wrong else str(status)] += 1
            if status == 200:
                self.seconds.append(time.monotonic() - began)
            elif status == 503:
                time.sleep(min(wait, 1.0))


def processes(root: int) -> dict[int, tuple[str, int]]:
    """Command line and resident bytes of a process and all that it started, by number."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found: dict[int, tuple[str, int]] = {}
    for number in parents:
        above = number
        while above and above != root:
            above = parents.get(above, 0)
        if above == root:
            try:
                name = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                pages = int(Path(f"/proc/{number}/statm").read_text().split()[1])
                found[number] = name, pages * os.sysconf("SC_PAGE_SIZE")
            except (OSError, ValueError, IndexError):
                continue
    return found


def replicas(root: int) -> dict[int, int]:
    """Resident bytes of the replicas of a service, by process number; none without Ray Serve."""
    return {number: size for number, (name, size) in processes(root).items() if "ServeReplica" in name}


def memory(root: int) -> float:
    """MiB of the processes that hold generators: the service itself, or its replicas."""
    return sum(replicas(root).values() or [processes(root)[root][1]]) / 2**20


def kill_one(root: int) -> int:
    """End one replica at once, and return its number."""
    number = min(replicas(root))
    os.kill(number, signal.SIGKILL)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_verb(options.workers, Path(folder)) as (service, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        templates = json.loads(ask(connection, "GET", "/api/v1/templates")[1])["templates"]
        scenes = [
            {"label_map": each["label_map"], "instance_map": each["instance_map"], "style": {"seed": seed}}
            for each in templates[:4]
            for seed in range(4)
        ]
        bodies = [json.dumps(scene).encode() for scene in scenes]
        expected = [ask(connection, "POST", "/api/v1/synthesize", body)[1] for body in bodies]
        before = memory(service.pid)
        began = time.monotonic()
        ends = began + options.seconds
        clients = [Client(port, number, bodies, expected, ends) for number in range(options.clients)]
        for client in clients:
            client.start()
        time.sleep(options.seconds / 2)
        if options.kill:
            print(f"killed replica {kill_one(service.pid)}", flush=True)
        for client in clients:
            client.join()
        took = time.monotonic() - began
        after = memory(service.pid)
        seconds = np.concatenate([client.seconds for client in clients])
        codes = sum((client.codes for client in clients), Counter())
        print(f"{len(seconds) / took:.1f} pictures a second over {took:.0f} s, {options.clients} clients")
        print("latency, ms: " + ", ".join(f"{q} % {1000 * np.percentile(seconds, q):.0f}" for q in (50, 95, 99)))
        print(f"answers: {dict(codes)}")
        print(f"memory: {before:.0f} MiB before, {after:.0f} MiB after, in {len(replicas(service.pid)) or 1} processes")


if __name__ == "__main__":
    main()
