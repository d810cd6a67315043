"""Fetching public weights files when asked to, and checking what is in the cache."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.pretrained.registry import FILES, WeightsFile, cache_folder, find_files
from pipeline.runtime.progress import ProgressBar

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a transfer is given up."""
MAX_BYTES = 4 << 30
"""Of a file whose size neither we nor the server know."""
MAX_TOLD = 200
"""Characters of a server's words that an error shows."""


def fetch_weights(name: str, files: Sequence[WeightsFile] = FILES) -> list[Path]:
    """Fetch the files of a name into the cache, continuing earlier attempts, and verify them.

    Raises `InputError` for unknown names, files that only a person can fetch, failing transfers (the same command
    continues), servers that answer with a web page or redirect to anything but one, and files that are not what they
    should be (which are removed, and cut off where they are longer).
    """
    folder = cache_folder() / "weights"
    fetched = []
    for part in find_files(name, files):
        target = folder / part.path
        if not target.is_file():
            if not part.direct:
                raise InputError(f"get {target.name} by hand from {part.url} and put it at {target}")
            partial = target.with_name(f".{target.name}.partial")
            target.parent.mkdir(parents=True, exist_ok=True)
            _transfer(part, partial)
            _verify(part, partial)
            partial.replace(target)
        fetched.append(target)
    return fetched


def check_weights(files: Sequence[WeightsFile] = FILES) -> tuple[list[str], bool]:
    """Verify every fetched file: a line each, and whether all are what they should be."""
    folder = cache_folder() / "weights"
    lines, good = [], True
    for part in files:
        path = folder / part.path
        if not path.is_file():
            continue
        problem = _problem(part, path)
        good &= problem is None
        known = f"sha256 {_sha256(path)}" + ("" if part.sha256 else " (none published to compare with)")
        lines.append(f"{part.name}: {path.name}: {problem or 'good, ' + known}")
    return lines or [f"nothing is fetched in {folder}"], good


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers only; urllib would follow them to FTP."""

    inf_msg = "redirects in a loop: "

    def http_error_302(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Follow one redirect, of any of the codes below."""
        target = headers.get("Location") or headers.get("URI") or ""
        try:
            scheme = urllib.parse.urlsplit(urllib.parse.urljoin(req.full_url, target)).scheme
        except ValueError:
            scheme = ""
        if scheme not in ("https", "http"):
            fp.close()
            told = _one_line(ascii(target))
            raise InputError(f"{req.full_url} redirects to {told}, which is no https or http address; get it by hand")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _transfer(part: WeightsFile, partial: Path) -> None:
    """Download to `partial`, from where an earlier attempt ended."""
    have = partial.stat().st_size if partial.is_file() else 0
    if part.size is not None and have == part.size:
        return
    request = urllib.request.Request(part.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # The server sends everything from the start.
            _receive(part, partial, response, have)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink(missing_ok=True)  # More than the file has: it changed, or the attempt was of another file.
        told = _one_line(error.reason)
        raise InputError(f"{part.url} answers {error.code} {told}; try again, or get it by hand") from None
    except (OSError, http.client.HTTPException) as error:
        reason = _one_line(getattr(error, "reason", error)) or type(error).__name__
        raise InputError(f"{part.url} broke off ({reason}); the same command continues it") from None


def _receive(part: WeightsFile, partial: Path, response: http.client.HTTPResponse, have: int) -> None:
    """Write what a server sends behind the `have` bytes in `partial`: a file, and no more than it should have."""
    announced = None if response.length is None else have + response.length
    first = response.read(CHUNK)
    if response.headers.get_content_type() == "text/html" or (not have and _is_web_page(first)):
        raise InputError(
            f"{part.url} answers with a web page, not {part.name}; open it in a browser and get the file by hand"
        )
    # The rest of a file may come in parts; a whole one is of one size.
    size = part.size
    if size is not None and announced is not None and (announced > size if have else announced != size):
        raise InputError(f"what {part.url} offers is not {part.name}: it has {announced} bytes, not {size}")
    total = size or announced
    most = total or MAX_BYTES
    with (
        partial.open("ab" if have else "wb") as file,
        ProgressBar(total=total, initial=have, desc=part.name, unit="B", unit_scale=True) as bar,
    ):
        chunk = first
        while chunk and have <= most:
            have += len(chunk)
            file.write(chunk[: len(chunk) - max(0, have - most)])
            bar.update(len(chunk))
            chunk = response.read(CHUNK)
    if have > most:
        partial.unlink()
        raise InputError(f"what {part.url} sends is not {part.name}: it is longer than {most} bytes; it was removed")
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _is_web_page(start: bytes) -> bool:
    return start[:CHUNK].lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html"))


def _one_line(told: object) -> str:
    text = " ".join(str(told).split())
    return text if len(text) <= MAX_TOLD else f"{text[:MAX_TOLD]}..."


def _verify(part: WeightsFile, path: Path) -> None:
    problem = _problem(part, path)
    if problem is not None:
        path.unlink()
        raise InputError(f"what {part.url} sent is not {part.name}: {problem}; it was removed")


def _problem(part: WeightsFile, path: Path) -> str | None:
    """What is wrong with a file, or None."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if _is_web_page(file.read(1024)):
            return "it is a web page"
    if not size:
        return "it is empty"
    if part.size is not None and size != part.size:
        return f"it has {size} bytes, not {part.size}"
    if part.sha256 is not None and (digest := _sha256(path)) != part.sha256:
        return f"its sha256 is {digest}, not {part.sha256}"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
