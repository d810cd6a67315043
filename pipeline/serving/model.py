"""One checkpoint of the service: label maps and styles of clients to pictures, as `synthesize` makes them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.data.images import resize_ids
from pipeline.errors import InputError
from pipeline.serving.messages import BlendStyle, PhotographStyle, SeedStyle, VectorStyle
from pipeline.synthesis.given import refuse_unknown
from pipeline.synthesis.styles import Sample, StyleChoice, StyleSource
from pipeline.synthesis.synthesizer import Synthesizer

if TYPE_CHECKING:
    from pipeline.labels import LabelSpace
    from pipeline.networks.label_input import LabelInput
    from pipeline.precision import Precision

KnownStyle = SeedStyle | VectorStyle | PhotographStyle | BlendStyle
"""A style in which no saved one is named any more."""

PHOTOGRAPHS = 64
"""Whose styles are remembered."""

NAMED = 48
"""Letters of a name that its key begins with: at most 192 bytes, as the key is a folder's name."""


@dataclass(frozen=True)
class Draw:
    """Which picture of a label map is wanted."""

    style: KnownStyle
    id: str
    sample: int
    seed: int
    """Of the noise that some generators add."""


@dataclass(frozen=True)
class Codes:
    """A label map as the generator takes it, and what tells it from others."""

    codes: np.ndarray
    """int32 `[H, W]`."""
    digest: bytes


class Model:
    """A generator by its name. `paint` and `style_of` are for one thread; the rest is for any."""

    def __init__(
        self,
        name: str,
        source: str | Path,
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        engine: Path | None = None,
        threads: int = 1,
    ) -> None:
        """As `Synthesizer`; raises `InputError` as that does, and for a generator that pastes from a memory bank."""
        self.name = name
        self.threads = threads
        # One by one, so that a picture is the same to the last bit whatever other clients want at the time.
        self._synthesizer = Synthesizer(source, device=device, precision=precision, engine=engine, one_by_one=True)
        if self._synthesizer.paster is not None:
            raise InputError(f"{source} pastes pieces of a memory bank, which `serve` does not; take `synthesize`")
        self.size = self._synthesizer.size
        self.style_dim = self._synthesizer.style_dim
        self.sha256 = self._synthesizer.checkpoint_sha256
        recipe = self._synthesizer.recipe
        self.space: LabelSpace = recipe.labels
        self.instances = recipe.labels.instance_edges or recipe.generator.region_styles == "instance"
        self.check: Callable[[], None] = lambda: None
        """Called between the layers of a picture; what it raises ends the picture."""
        self._synthesizer.between_layers(lambda: self.check())
        self._last: tuple[bytes, LabelInput] | None = None
        self._photographs: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    @property
    def key(self) -> str:
        """Its name and what tells its weights from others that had the name: what clients save is kept under this."""
        return f"{self.name[:NAMED]}-{self.sha256[:16]}"

    @property
    def photographs(self) -> bool:
        """Whether a photograph can give the style."""
        return self._synthesizer.takes_photographs

    def fit(self, label: np.ndarray, instance: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Ids `[H, W]` of any size as the generator sees them: of its size, and known; instances where it wants them.

        Raises `InputError` for ids beyond the classes, and maps of different sizes.
        """
        refuse_unknown(label, self.space)
        if instance is not None and instance.shape != label.shape:
            sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (instance, label)]
            raise InputError(f"the instance map is {sizes[0]} but its label map {sizes[1]}; make them the same size")
        if not self.instances:
            return resize_ids(label, *self.size), None
        if instance is None:
            instance = np.zeros(label.shape, np.uint8)
        return resize_ids(label, *self.size), resize_ids(instance, *self.size)

    def encode(self, label: np.ndarray, instance: np.ndarray | None) -> Codes:
        """What `fit` returned, for `paint`."""
        codes = self._synthesizer.recipe.encode(label, instance)
        return Codes(codes, hashlib.blake2b(codes.tobytes(), digest_size=16).digest())

    def check_style(self, style: KnownStyle) -> None:
        """Raise `InputError` for a style that this generator cannot take."""
        if isinstance(style, SeedStyle):
            return
        if not self.style_dim:
            raise InputError(f"checkpoint '{self.name}' takes no style; leave it out, or give a seed")
        if isinstance(style, PhotographStyle) and not self.photographs:
            raise InputError(f"checkpoint '{self.name}' has no style encoder, so photographs cannot give the style")
        if isinstance(style, VectorStyle) and len(style.z) != self.style_dim:
            raise InputError(
                f"the style has {len(style.z)} numbers; checkpoint '{self.name}' takes {self.style_dim} of them"
            )
        if isinstance(style, BlendStyle):
            for part in style.blend:
                self.check_style(part)  # type: ignore[arg-type]  # no saved ones, as of `style` itself

    def paint(self, codes: Codes, draws: Sequence[Draw]) -> list[np.ndarray]:
        """Pictures uint8 `[*size, 3]` of one label map, each the same to the last bit whatever is drawn beside it.

        Raises `InputError` where pixels are NaN or infinite.
        """
        return [pixels for pixels, _ in self.paint_with_styles(codes, draws)]

    def paint_with_styles(self, codes: Codes, draws: Sequence[Draw]) -> list[tuple[np.ndarray, list[Any] | None]]:
        """As `paint`, and the style of each, as nested lists of numbers; None for a generator without."""
        torch.set_num_threads(self.threads)
        if self._last is None or self._last[0] != codes.digest:
            self._last = codes.digest, self._synthesizer.prepare(codes.codes)
        label_input = self._last[1]
        samples = [self._sample(draw, label_input.region_count) for draw in draws]
        pictures = self._synthesizer.synthesize(label_input, samples, self.size)
        return [
            (pixels, None if sample.z is None else sample.z.tolist())
            for pixels, sample in zip(pictures, samples, strict=True)
        ]

    def style_of(self, photograph: bytes) -> np.ndarray:
        """The mean style of a photograph, float32 `[style_dim]`; `InputError` as of the `Synthesizer`."""
        return self._style_of(photograph).numpy()

    def _style_of(self, photograph: bytes) -> torch.Tensor:
        torch.set_num_threads(self.threads)
        digest = hashlib.sha256(photograph).digest()
        if digest not in self._photographs:
            self._photographs[digest] = self._synthesizer.style_of(photograph)[0]
            if len(self._photographs) > PHOTOGRAPHS:
                self._photographs.popitem(last=False)
        self._photographs.move_to_end(digest)
        return self._photographs[digest]

    def _sample(self, draw: Draw, regions: int) -> Sample:
        """As the sample of that number of a record of that id in a job of that seed."""
        seed = draw.style.seed if isinstance(draw.style, SeedStyle) else draw.seed
        sample = self._random(seed, draw, regions)
        if not self.style_dim or isinstance(draw.style, SeedStyle):
            return sample
        return replace(sample, z=self._vector(draw.style, draw, regions))

    def _random(self, seed: int, draw: Draw, regions: int) -> Sample:
        return StyleSource(StyleChoice(), self._synthesizer, seed=seed).sample(draw.id, draw.sample, regions)

    def _vector(self, style: KnownStyle, draw: Draw, regions: int) -> torch.Tensor:
        """float32 `[style_dim]`, or `[regions, style_dim]` where each region has a random one of its own."""
        if isinstance(style, VectorStyle):
            return torch.tensor(style.z, dtype=torch.float32)
        if isinstance(style, PhotographStyle):
            return self._style_of(style.photograph)
        if isinstance(style, SeedStyle):
            z = self._random(style.seed, draw, regions).z
            assert z is not None
            return z
        first, second = (self._vector(part, draw, regions) for part in style.blend)  # type: ignore[arg-type]
        return (1 - style.t) * first + style.t * second
