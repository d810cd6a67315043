"""Fetching weights from a local HTTP server: verified, continued, and refused with one line."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from pipeline.errors import InputError
from pipeline.pretrained import fetch
from pipeline.pretrained.fetch import check_weights, fetch_weights
from pipeline.pretrained.registry import (
    FILES,
    WeightsFile,
    find_or_fetched,
    find_weights,
    list_weights,
)

CONTENT = bytes(range(256)) * 64
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path; can ignore ranges, break off, or fail."""

    ranges = True
    breaks_after: int | None = None
    status: int | None = None
    redirect: str | None = None
    content = CONTENT
    content_type = "application/octet-stream"
    announces: int | None = None
    """Bytes; 0: no number (the end of the connection is the end of the file); None: as many as there are."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}/file.pth"


class Handler(BaseHTTPRequestHandler):
    """Answers for `Server`."""

    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        if self.server.status:
            self.send_error(self.server.status)
            return
        if self.server.redirect is not None and self.path == "/file.pth":
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", self.server.content_type)
        announced = len(body) if self.server.announces is None else self.server.announces
        if self.server.announces != 0:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPADEWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def known(server: Server, *, sha256: str | None = DIGEST, size: int | None = len(CONTENT)) -> list[WeightsFile]:
    return [WeightsFile("net", "folder/file.pth", server.address, "MIT", "a test", size, sha256)]


def test_fetches_verifies_and_does_not_fetch_twice(server: Server, cache: Path) -> None:
    files = known(server)
    with pytest.raises(InputError, match="fetch them: spadework weights fetch net"):
        find_weights("net", files)
    assert fetch_weights("net", files) == [cache / "folder" / "file.pth"]
    assert find_weights("net", files).read_bytes() == CONTENT
    fetch_weights("net", files)
    assert server.requests == [None]
    lines, good = check_weights(files)
    assert good
    assert "good" in lines[0]
    assert "fetched" in list_weights(files)


def test_continues_where_it_broke_off(server: Server, cache: Path) -> None:
    files = known(server)
    server.breaks_after = 5000
    with pytest.raises(InputError, match=r"broke off \(.+\); the same command continues it"):
        fetch_weights("net", files)
    assert [path.name for path in (cache / "folder").iterdir()] == [".file.pth.partial"]
    server.breaks_after = None
    fetch_weights("net", files)
    assert server.requests == [None, "bytes=5000-"]
    assert find_weights("net", files).read_bytes() == CONTENT


def test_starts_over_where_the_server_knows_no_ranges(server: Server, cache: Path) -> None:
    files = known(server, size=None, sha256=None)
    (cache / "folder").mkdir(parents=True)
    (cache / "folder" / ".file.pth.partial").write_bytes(b"x" * 100)
    server.ranges = False
    fetch_weights("net", files)
    assert server.requests == ["bytes=100-"]
    assert find_weights("net", files).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wrong", "message"), [({"sha256": "0" * 64}, "its sha256 is"), ({"size": 99}, "bytes, not 99")]
)
def test_other_content_is_refused_and_removed(server: Server, cache: Path, wrong: dict, message: str) -> None:
    files = known(server, **wrong)
    with pytest.raises(InputError, match=message):
        fetch_weights("net", files)
    assert not list((cache / "folder").iterdir())


def test_errors_of_the_server_are_one_line(server: Server) -> None:
    server.status = 404
    with pytest.raises(InputError, match="answers 404 Not Found") as caught:
        fetch_weights("net", known(server))
    assert "\n" not in str(caught.value)
    gone = [WeightsFile("net", "file.pth", "http://127.0.0.1:1/file.pth", "MIT", "a test")]
    with pytest.raises(InputError, match="broke off"):
        fetch_weights("net", gone)


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_server_that_sends_more_than_it_announced_is_cut_off(server: Server, cache: Path, size: int | None) -> None:
    server.content, server.announces = CONTENT + b"more" * 100_000, len(CONTENT)
    fetch_weights("net", known(server, size=size))
    assert (cache / "folder" / "file.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("have", [0, 100])
def test_a_server_that_announces_nothing_is_cut_off_at_the_known_size(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, have: int
) -> None:
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    server.content, server.announces = CONTENT + b"more" * 100_000, 0
    (cache / "folder").mkdir(parents=True)
    (cache / "folder" / ".file.pth.partial").write_bytes(CONTENT[:have])
    with pytest.raises(InputError, match=f"is not net: it is longer than {len(CONTENT)} bytes; it was removed"):
        fetch_weights("net", known(server))
    assert not list((cache / "folder").iterdir())
    monkeypatch.setattr(fetch, "MAX_BYTES", 5000)
    with pytest.raises(InputError, match="is not net: it is longer than 5000 bytes; it was removed"):
        fetch_weights("net", known(server, size=None))
    assert not list((cache / "folder").iterdir())


def test_a_server_that_announces_nothing_may_send_a_whole_file(server: Server, cache: Path) -> None:
    server.announces = 0
    fetch_weights("net", known(server, size=None))
    assert (cache / "folder" / "file.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"\xef\xbb\xbf\n <!DOCTYPE html><title>Sign in</title>", "application/octet-stream"),
        (b"<HTML><body>Too many downloads", "text/plain"),
        (b"<body>moved", "text/html; charset=utf-8"),
    ],
)
def test_a_web_page_is_no_model(server: Server, cache: Path, content: bytes, content_type: str) -> None:
    server.content, server.content_type = content, content_type
    for files in (known(server), known(server, size=None, sha256=None)):
        with pytest.raises(InputError, match=r"answers with a web page, not net; open it in a browser"):
            fetch_weights("net", files)
    assert not list((cache / "folder").iterdir())


def test_nothing_is_no_model(server: Server, cache: Path) -> None:
    server.content = b""
    with pytest.raises(InputError, match="is not net: it is empty; it was removed"):
        fetch_weights("net", known(server, size=None, sha256=None))
    assert not list((cache / "folder").iterdir())


def test_check_finds_a_web_page(server: Server, cache: Path) -> None:
    """Fetched by an earlier version, or saved by hand."""
    (cache / "folder").mkdir(parents=True)
    (cache / "folder" / "file.pth").write_bytes(b"<!doctype html>")
    lines, good = check_weights(known(server, size=None, sha256=None))
    assert (lines, good) == (["net: file.pth: it is a web page"], False)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a", "file:///etc/hostname", "data:,x", "http://[", "//["])
def test_redirects_to_other_schemes_are_refused(server: Server, cache: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(InputError, match=r"redirects to '.+', which is no https or http address") as caught:
        fetch_weights("net", known(server))
    assert target in str(caught.value)
    assert not list((cache / "folder").iterdir())


@pytest.mark.parametrize("target", ["/other.pth", "{address}/../other.pth"])
def test_redirects_are_followed(server: Server, cache: Path, target: str) -> None:
    server.redirect = target.format(address=server.address)
    fetch_weights("net", known(server))
    assert (cache / "folder" / "file.pth").read_bytes() == CONTENT


def test_a_redirect_loop_is_one_line(server: Server) -> None:
    server.redirect = "/file.pth"
    with pytest.raises(InputError, match="answers 302 redirects in a loop: Found; try again") as caught:
        fetch_weights("net", known(server))
    assert "\n" not in str(caught.value)


def test_check_finds_damage(server: Server, cache: Path) -> None:
    files = known(server)
    fetch_weights("net", files)
    (cache / "folder" / "file.pth").write_bytes(b"y" * len(CONTENT))
    lines, good = check_weights(files)
    assert not good
    assert "its sha256 is" in lines[0]


def test_known_files_are_well_formed(cache: Path) -> None:
    assert len({part.path for part in FILES}) == len(FILES)
    for part in FILES:
        assert part.url.startswith(("https://", "http://"))
        assert part.sha256 is None or len(part.sha256) == 64
    # Both files of UPerNet make one folder.
    for part in FILES:
        if part.name == "upernet-resnet101":
            (cache / part.path).parent.mkdir(parents=True, exist_ok=True)
            (cache / part.path).touch()
    assert find_weights("upernet-resnet101") == cache / "ade20k-resnet101-upernet"


def test_command_line() -> None:
    listed = CliRunner().invoke(main, ["weights", "list"])
    assert listed.exit_code == 0
    assert all(part.url in listed.stdout for part in FILES)
    unknown = CliRunner().invoke(main, ["weights", "fetch", "nothing"])
    assert unknown.exit_code == 2
    assert "known are deeplabv2-resnet101" in unknown.stderr
    by_hand = CliRunner().invoke(main, ["weights", "fetch", "drn-d-105"])
    assert by_hand.exit_code == 2
    assert "get drn-d-105_ms_cityscapes.pth by hand" in by_hand.stderr
    assert "nothing is fetched" in CliRunner().invoke(main, ["weights", "check"]).stdout


def test_a_file_or_the_fetched_one_of_a_name(cache: Path, tmp_path: Path) -> None:
    assert find_or_fetched(None, "VGG") is None
    (tmp_path / "mine.pth").touch()
    assert find_or_fetched(tmp_path / "mine.pth", "VGG") == tmp_path / "mine.pth"
    with pytest.raises(InputError, match="fetch them: spadework weights fetch vgg19"):
        find_or_fetched(Path("vgg19"), "VGG")
    cache.mkdir(parents=True)
    (cache / "vgg19-dcbb9e9d.pth").touch()
    assert find_or_fetched(Path("vgg19"), "VGG") == cache / "vgg19-dcbb9e9d.pth"
    with pytest.raises(InputError, match=r"^VGG weights lpips-vgg do not exist; give a file, or a name: vgg19$"):
        find_or_fetched(Path("lpips-vgg"), "VGG")
