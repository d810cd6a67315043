"""The public weights files that evaluation and training can use: what they are, and fetching them when asked to."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.errors import InputError

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a transfer is given up."""
MAX_BYTES = 4 << 30
"""Of a file whose size neither we nor the server know."""
MAX_TOLD = 200
"""Characters of a server's words that an error shows."""


@dataclass(frozen=True)
class WeightsFile:
    """One public file."""

    name: str
    """What `fetch` calls it."""
    path: str
    """Relative to the cache."""
    url: str
    """Its public address; of those that are only linked from a page, the page."""
    licence: str
    """Of the weights or, where nothing is said about them, of the code that they were published with."""
    purpose: str
    size: int | None = None
    """Bytes, where known."""
    sha256: str | None = None
    direct: bool = True
    """False: the address is a page from which a person has to pick the file."""


_GITHUB = "https://github.com"
_CSAIL = "http://sceneparsing.csail.mit.edu/model/pytorch"
_INCEPTION = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_ALEXNET = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
_VGG16 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
_SQUEEZENET = "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"

FILES = (
    WeightsFile(
        "deeplabv2-resnet101",
        "deeplabv2_resnet101_msc-cocostuff164k-100000.pth",
        f"{_GITHUB}/kazuto1011/deeplab-pytorch/releases/download/v1.0/deeplabv2_resnet101_msc-cocostuff164k-100000.pth",
        "MIT",
        "segmenter for COCO-Stuff",
    ),
    *(
        WeightsFile(
            name,
            f"{folder}/{part}_epoch_50.pth",
            f"{_CSAIL}/{folder}/{part}_epoch_50.pth",
            "BSD-3-Clause",
            f"segmenter for ADE20K, {part}",
        )
        for name, folder in (
            ("upernet-resnet101", "ade20k-resnet101-upernet"),
            ("upernet-resnet101-baseline", "baseline-resnet101-upernet"),
        )
        for part in ("encoder", "decoder")
    ),
    WeightsFile(
        "drn-d-105",
        "drn-d-105_ms_cityscapes.pth",
        "http://go.yf.io/drn-cityscapes-models",
        "BSD-3-Clause",
        "segmenter for Cityscapes",
        direct=False,
    ),
    WeightsFile(
        "inception-pytorch-fid",
        "pt_inception-2015-12-05-6726825d.pth",
        f"{_GITHUB}/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "Apache-2.0",
        "FID's Inception, state dict",
        size=95_628_359,
        sha256=_INCEPTION,
    ),
    WeightsFile(
        "inception-torch-fidelity",
        "weights-inception-2015-12-05-6726825d.pth",
        f"{_GITHUB}/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "Apache-2.0",
        "FID's Inception, state dict",
        size=95_628_359,
        sha256=_INCEPTION,
    ),
    WeightsFile(
        "inception-clean-fid",
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "Apache-2.0 (the network), NVIDIA Source Code License (the archive)",
        "FID's Inception, TorchScript",
        size=95_607_719,
        sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    WeightsFile(
        "vgg19",
        "vgg19-dcbb9e9d.pth",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "BSD-3-Clause",
        "perceptual loss in training",
        size=574_673_361,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
    *(
        WeightsFile(
            f"lpips-{name}",
            file,
            f"https://download.pytorch.org/models/{file}",
            "BSD-3-Clause",
            f"LPIPS on {title}: its trunk; the linear layers come with torchmetrics",
            size=size,
            sha256=sha256,
        )
        for name, title, file, size, sha256 in (
            ("alex", "AlexNet", "alexnet-owt-7be5be79.pth", 244_408_911, _ALEXNET),
            ("vgg", "VGG16", "vgg16-397923af.pth", 553_433_881, _VGG16),
            ("squeeze", "SqueezeNet 1.1", "squeezenet1_1-b8a52dc0.pth", 4_958_839, _SQUEEZENET),
        )
    ),
)
"""Every file that is known, in the order of `weights list`. Two of one name belong together."""


def cache_folder() -> Path:
    """`$SPADEWORK_CACHE`, or `spadework` in the user's cache folder."""
    if folder := os.environ.get("SPADEWORK_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spadework"


def find_weights(name: str, files: Sequence[WeightsFile] = FILES) -> Path:
    """Where the fetched file of this name is; of several files, their folder.

    `InputError` names the command that fetches what is missing.
    """
    parts = _named(name, files)
    folder = cache_folder() / "weights"
    for part in parts:
        if not (folder / part.path).is_file():
            raise InputError(
                f"weights '{name}' are not here yet ({folder / part.path}); fetch them: spadework weights fetch {name}"
            )
    path = folder / parts[0].path
    return path.parent if len(parts) > 1 else path


def find_or_fetched(path: Path | None, what: str) -> Path | None:
    """A file or, where it is a name in the registry that begins with `what` (such as "VGG"), the fetched one.

    Raises `InputError` where it is neither, or not fetched yet.
    """
    if path is None or path.is_file():
        return path
    names = [part.name for part in FILES if part.name.startswith(what.lower())]
    if str(path) in names:
        return find_weights(str(path))
    raise InputError(f"{what} weights {path} do not exist; give a file, or a name: {', '.join(names)}")


def list_weights(files: Sequence[WeightsFile] = FILES) -> str:
    """A table of all files, with what is fetched."""
    folder = cache_folder() / "weights"
    lines = [f"cache: {folder}"]
    for part in files:
        here = "fetched" if (folder / part.path).is_file() else "-"
        size = "size unknown" if part.size is None else f"{part.size / 1e6:.1f} MB"
        digest = "no published SHA-256" if part.sha256 is None else f"sha256 {part.sha256}"
        by_hand = "" if part.direct else " (by hand: the address is a page)"
        lines += [
            f"{part.name:28s}{here:9s}{part.purpose}; {size}; {part.licence}",
            f"    {part.url}{by_hand}",
            f"    {digest}",
        ]
    return "\n".join(lines)


def fetch_weights(name: str, files: Sequence[WeightsFile] = FILES) -> list[Path]:
    """Fetch the files of a name into the cache, continuing earlier attempts, and verify them.

    Raises `InputError` for unknown names, files that only a person can fetch, failing transfers (the same command
    continues), servers that answer with a web page or redirect to anything but one, and files that are not what they
    should be (which are removed, and cut off where they are longer).
    """
    folder = cache_folder() / "weights"
    fetched = []
    for part in _named(name, files):
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


def _named(name: str, files: Sequence[WeightsFile]) -> list[WeightsFile]:
    found = [part for part in files if part.name == name]
    if not found:
        known = ", ".join(dict.fromkeys(part.name for part in files))
        raise InputError(f"there are no weights called '{name}'; known are {known}")
    return found


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
        tqdm(total=total, initial=have, desc=part.name, unit="B", unit_scale=True) as bar,
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
