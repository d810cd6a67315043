"""The public weights files that evaluation and training can use: what they are, and where they are once fetched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError


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
    parts = find_files(name, files)
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


def find_files(name: str, files: Sequence[WeightsFile]) -> list[WeightsFile]:
    """The files of a name, one or several; `InputError` for a name that is not there."""
    found = [part for part in files if part.name == name]
    if not found:
        known = ", ".join(dict.fromkeys(part.name for part in files))
        raise InputError(f"there are no weights called '{name}'; known are {known}")
    return found
