"""Pictures made during a run: grids of a few fixed validation records, and what validation is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.config import Recipe, SIMSSettings, Source
from pipeline.data.atomic import atomic_path
from pipeline.labels import split_codes
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import region_styles
from pipeline.runtime.seeding import record_seed, record_seeds, style_noise
from pipeline.segments.bank import MemoryBank
from pipeline.segments.paste import SegmentPaster
from pipeline.segments.placing import SegmentPlacing
from training.data.dataset import RecordDataset, collate
from training.step import Synthesis

SampleImages = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""From N record ids and their label codes, int32 `[N, H, W]`, to pictures, uint8 `[N, H, W, 3]`."""
Validate = Callable[[SampleImages, torch.device], Mapping[str, float]]
"""Scores of what `SampleImages` makes, by name: `TrainingSettings.best_by` is one of them. It must pickle."""

COUNT = 6
"""Records in a grid, one a column."""


class SampleGrid:
    """The first records of the validation set, and how to draw what a generator makes of them."""

    def __init__(
        self,
        data: str | Path | Sequence[Source],
        recipe: Recipe,
        device: torch.device,
        paster: SegmentPaster | None = None,
    ) -> None:
        """Reads the records; `paster` for a generator that mends what it pasted."""
        every = RecordDataset(data, recipe)
        examples = [every[index] for index in range(min(COUNT, len(every)))]
        self.batch = collate(examples).to(device)
        self.recipe, self.ids, self.paster = recipe, [example.id for example in examples], paster
        self.seeds = record_seeds(recipe.training.seed, self.ids).to(device)
        codes = np.stack([example.codes for example in examples])
        if recipe.generator.region_styles == "instance":
            codes, _ = split_codes(codes, recipe.labels)
        channels = (codes - 1) // 2
        self.rows = [
            recipe.labels.colour_table()[channels],
            np.stack([example.picture for example in examples]),
        ]

    @torch.no_grad()
    def draw(self, synthesis: Synthesis) -> np.ndarray:
        """uint8 `[3 H, N W, 3]` (5 H with a style): label maps, photographs, synthesized pictures.

        With a style, the third row has the photographs' own styles and the two below have random ones.
        """
        rows = list(self.rows)
        label_input = _label_input(self.recipe, self.ids, self.batch.codes, synthesis, self.paster)
        styles = [random_styles(self.recipe, self.ids, label_input)]
        if synthesis.encoder is not None and styles[0] is not None:
            styles = [synthesis.encoder(self.batch.pictures)[0], styles[0], styles[0].roll(1, 0)]
        rows += [to_pixels(synthesis.generator(label_input, z, self.seeds)) for z in styles]
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    @staticmethod
    def save(picture: np.ndarray, path: Path) -> None:
        """Write a grid, uint8 `[H, W, 3]`, as PNG, atomically."""
        from PIL import Image

        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary, "PNG")


def to_pixels(pictures: torch.Tensor) -> np.ndarray:
    """Pictures `[N, 3, H, W]` in [-1, 1] to uint8 `[N, H, W, 3]`."""
    pixels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def open_paster(bank: MemoryBank, recipe: Recipe, synthesis: Synthesis) -> SegmentPaster:
    """What pastes for SIMS, as `synthesis` is at the time; `InputError` where the bank does not fit. Records that are
    in the bank, as validation's are not, have their own segments left out."""
    settings, generator = recipe.generator, synthesis.generator
    assert isinstance(settings, SIMSSettings) and isinstance(generator, SIMSSynthesis)
    return SegmentPaster(
        bank,
        recipe.labels,
        order=settings.order,
        paste=settings.paste,
        own_pictures="exclude",
        placing=SegmentPlacing(generator),
    )


def _label_input(
    recipe: Recipe, ids: Sequence[str], codes: torch.Tensor, synthesis: Synthesis, paster: SegmentPaster | None
) -> LabelInput:
    """Label maps as the generator takes them; for SIMS with what was pasted on each, of segments that are regions of a
    class whatever instances there are."""
    if paster is None:
        return synthesis.generator.label_input(codes)
    rngs = [np.random.default_rng(record_seed(recipe.training.seed, name, 0)) for name in ids]
    pasted = [
        paster.paste_codes(each, record=name, rng=rng)
        for each, name, rng in zip(codes.cpu().numpy(), ids, rngs, strict=True)
    ]
    rewritten, canvases = (torch.from_numpy(np.stack(parts)).to(codes.device) for parts in zip(*pasted, strict=True))
    return synthesis.generator.label_input(rewritten).with_canvas(canvases.permute(0, 3, 1, 2).float() / 255)


def sample_images(recipe: Recipe, synthesis: Synthesis, paster: SegmentPaster | None = None) -> SampleImages:
    """How a generator in evaluation mode draws records, each in a random style of its own where there are styles.

    `paster` for a generator that mends what it pasted."""
    device = next(synthesis.parameters()).device

    @torch.no_grad()
    def sample_images(ids: Sequence[str], codes: np.ndarray) -> np.ndarray:
        label_input = _label_input(recipe, ids, torch.from_numpy(codes).to(device), synthesis, paster)
        seeds = record_seeds(recipe.training.seed, ids).to(device)
        return to_pixels(synthesis.generator(label_input, random_styles(recipe, ids, label_input), seeds))

    return sample_images


def random_styles(recipe: Recipe, ids: Sequence[str], label_input: LabelInput) -> torch.Tensor | None:
    """The styles of N records' first samples, float32 `[N, style_dim]` or, of regions, `[N, regions, style_dim]`.

    On the device of their label maps; None for a generator without.
    """
    seed, settings, device = recipe.training.seed, recipe.generator, label_input.codes.device
    if not settings.style_dim:
        return None
    if settings.region_styles != "none":
        return region_styles(record_seeds(seed, ids).to(device), label_input.region_count, settings.style_dim)
    return torch.stack([style_noise(seed, name, 0, settings.style_dim) for name in ids]).to(device)
