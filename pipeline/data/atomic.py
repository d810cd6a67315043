"""Files that appear whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to, which takes its place when the block ends well.

    A reader sees the old file or the new one, never half of one, also after a crash of the machine: the content is on
    the disk before it has the name. An exception inside the block leaves the old file, and nothing beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(target: Path, content: bytes | str) -> None:
    """Write a file's whole content (text as UTF-8) by way of `atomic_path`."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def publish(ready: Path, target: Path) -> None:
    """Give a file that is written its name, on the disk too."""
    sync(ready)
    ready.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
