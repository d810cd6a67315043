"""Folders and files on this machine or in an object store, each file appearing whole or not at all."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

from pipeline.data.atomic import publish, temporary_name, write_atomic
from pipeline.errors import InputError
from pipeline.runtime.stages import in_order

GOOGLE_RETRY_SECONDS = 120
"""How long Google's client tries again what fails; its own 15 minutes are no answer to a mistyped name."""

AT_ONCE = 32
"""Requests to an object store, each of which takes tens of milliseconds."""

FilePath = str
"""A local path, or a URI that pyarrow knows (`s3://`, `gs://`, `hdfs://`, `fsspec+...://`)."""


def is_uri(location: str | Path) -> bool:
    """Whether a location names a file system other than this machine's; `file://` is this machine's."""
    return "://" in str(location) and not str(location).startswith("file://")


def local_path(location: str | Path) -> Path:
    """A local location as an absolute path."""
    assert not is_uri(location)
    return Path(str(location).removeprefix("file://")).absolute()


def absolute(location: str | Path, base: Path | None = None) -> str:
    """A location that means the same in every process: a URI as it is, a local path from `base` (None: from here)."""
    return (
        str(location) if is_uri(location) else str((base or Path()).absolute() / str(location).removeprefix("file://"))
    )


def base_name(location: str | Path) -> str:
    """The last part of a location, without the options of a URI."""
    return posixpath.basename((str(location).partition("?")[0] if is_uri(location) else str(location)).rstrip("/"))


def beside(location: str | Path, suffix: str) -> str:
    """A location whose name has a suffix: `s3://maps/in-filtered?scheme=http` beside `s3://maps/in/?scheme=http`."""
    if not is_uri(location):
        return f"{local_path(location).resolve()}{suffix}"
    path, mark, options = str(location).partition("?")
    return path.rstrip("/") + suffix + mark + options


def filesystem(location: str | Path) -> tuple[Any, str]:
    """The pyarrow file system of a location and the path inside it; `InputError` if there is no such scheme."""
    from pyarrow import fs

    if not is_uri(location):
        return fs.LocalFileSystem(), str(local_path(location))
    uri = str(location)
    if not uri.partition("://")[2].strip("/"):
        raise InputError(f"{uri} names nothing; write a bucket, and a path in it")
    if uri.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={GOOGLE_RETRY_SECONDS}"
    with reachable(location):
        return fs.FileSystem.from_uri(uri)


@contextmanager
def reachable(location: str | Path) -> Iterator[None]:
    """A `with` block in which what an object store makes fail becomes an `InputError`; errors of local files stay."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError) or not is_uri(location):
            raise
        raise InputError(f"{str(location).partition('?')[0]} cannot be reached: {first_line(error)}") from None


def find_files(location: str | Path, extension: str = ".parquet") -> tuple[str, list[FilePath]]:
    """The files that an input names: a file, a folder (searched through), or a pattern with `*`.

    Returns the folder to which names are relative, and the files sorted by path, with the options of a URI
    (`?endpoint_override=...`) if it has some. Hidden and `_` names (of files
    or of folders on the way) are left out. Raises `InputError` where nothing is found.
    """
    if not is_uri(location):
        return _find_local(local_path(location), extension)
    text, mark, options = str(location).partition("?")
    options = mark + options
    system, path = filesystem(str(location))
    prefix = text[: len(text) - len(path)] if text.endswith(path) else text.split("://")[0] + "://"
    root = path.split("*")[0].rpartition("/")[0] if "*" in path else path
    import pyarrow.fs

    with reachable(location):
        if "*" not in path and system.get_file_info(path).type == pyarrow.fs.FileType.File:
            return prefix + path.rpartition("/")[0], [prefix + path + options]
        selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
        found = [info.path for info in system.get_file_info(selector) if info.is_file]
    if "*" in path:
        found = [name for name in found if fnmatch.fnmatchcase(name, path)]
    else:
        found = [name for name in found if name.endswith(extension) and _visible(posixpath.relpath(name, root))]
    if not found:
        raise InputError(f"{text} does not exist, or has no {extension} files")
    return prefix + root, [prefix + name + options for name in sorted(found)]


def relative(path: FilePath, root: str) -> str:
    """A file's name below the root that `find_files` found it in, without the options of a URI."""
    return posixpath.relpath(path.partition("?")[0] if is_uri(path) else path, root)


def _find_local(path: Path, extension: str) -> tuple[str, list[FilePath]]:
    if path.is_file():
        return str(path.parent), [str(path)]
    if path.is_dir():
        found = [file for file in path.rglob(f"*{extension}") if file.is_file()]
        files = sorted(str(file) for file in found if _visible(str(file.relative_to(path))))
        if not files:
            raise InputError(f"folder {path} has no {extension} files")
        return str(path), files
    if "*" in str(path):
        # Path.glob takes no absolute pattern.
        files = sorted(file for file in glob(str(path), recursive=True) if Path(file).is_file())  # noqa: PTH207
        if not files:
            raise InputError(f"no file matches {path}")
        return str(Path(str(path).split("*")[0] + "x").parent), files
    raise InputError(f"{path} does not exist; give a Parquet file, a folder of them, a pattern or a URI")


def _visible(relative: str) -> bool:
    return not any(part.startswith((".", "_")) for part in relative.split("/"))


class Folder:
    """An output folder, local or at a URI. Names are relative, with `/`. Pickles to its location.

    A file is published in one step: locally it is synced under a hidden name and renamed, so that even a power cut
    leaves the old state or the new one; an object store takes it in one piece.
    """

    def __init__(self, location: str | Path) -> None:
        text = str(location).rstrip("/")  # But for a URI of nothing else.
        self.location = text if is_uri(text) else str(location) if is_uri(location) else str(local_path(location))
        self._remote: tuple[Any, str] | None = None

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Folder, (self.location,)

    def __str__(self) -> str:
        return self.location

    @property
    def local(self) -> Path | None:
        """Its path on this machine; None for a folder at a URI."""
        return None if is_uri(self.location) else Path(self.location)

    @contextmanager
    def _store(self) -> Iterator[tuple[Any, str]]:
        """The file system and the path of the folder in it, for a `with` block that is to be `reachable`."""
        if self._remote is None:
            self._remote = filesystem(self.location)
        with reachable(self.location):
            yield self._remote

    def exists(self) -> bool:
        """Whether there is such a folder (in an object store: anything in it), or a file of this name."""
        if self.local:
            return self.local.exists()
        from pyarrow import fs

        with self._store() as (system, root):
            return system.get_file_info(root).type != fs.FileType.NotFound

    @contextmanager
    def filled_at_once(self) -> Iterator[Path]:
        """A local folder to write into, which becomes this new folder when the block ends well.

        Here it appears with all its files or not at all. An object store takes one file after the other: an exception
        leaves none of them, a killed process may leave some.
        """
        if self.local:
            self.local.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_name(self.local, tidy=False)
            shutil.rmtree(temporary, ignore_errors=True)  # Of a killed process that had our number.
            try:
                temporary.mkdir()
                yield temporary
                temporary.replace(self.local)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
            done: list[str] = []
            try:
                for file in sorted(file for file in Path(name).rglob("*") if file.is_file()):
                    done.append(file.relative_to(name).as_posix())
                    self.publish(done[-1], file)
            except BaseException:
                for published in done:
                    self.delete(published)
                raise

    def names(self, subfolder: str = "") -> list[str]:
        """The names of the files in a subfolder (not below it), sorted; empty if there is no such folder."""
        return sorted(self.sizes(subfolder))

    def sizes(self, subfolder: str = "") -> dict[str, int]:
        """The bytes of each file in a subfolder (not below it), from one listing; empty if there is no such folder."""
        if self.local:
            folder = self.local / subfolder
            if not folder.is_dir():
                return {}
            with os.scandir(folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        from pyarrow import fs

        with self._store() as (system, root):
            selector = fs.FileSelector(posixpath.join(root, subfolder) if subfolder else root, allow_not_found=True)
            return {info.base_name: info.size for info in system.get_file_info(selector) if info.is_file}

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if it does not exist."""
        if self.local:
            file = self.local / name
            return file.stat().st_size if file.is_file() else None
        with self._store() as (system, root):
            info = system.get_file_info(posixpath.join(root, name))
            return info.size if info.is_file else None

    def open(self, name: str) -> Any:
        """A file for reading (a binary, seekable pyarrow file)."""
        with self._store() as (system, root):
            return system.open_input_file(posixpath.join(root, name))

    def read(self, name: str) -> bytes | None:
        """A small file's content; None if it does not exist."""
        if self.size(name) is None:
            return None
        return self._content(name)

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """The content of small files that exist, in order: of an object store many at a time, as it answers slowly."""
        if self.local:
            yield from map(self._content, names)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from in_order(pool, self._content, names, ahead=2 * AT_ONCE)

    def _content(self, name: str) -> bytes:
        if self.local:
            return (self.local / name).read_bytes()
        with reachable(self.location), self.open(name) as file:
            return bytes(file.read())

    def put(self, name: str, data: bytes) -> None:
        """Publish a small file."""
        if self.local:
            write_atomic(self.local / name, data, tidy=False)  # A job tidies up by itself, once.
            return
        with self._store() as (system, root):
            path = posixpath.join(root, name)
            system.create_dir(posixpath.dirname(path), recursive=True)
            with system.open_output_stream(path) as stream:
                stream.write(data)

    def publish(self, name: str, file: Path) -> None:
        """Move a finished local file here; locally it must be on the same file system as the folder."""
        if not self.local:
            self.put(name, file.read_bytes())
            file.unlink()
            return
        target = self.local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        publish(file, target)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.local:
            (self.local / name).unlink(missing_ok=True)
        elif self.size(name) is not None:
            with self._store() as (system, root):
                system.delete_file(posixpath.join(root, name))

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove files, if they are there: in an object store many at a time."""
        if self.local:
            for name in names:
                self.delete(name)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in in_order(pool, self.delete, names, ahead=2 * AT_ONCE):
                pass

    def sha256(self, name: str) -> str:
        """The checksum of a file's content, in hexadecimal."""
        digest = hashlib.sha256()
        with reachable(self.location), self.open(name) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """An exception's message on a single line, without its full stop."""
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(". ")
