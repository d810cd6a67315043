"""A folder of engines: `engines/<key>/`, each built once, whole or not there."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.engines.engine import file_digest
from pipeline.engines.manifest import FILE, Manifest, unusable
from pipeline.errors import InputError
from pipeline.runtime.digits import three_digits

log = logging.getLogger(__name__)

LOCK = ".lock"
_KEY, _LEFTOVER = re.compile(r"[0-9a-f]{16}"), re.compile(r"\.[0-9a-f]{16}\.\d+\.tmp")
"""Names of engines' folders, and of unfinished ones: nothing else in a folder is ours to remove."""


@contextmanager
def build_lock(cache: Path) -> Iterator[None]:
    """One build at a time in a cache, whoever asks: builders compete for the device, and would time each other."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is compiling in %s; waiting for it", cache)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def new_engine(cache: Path, key: str) -> Iterator[Path]:
    """A folder to build in, which becomes `cache/key` at the end; after an exception nothing is left of it.

    To be used under `build_lock`, so that what killed builds left is nobody's and goes.
    """
    for leftover in _leftovers(cache):
        shutil.rmtree(leftover)
    temporary = cache / f".{key}.{os.getpid()}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        target = cache / key
        if target.exists():  # damaged, or it would not be built again
            shutil.rmtree(target)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def reject(folder: Path, manifest: Manifest, reason: str) -> None:
    """Keep an engine from being used, now and whenever it is compiled again; its file goes."""
    if manifest.file:
        (folder / manifest.file).unlink()
    replace(manifest, refused=reason, file=None, sha256=None, bytes=0).write(folder)


def find_built(cache: Path, key: str) -> Manifest | None:
    """The manifest of an engine that is there and whole, rejected ones too.

    None where there is none, and, with a warning, where reading it raises `InputError` or its file is damaged.
    """
    try:
        manifest = Manifest.read(cache / key)
        if manifest.file and file_digest(cache / key / manifest.file) != manifest.sha256:
            raise InputError(f"{cache / key / manifest.file} is damaged")
    except InputError as error:
        if (cache / key).exists():
            log.warning("%s; building it again", error)
        return None
    return manifest


def find_engine(path: Path) -> Path:
    """The engine's folder that `--engine` means: itself, or the only usable one in a cache.

    Raises `InputError` where a cache has none, or several.
    """
    if (path / FILE).is_file() or not path.is_dir():
        return path.absolute()
    found = [
        folder for folder, manifest, _ in engines_in(path) if isinstance(manifest, Manifest) and not unusable(manifest)
    ]
    if len(found) == 1:
        return found[0].absolute()
    what = f"{len(found)} usable engines; name one" if found else "no usable engine"
    raise InputError(f"{path} has {what}; `spadework engines list {path}` shows them")


def engines_in(cache: Path) -> list[tuple[Path, Manifest | InputError, str | None]]:
    """Each engine's folder, its manifest (or what is wrong with it), and why it cannot be used here."""
    found: list[tuple[Path, Manifest | InputError, str | None]] = []
    for folder in sorted(cache.iterdir()) if cache.is_dir() else []:
        if not folder.is_dir() or not _KEY.fullmatch(folder.name):
            continue
        try:
            manifest = Manifest.read(folder)
            found.append((folder, manifest, unusable(manifest)))
        except InputError as error:
            found.append((folder, error, str(error)))
    return found


def list_engines(cache: Path) -> str:
    """A line for each engine, and one below it for what is wrong with it."""
    lines = []
    for folder, manifest, reason in engines_in(cache):
        if isinstance(manifest, Manifest):
            speed = "" if manifest.milliseconds is None else f", {three_digits(manifest.milliseconds)} ms a picture"
            lines.append(f"{folder.name}  {manifest.spec}, {manifest.bytes / 1e6:.1f} MB{speed}")
            lines.append(f"    {manifest.parity}")
        else:
            lines.append(folder.name)
        if reason:
            lines.append(f"    unusable: {reason}")
    return "\n".join(lines) or f"no engines in {cache}; `spadework compile` makes them"


def clean_engines(cache: Path, *, everything: bool = False) -> list[Path]:
    """Remove engines that cannot be used here, rejected ones, and what killed builds left; or everything."""
    if not (cache / LOCK).exists():  # nothing was ever built here
        return []
    with build_lock(cache):
        engines = [folder for folder, _, reason in engines_in(cache) if reason or everything]
        for path in (removed := sorted([*_leftovers(cache), *engines])):
            shutil.rmtree(path)
    return removed


def _leftovers(cache: Path) -> list[Path]:
    """Folders that killed builds had not finished."""
    return [path for path in cache.iterdir() if path.is_dir() and _LEFTOVER.fullmatch(path.name)]
