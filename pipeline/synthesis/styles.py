"""What is drawn for each picture: its style (noise, a photograph's, or between two), and the seed of its noise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import InputError
from pipeline.runtime.seeding import record_seed, record_seeds, style_noise

if TYPE_CHECKING:
    import torch

    from pipeline.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True)
class Sample:
    """What tells the pictures of a label map apart."""

    z: torch.Tensor | None
    """The style, float32 `[style_dim]`, or `[regions, style_dim]` if each has its own; None for a generator without."""
    seed: int = 0
    """Of the noise that layers add; for a network of several pictures, which of them; others do not look at it."""


@dataclass(frozen=True)
class StyleChoice:
    """The user's choice; photographs are held as their bytes, so that workers need no files."""

    kind: Literal["noise", "photograph", "column", "other row", "interpolation"] = "noise"
    photographs: tuple[bytes, ...] = ()
    """One for `photograph`, two for `interpolation`."""
    truncation: float = 1.0
    """How far samples spread around the mean style, 0 (all the mean) to 1 (as in training)."""

    @property
    def per_row(self) -> bool:
        """Whether rows bring a photograph each."""
        return self.kind in ("column", "other row")

    def describe(self) -> dict[str, Any]:
        """For the job's description."""
        digests = [hashlib.sha256(photograph).hexdigest() for photograph in self.photographs]
        return {"kind": self.kind, "photographs": digests, "truncation": self.truncation}


def choose_style(
    *,
    photograph: Path | None = None,
    from_rows: Literal["own", "other"] | None = None,
    interpolate: tuple[Path, Path] | None = None,
    truncation: float | None = None,
) -> StyleChoice:
    """The choice that options make; `InputError` for options that exclude one another, and unreadable photographs.

    Without `truncation`, noise spreads as in training, and a photograph's style is its mean.
    """
    if sum(option is not None for option in (photograph, from_rows, interpolate)) > 1:
        raise InputError("give only one of --style, --style-column and --style-interpolate")
    if truncation is not None and not 0 <= truncation <= 1:
        raise InputError(f"--truncation is {truncation:g}; take 0 (always the mean style) to 1 (as in training)")
    spread = 0.0 if truncation is None else truncation
    if photograph is not None:
        return StyleChoice("photograph", (_read(photograph),), spread)
    if from_rows is not None:
        return StyleChoice("column" if from_rows == "own" else "other row", (), spread)
    if interpolate is not None:
        return StyleChoice("interpolation", (_read(interpolate[0]), _read(interpolate[1])), spread)
    return StyleChoice("noise", (), 1.0 if truncation is None else truncation)


def _read(path: Path) -> bytes:
    from pipeline.data.images import decode_image

    try:
        data = Path(path).read_bytes()
        decode_image(data)
    except OSError as error:
        raise InputError(f"photograph {path} cannot be read: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"photograph {path} {error}") from None
    return data


class StyleSource:
    """Samples by (record, sample), for one generator."""

    def __init__(self, choice: StyleChoice, synthesizer: Synthesizer, *, seed: int) -> None:
        self._choice = choice
        self._synthesizer = synthesizer
        self._seed = seed
        self._given = [synthesizer.style_of(photograph) for photograph in choice.photographs]

    def samples(self, record: str, photograph: bytes | None, count: int, regions: int = 0) -> list[Sample]:
        """So many samples of a record, each a function of (seed, record, its number) and the photograph.

        `regions` is how many its label map has, for generators with a style for each. Raises `InputError` for a record
        without the photograph that was to give its style, and for a broken one.
        """
        seeds = list(range(count))
        if self._synthesizer.recipe.generator.kind != "crn":  # Whose samples are its pictures, in order.
            seeds = [record_seed(self._seed, record, sample) for sample in seeds]
        return [Sample(*drawn) for drawn in zip(self._styles(record, photograph, count, regions), seeds, strict=True)]

    def sample(self, record: str, number: int, regions: int = 0) -> Sample:
        """The sample of that number alone, as `samples` has it where styles are random."""
        assert self._choice.kind == "noise"
        crn = self._synthesizer.recipe.generator.kind == "crn"
        z = self._choice.truncation * self._noise(record, number, regions) if self._synthesizer.style_dim else None
        return Sample(z, number if crn else record_seed(self._seed, record, number))

    def _noise(self, record: str, sample: int, regions: int) -> torch.Tensor:
        """N(0, 1): float32 `[style_dim]`, or `[regions, style_dim]`."""
        settings = self._synthesizer.recipe.generator
        if settings.region_styles == "none":
            return style_noise(self._seed, record, sample, settings.style_dim)
        from pipeline.networks.noise import region_styles

        return region_styles(record_seeds(self._seed, [record], sample), regions, settings.style_dim)[0]

    def _styles(self, record: str, photograph: bytes | None, samples: int, regions: int) -> list[torch.Tensor | None]:
        """z of each sample; with a mean and deviation: mean + truncation * deviation * noise(seed, record, sample)."""
        if not self._synthesizer.style_dim:
            return [None] * samples
        given = self._given
        if self._choice.per_row:
            if photograph is None:
                raise InputError("has no photograph to take the style from")
            given = [self._synthesizer.style_of(photograph)]
        styles: list[torch.Tensor | None] = []
        for sample in range(samples):
            z = self._choice.truncation * self._noise(record, sample, regions)
            if given:
                way = sample / max(samples - 1, 1)
                (mu, sigma), (to_mu, to_sigma) = given[0], given[-1]
                z = z * ((1 - way) * sigma + way * to_sigma) + (1 - way) * mu + way * to_mu
            styles.append(z)
        return styles
