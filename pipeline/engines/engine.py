"""A compiled generator, ready to use: label codes and styles to pictures, as `FoldedGenerator` does it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from pipeline.checkpoints.file import Checkpoint
from pipeline.config import Recipe
from pipeline.engines.cuda_graphs import GraphedFunction
from pipeline.engines.environment import COMPILERS
from pipeline.engines.manifest import EngineSpec, Manifest, unusable
from pipeline.engines.signature import Signature
from pipeline.errors import InputError
from pipeline.networks.baselines.instance_styles import InstanceStyles
from pipeline.networks.baselines.local_enhancer import LocalEnhancer
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.generators import AnyGenerator, DrawsPictures, make_generator
from pipeline.networks.inference.frozen import freeze
from pipeline.networks.initialise import filled_later
from pipeline.networks.label_input import LabelInput
from pipeline.precision import DTYPES

Function = Callable[..., torch.Tensor]
"""The tensors of `Signature.inputs` to pictures."""


class Engine:
    """A compiled function of a fixed batch, called with any number of images, which are checked first.

    The last batch is filled up with its last image. So an image is computed by the same code in the same shapes
    whatever else is asked for, and is the same to the last bit.
    """

    def __init__(
        self,
        function: Function,
        signature: Signature,
        device: torch.device,
        *,
        styles: InstanceStyles | None = None,
        lengths: Sequence[int] = (),
    ) -> None:
        """`styles` of a generator whose regions draw features, on the device.

        `lengths` of typical tables; on a GPU, tables are filled up to these or a power of two times these. So there
        are a few combinations of shapes, and memory, kernels and CUDA graphs are ready for all of them. A CPU takes
        tables as they are: there is nothing to be gained from a second shape like the first.
        """
        assert (styles is not None) == bool(signature.planes_of_features)
        self._function, self._styles = function, styles
        self.signature = signature
        self.size, self.batch, self.device = signature.size, signature.batch, device
        self._lengths = lengths if device.type == "cuda" else ()
        self._lock = threading.Lock()

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """Label codes int32 `[N, H, W]`, checked and ready for `__call__`. Raises `InputError`."""
        self._check_device("label codes are", codes)
        return self.signature.label_input(codes)

    @torch.inference_mode()
    def __call__(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `FoldedGenerator.forward`: pictures float32 `[N, 3, H, W]` of N label maps, or N of one label map.

        Raises `InputError`, before anything runs, for tensors of another shape, type, device or number of classes.
        """
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        assert label_input.modulation == self.signature.form, "label input of another engine"
        if self.signature.settings.kind == "sims" and label_input.canvas is None:
            raise InputError("nothing was pasted on the label map, and the engine's generator mends what was")
        images = self._check_draws(z, seeds, label_input)
        if self._styles is not None and z is not None:
            z = self._styles(label_input, z)
        starts = range(0, images, self.batch)
        if len(label_input.codes) > self.batch:  # Windows are numbered within a batch: tables have room for its pixels.
            parts = [self._part(label_input, start) for start in starts]
        else:
            parts = [label_input] * len(starts)
        draws = [[None] * len(starts) if given is None else given.split(self.batch) for given in (z, seeds)]
        return torch.cat([self._draw(*batch) for batch in zip(parts, *draws, strict=True)])

    def _part(self, label_input: LabelInput, start: int) -> LabelInput:
        """The label maps of a batch by themselves; what regions draw was found before."""
        chosen = slice(start, start + self.batch)
        part = self.signature.label_input(label_input.codes[chosen])
        return part if label_input.canvas is None else part.with_canvas(label_input.canvas[chosen])

    def _draw(self, label_input: LabelInput, z: torch.Tensor | None, seeds: torch.Tensor | None) -> torch.Tensor:
        """At most a batch of images."""
        images = max(len(given) for given in (label_input.codes, z, seeds) if given is not None)
        places = [min(place, images - 1) for place in range(self.batch)]
        label_input = self.signature.batch_input(label_input, z, places)
        lengths = self._filled(self.signature.table_lengths(label_input))
        tensors = self.signature.tensors(label_input, z, places, lengths, seeds=seeds)
        with self._lock:
            return self._function(*tensors)[:images]

    def _check_device(self, what: str, tensor: torch.Tensor) -> None:
        if tensor.device.type != self.device.type:
            raise InputError(f"{what} on {tensor.device}, and the engine is for {self.device.type}")

    def _check_draws(self, z: torch.Tensor | None, seeds: torch.Tensor | None, label_input: LabelInput) -> int:
        """How many images are asked for."""
        settings, maps = self.signature.settings, len(label_input.codes)
        one, each = [settings.style_dim], list(self.signature.style_shape)
        vector = f"a style vector of length {settings.style_dim}"
        if self._styles is not None:
            one = each = [label_input.region_count, 1]
            vector = f"a number for each of {label_input.region_count} regions"
        wanted: tuple[tuple[str, torch.Tensor | None, bool, torch.dtype, list[list[int]]], ...] = (
            ("styles", z, bool(settings.style_dim), torch.float32, [one] if one == each else [one, each]),
            ("seeds", seeds, settings.takes_seeds, torch.int64, [[]]),
        )
        counts: dict[str, int] = {}
        for name, given, taken, dtype, shapes in wanted:
            if not taken:
                if given is not None:
                    raise InputError(f"got {name}, but the engine's generator takes none")
                continue
            if given is None:
                what = vector if name == "styles" else "a seed for each picture"
                raise InputError(f"the engine's generator takes {what}, and got none")
            if given.dtype != dtype or given.dim() == 0 or list(given.shape[1:]) not in shapes:
                forms = " or ".join(f"[{', '.join(['N', *map(str, shape)])}]" for shape in shapes)
                kind = str(dtype).removeprefix("torch.")
                raise InputError(
                    f"{name} are {given.dtype} of shape {list(given.shape)}; the engine takes {kind} {forms}"
                )
            self._check_device(f"{name} are", given)
            counts[name] = len(given)
        images = max(counts.values(), default=maps)
        if maps not in (1, images) or any(count != images for count in counts.values()):
            drawn = " and ".join(f"{count} {name}" for name, count in counts.items())
            raise InputError(f"{drawn} for {maps} label maps; give as many, or one label map")
        return images

    def _filled(self, lengths: list[int]) -> list[int]:
        """Table lengths one step of the ladder up: typical ones, doubled until all tables fit, at most all pixels."""
        if not self._lengths:
            return lengths
        longest = [entry.shape[0] for entry in self.signature.inputs if entry.is_table]
        steps = max(-(-length // typical) for length, typical in zip(lengths, self._lengths, strict=True))
        factor = 1 << (steps - 1).bit_length()
        return [min(factor * typical, most) for typical, most in zip(self._lengths, longest, strict=True)]


def load_engine(folder: Path, checkpoint: Checkpoint) -> tuple[DrawsPictures, Manifest]:
    """The engine in a folder; of the checkpoint, an eager engine needs the generator, and any other only the sha256 and
    what its regions draw, if they do.

    Raises `InputError` where there is none, it was rejected, was made from other weights, of other library versions or
    for another device, or where its file is damaged.
    """
    manifest = Manifest.read(folder)
    check_usable(folder, manifest, checkpoint.sha256)
    spec = manifest.spec
    device = torch.device(spec.device["type"])
    if spec.backend == "eager":
        generator = adapted(checkpoint.generator, spec.parsed_recipe)
        return freeze(generator.to(device), DTYPES[spec.precision], spec.spans), manifest
    assert manifest.file
    file, styles = folder / manifest.file, instance_styles(checkpoint.generator)
    return make_engine(spec, file, cuda_graphs=manifest.cuda_graphs, styles=styles), manifest


def make_engine(spec: EngineSpec, file: Path, *, cuda_graphs: bool, styles: InstanceStyles | None = None) -> Engine:
    """A compiled file as an engine; `styles` as `instance_styles` has them."""
    device = torch.device(spec.device["type"])
    function = COMPILERS[spec.backend].load(file, device)
    return Engine(
        GraphedFunction(function) if cuda_graphs else function,
        spec.signature,
        device,
        styles=None if styles is None else styles.to(device),
        lengths=spec.lengths,
    )


def instance_styles(generator: AnyGenerator) -> InstanceStyles | None:
    """What regions draw their features from, of pix2pixHD's generators with features; None for all others."""
    return generator.styles if isinstance(generator, GlobalGenerator | LocalEnhancer) else None


def adapted(generator: AnyGenerator, recipe: Recipe) -> AnyGenerator:
    """The same weights in a generator of another size or modulation, in evaluation mode.

    Raises `InputError` for a size that the generator cannot make, and for another one of a generator that has one for
    good, as those with a style at first and CRN's have.
    """
    height, width = recipe.data.height, recipe.data.width
    own = getattr(generator, "size", (height, width))  # none of pix2pixHD's kinds, which take any
    if generator.settings == recipe.generator and own == (height, width):
        return generator
    if own != (height, width) and recipe.generator.one_size:
        what = "with style" if recipe.generator.style_dim else f"of kind {recipe.generator.kind}"
        raise InputError(f"a generator {what} makes pictures of one size, {own[1]}x{own[0]}; leave out --size")
    device = next(generator.parameters()).device
    with filled_later():
        other = make_generator(recipe.generator, recipe.labels, height=height, width=width).to(device).eval()
    other.load_state_dict(generator.state_dict())
    return other


def check_usable(folder: Path, manifest: Manifest, checkpoint_sha256: str) -> None:
    """Raise `InputError`, with the reason, where an engine cannot be used here for the checkpoint of that sha256."""
    if manifest.spec.weights != checkpoint_sha256:
        raise InputError(
            f"engine {folder} was made from other weights ({manifest.spec.weights[:22]}) than the checkpoint's "
            f"({checkpoint_sha256[:22]}); compile it again"
        )
    if reason := unusable(manifest):
        raise InputError(f"engine {folder} cannot be used: {reason}; compile it again")
    if manifest.file and file_digest(folder / manifest.file) != manifest.sha256:
        raise InputError(f"engine {folder} is damaged: {manifest.file} is not what was compiled; compile it again")


def file_digest(path: Path) -> str:
    """sha256 of a file; `InputError` if it is missing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; compile again") from None
