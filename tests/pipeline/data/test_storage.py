"""Finding files and publishing them, on this machine and elsewhere."""

from __future__ import annotations

import os
import pickle
import uuid

import pytest

from pipeline.data import storage
from pipeline.data.storage import Folder, find_files, relative
from pipeline.errors import InputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    # fsspec's memory file system stands for an object store: no renames, no locks, reached through pyarrow.
    return Folder(tmp_path / "out" if request.param == "local" else f"fsspec+memory://bucket-{uuid.uuid4().hex}/out")


def test_a_file_is_published_read_and_removed(folder, tmp_path):
    assert folder.names() == []
    assert folder.read("a/b.json") is None
    folder.put("a/b.json", b"one")
    folder.put("a/b.json", b"two")
    assert folder.read("a/b.json") == b"two"
    assert folder.names("a") == ["b.json"]
    ready = (folder.local or tmp_path) / "ready.tmp"
    ready.parent.mkdir(exist_ok=True)
    ready.write_bytes(b"part")
    folder.publish("part-0", ready)
    assert folder.size("part-0") == 4
    assert not ready.exists()
    folder.delete("part-0")
    folder.delete("part-0")
    assert folder.size("part-0") is None


def test_many_files_are_listed_read_and_removed(folder):
    assert folder.sizes("a") == {}
    for number in range(70):
        folder.put(f"a/{number}", b"x" * number)
    folder.put("a/deeper/b", b"not listed")
    assert folder.sizes("a") == {str(number): number for number in range(70)}
    names = [f"a/{number}" for number in (69, 0, 3)]
    assert list(folder.read_all(names)) == [b"x" * 69, b"", b"xxx"]
    folder.delete_all([*names, "a/none"])
    assert len(folder.names("a")) == 67


def test_a_folder_pickles_to_its_location(folder):
    assert str(pickle.loads(pickle.dumps(folder))) == str(folder)


def test_a_failed_rename_leaves_the_old_file(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.put("state.json", b"old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        folder.put("state.json", b"new")
    assert folder.read("state.json") == b"old"


def test_inputs_are_files_folders_and_patterns(tmp_path):
    one, two = touch(tmp_path / "a.parquet"), touch(tmp_path / "deep" / "b.parquet")
    touch(tmp_path / "_job" / "rejects.parquet")
    touch(tmp_path / ".a.parquet.12.tmp")
    touch(tmp_path / "notes.txt")
    assert find_files(one) == (str(tmp_path), [str(one)])
    assert find_files(tmp_path) == (str(tmp_path), [str(one), str(two)])
    assert find_files(f"{tmp_path}/*.parquet") == (str(tmp_path), [str(one)])
    assert find_files(f"{tmp_path}/de*/*.parquet") == (str(tmp_path), [str(two)])
    assert find_files(f"file://{tmp_path}/a.parquet") == (str(tmp_path), [str(one)])


def test_inputs_at_a_uri():
    root = f"fsspec+memory://bucket-{uuid.uuid4().hex}"
    store = Folder(root)
    for name in ("a.parquet", "deep/b.parquet", "_job/rejects.parquet", "notes.txt"):
        store.put(name, b"x")
    assert find_files(f"{root}/a.parquet") == (root, [f"{root}/a.parquet"])
    assert find_files(root) == (root, [f"{root}/a.parquet", f"{root}/deep/b.parquet"])
    assert find_files(f"{root}/deep/*.parquet") == (f"{root}/deep", [f"{root}/deep/b.parquet"])


def test_options_of_a_uri_go_with_its_files_but_not_into_names(monkeypatch):
    """Object stores of one's own are reached by options: `s3://maps/in?endpoint_override=host:9000`."""
    import fsspec
    from pyarrow import fs

    root = f"bucket-{uuid.uuid4().hex}"
    Folder(f"fsspec+memory://{root}").put("deep/a.parquet", b"x")
    memory = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("memory")))

    def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
        assert uri.endswith("?scheme=http")
        return memory, uri.partition("?")[0].removeprefix("s3:/")

    monkeypatch.setattr(storage, "filesystem", filesystem)
    for location in (f"s3://{root}?scheme=http", f"s3://{root}/deep/*.parquet?scheme=http"):
        where, (file,) = find_files(location)
        assert file == f"s3://{root}/deep/a.parquet?scheme=http"
        assert relative(file, where) in ("deep/a.parquet", "a.parquet")


@pytest.mark.parametrize("location", ["nothing.parquet", "empty", "none-*.parquet", "fsspec+memory://nowhere/x"])
def test_an_input_that_is_not_there_is_named(tmp_path, location):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=location.split("/")[-1].replace("*", ".")):
        find_files(location if "://" in location else tmp_path / location)


def test_an_unknown_scheme_is_named():
    with pytest.raises(InputError, match="ftp"):
        find_files("ftp://host/x.parquet")


@pytest.mark.parametrize("location", ["s3://", "gs:///"])
def test_a_uri_without_a_bucket_is_refused(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: find_files(location), lambda: Folder(location).put("a", b"x")):
        with pytest.raises(InputError, match=f"^{location} names nothing; write a bucket, and a path in it$"):
            call()
    assert not list(tmp_path.iterdir())


def test_google_is_not_asked_for_a_quarter_of_an_hour(monkeypatch):
    from pyarrow import fs

    asked = []

    class FileSystem:
        @staticmethod
        def from_uri(uri):
            asked.append(uri)
            return None, ""

    monkeypatch.setattr(fs, "FileSystem", FileSystem)
    for uri in ("gs://a/b", "gs://a/b?scheme=http", "gs://a/b?retry_limit_seconds=7", "s3://a/b"):
        storage.filesystem(uri)
    assert asked == [
        "gs://a/b?retry_limit_seconds=120",
        "gs://a/b?scheme=http&retry_limit_seconds=120",
        "gs://a/b?retry_limit_seconds=7",
        "s3://a/b",
    ]


class _Down:
    """A file system whose store fails at everything."""

    def __getattr__(self, name):
        def fail(*_, **__):
            raise OSError(f"{name}: AWS Error NETWORK_CONNECTION\nand pages of it")

        return fail


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: folder.names("a"),
        lambda folder: folder.size("a"),
        lambda folder: folder.read("a"),
        lambda folder: folder.open("a"),
        lambda folder: folder.put("a", b"x"),
        lambda folder: folder.delete("a"),
        lambda folder: folder.sha256("a"),
        lambda folder: find_files(str(folder)),
    ],
)
def test_an_object_store_that_fails_is_named_in_one_line(monkeypatch, call):
    monkeypatch.setattr(storage, "filesystem", lambda location: (_Down(), "bucket/out"))
    with pytest.raises(InputError, match=r"^s3://bucket/out cannot be reached: \w+: AWS Error NETWORK_CONNECTION$"):
        call(Folder("s3://bucket/out?scheme=http"))
