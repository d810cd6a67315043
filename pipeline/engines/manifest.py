"""What an engine is: everything its content depends on, and what was found out about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config import Recipe
from pipeline.engines.environment import Backend, describe_device, find_versions
from pipeline.engines.parity import Parity
from pipeline.engines.signature import Form, Signature
from pipeline.errors import InputError
from pipeline.networks.inference.int8 import Span
from pipeline.precision import Precision
from pipeline.recipe_file import parse_recipe
from pipeline.runtime.json_text import read_json

FILE = "manifest.json"
FORMAT = 1
"""Part of every key: raised when a change to the graph makes older engines wrong."""


@dataclass(frozen=True)
class EngineSpec:
    """All that the content of an engine depends on; the key is a hash of it."""

    weights: str
    """Name of the weights: the checkpoint's sha256."""
    recipe: dict[str, Any]
    """Of the weights, with the size and the modulation of this engine."""
    backend: Backend
    precision: Precision
    batch: int
    lengths: tuple[int, ...]
    """Typical lengths of the tables of windows."""
    maps: str
    """sha256 of the label codes that it was checked with."""
    arguments: dict[str, Any]
    """Of the compiler."""
    device: dict[str, str]
    versions: dict[str, str]
    spans: tuple[Span, ...] = ()
    """What each convolution in int8 takes in, from calibration; empty in other precisions."""
    format: int = FORMAT

    @property
    def key(self) -> str:
        """The name of the engine's folder."""
        fields = asdict(self)
        if not self.spans:  # as in engines from before there were any
            del fields["spans"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def signature(self) -> Signature:
        """What the engine takes."""
        return make_signature(self.parsed_recipe, self.batch)

    @property
    def parsed_recipe(self) -> Recipe:
        """`recipe` as an object; `InputError` where it is none of ours."""
        return parse_recipe(self.recipe, source="the engine's recipe")

    def __str__(self) -> str:
        signature = self.signature
        height, width = signature.size
        what = f"{self.recipe['name']} {width}x{height}, {signature.form}, batch {self.batch}"
        return f"{self.backend} {self.precision}: {what}, on {self.device['name']}"


@dataclass(frozen=True)
class Manifest:
    """An engine's `manifest.json`."""

    spec: EngineSpec
    parity: Parity
    refused: str | None
    """Why it may not be used; then there is no file beside the manifest."""
    cuda_graphs: bool
    file: str | None
    """Name of the compiled file; None: the eager generator, which needs none."""
    sha256: str | None
    bytes: int
    build_seconds: float
    milliseconds: float | None
    """A picture, median, from codes to picture, on the machine that compiled it."""
    eager_milliseconds: float | None
    """The same of the eager generator in the same precision (bf16 for TensorRT's int8), in turn with it."""
    scores: tuple[str, ...] = ()
    """Its scores beside float32's, a line each, where they were asked for."""

    @property
    def key(self) -> str:
        """The name of its folder."""
        return self.spec.key

    @property
    def name(self) -> str:
        """The key, and which of all builds of it: compilers choose by stopwatch, so the next may round otherwise."""
        return f"{self.key}-{self.sha256[:16]}" if self.sha256 else self.key

    def write(self, folder: Path) -> None:
        """Into a folder that nobody reads yet."""
        (folder / FILE).write_text(json.dumps({"key": self.key, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """`InputError` where there is none, or where it is not what `write` writes."""
        try:
            fields = read_json((folder / FILE).read_text())
        except FileNotFoundError:
            raise InputError(f"{folder} is no engine: it has no {FILE}; `spadework compile` makes engines") from None
        except ValueError:
            raise InputError(f"{folder}/{FILE} is damaged; remove the folder and compile again") from None
        try:
            key = fields.pop("key")
            spec = fields.pop("spec")
            spans = tuple((float(low), float(high)) for low, high in spec.get("spans", ()))
            spec = EngineSpec(**{**spec, "lengths": tuple(spec["lengths"]), "spans": spans})
            fields["scores"] = tuple(fields.get("scores", ()))
            manifest = cls(spec=spec, parity=Parity(**fields.pop("parity")), **fields)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{folder}/{FILE} is of another version of spadework; compile again") from None
        if key != manifest.key:
            raise InputError(f"{folder}/{FILE} was changed by hand; compile again")
        return manifest


def make_signature(recipe: Recipe, batch: int) -> Signature:
    """What an engine of a recipe takes; patterns unless the recipe says dense, or is of another kind than SPADE."""
    settings = recipe.generator
    form: Form = "pattern" if settings.kind == "spade" and settings.modulation != "dense" else "dense"
    return Signature(settings, recipe.labels, (recipe.data.height, recipe.data.width), batch, form)


def unusable(manifest: Manifest) -> str | None:
    """Why an engine cannot be used in this process; None: it can."""
    spec = manifest.spec
    if manifest.refused:
        return f"it was rejected: {manifest.refused}"
    if spec.format != FORMAT:
        return "it is of another version of spadework"
    if spec.device["type"] == "cuda" and not torch.cuda.is_available():
        return f"it is for the GPU {spec.device['name']}, and there is no GPU here"
    device = describe_device(torch.device(spec.device["type"]))
    for what, was, now in (("device", spec.device, device), ("versions", spec.versions, find_versions(spec.backend))):
        changed = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
        if changed:
            name = changed[0]
            return f"its {what} differ: {name} {was.get(name)} there, {now.get(name)} here"
    return None
