"""Pictures made while a run goes on: grids of a few fixed validation records, and what validation is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.config import Recipe, Source
from pipeline.data.atomic import atomic_path
from pipeline.runtime.seeding import record_seeds, style_noise
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

    def __init__(self, data: str | Path | Sequence[Source], recipe: Recipe, device: torch.device) -> None:
        every = RecordDataset(data, recipe)
        examples = [every[index] for index in range(min(COUNT, len(every)))]
        self.batch = collate(examples).to(device)
        noise = [style_noise(recipe.training.seed, example.id, 0, recipe.generator.style_dim) for example in examples]
        self.noise = torch.stack(noise).to(device)
        self.seeds = record_seeds(recipe.training.seed, [example.id for example in examples]).to(device)
        channels = np.stack([(example.codes - 1) // 2 for example in examples])
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
        label_input = synthesis.generator.label_input(self.batch.codes)
        if synthesis.encoder is None:
            styles = [self.noise if self.noise.shape[1] else None]
        else:
            styles = [synthesis.encoder(self.batch.pictures)[0], self.noise, self.noise.roll(1, 0)]
        rows += [to_pixels(synthesis.generator(label_input, z, self.seeds)) for z in styles]
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    @staticmethod
    def save(picture: np.ndarray, path: Path) -> None:
        """Write a grid as PNG, atomically."""
        from PIL import Image

        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary, "PNG")


def to_pixels(pictures: torch.Tensor) -> np.ndarray:
    """Pictures `[N, 3, H, W]` in [-1, 1] to uint8 `[N, H, W, 3]`."""
    pixels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def sample_images(recipe: Recipe, synthesis: Synthesis) -> SampleImages:
    """How a generator in evaluation mode paints records, each in a random style of its own where there are styles."""
    device = next(synthesis.parameters()).device
    seed, length = recipe.training.seed, recipe.generator.style_dim

    @torch.no_grad()
    def sample_images(ids: Sequence[str], codes: np.ndarray) -> np.ndarray:
        label_input = synthesis.generator.label_input(torch.from_numpy(codes).to(device))
        z = torch.stack([style_noise(seed, name, 0, length) for name in ids]).to(device) if length else None
        return to_pixels(synthesis.generator(label_input, z, record_seeds(seed, ids).to(device)))

    return sample_images
