"""Files that appear whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path, *, tidy: bool = True) -> Iterator[Path]:
    """A path beside `target` to write to, which takes its place when the block ends well.

    A reader sees the old file or the new one, never half of one, also after a crash of the machine: the content is on
    the disk before it has the name. An exception inside the block leaves the old file, and nothing beside it. `tidy`
    looks through the folder for what killed processes left of the same file: not for folders of thousands.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target, tidy=tidy)
    try:
        yield temporary
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(target: Path, *, tidy: bool = True) -> Path:
    """Where this process writes what is to become `target`, a file or a folder; with `tidy`, what killed processes
    left of it is removed."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.tmp")
    for path in target.parent.iterdir() if tidy else ():
        found = pattern.fullmatch(path.name)
        if found and not _is_alive(int(found[1])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_atomic(target: Path, content: bytes | str, *, tidy: bool = True) -> None:
    """Write a file's whole content (text as UTF-8) by way of `atomic_path`."""
    with atomic_path(target, tidy=tidy) as temporary:
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
