"""Weights from local files: read safely, hashed, and fitted to a network with errors that a user can act on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.errors import InputError


def sha256_of(*paths: Path) -> str:
    """The SHA-256 of a file; of several, that of their hashes, in order."""
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as torch's do: a zip archive, or the pickle of before torch 1.6."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors or torch file, by key; no code in the file is run (`weights_only`).

    Checkpoints that hold the state dict under `state_dict` or `model` are unwrapped, and a `module.` prefix (of
    DataParallel) is removed. Raises `InputError` for a file that is missing or anything else.
    """
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True) if is_torch_file(path) else load_file(path)
    except Exception as error:  # noqa: BLE001 - whatever a broken file makes the readers raise, it is the file
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(f"weights file {path} cannot be read as safetensors or as torch weights ({reason})") from None
    for name in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise InputError(f"weights file {path} does not hold a state dict (names and tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def refuse_nonfinite(state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Raise `InputError` where weights are NaN or infinite: what networks make of them looks like any other result."""
    for key, value in state.items():
        if not value.isfinite().all():
            raise InputError(f"{source} holds NaN or infinite weights in {key}; copy or make the file again")


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], *, source: str, ignore: Iterable[str] = ()) -> None:
    """Load `state` into `network`, every key and shape of which must fit; `source` names the file in errors.

    Keys that end in one of `ignore` may be there or not. `num_batches_tracked`, which old files lack, always may.
    Raises `InputError` where they do not fit, and for weights that are NaN or infinite.
    """
    optional = (*ignore, "num_batches_tracked")
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith(optional)]
    unknown = [key for key in state if key not in own and not key.endswith(optional)]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    for kind, keys in (("lacks", missing), ("has the unknown", unknown)):
        if keys:
            listed = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise InputError(f"{source} is of another network: it {kind} {listed}")
    if shapes:
        key = shapes[0]
        raise InputError(
            f"{source} is of another network or other classes: "
            f"{key} is {list(state[key].shape)} there, {list(own[key].shape)} here"
        )
    refuse_nonfinite(state, source=source)
    network.load_state_dict({key: state[key] for key in own if key in state}, strict=False)
