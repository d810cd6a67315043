"""DiffAugment (Zhao et al., NeurIPS 2020): what the discriminator sees is changed, real and fake alike.

Changed are the pictures on their way into the discriminator, in the generator's step too, with gradients through the
change; so the generator learns nothing of it. The discriminator is conditional: where geometry changes, the label map
changes with the picture. What translation moves into view, and what cutout hides, is grey in the picture and blank in
the label map (code 0), so that it is in nobody's loss.

All pictures of a record (its photograph and its fakes, in both steps) are changed in the same way: they stay
comparable pixel by pixel for feature matching and LabelMix, and the label map is prepared once.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from pipeline.runtime.counter_based import uniforms

SHIFT = 1 / 8
"""Translation: up to this share of the picture, in whole pixels."""
HOLE = 1 / 2
"""Cutout: height and width of the hole, as a share of the picture's; its middle is anywhere in the picture."""


class Augmentation:
    """One change for each record of a batch, drawn from its seed, int64 `[N]`; `kinds` as in a recipe."""

    def __init__(self, kinds: Collection[str], seeds: Tensor) -> None:
        self.kinds = frozenset(kinds)
        # All are drawn, whatever the kinds, so that switching one on leaves the others as they were.
        self._colour, self._shift, self._hole = uniforms(seeds, "augment", 7).split([3, 2, 2], dim=1)

    def pictures(self, pictures: Tensor) -> Tensor:
        """Pictures `[N, 3, H, W]` in [-1, 1], changed; colours may leave the range, as in the paper."""
        if "colour" in self.kinds:
            brightness, saturation, contrast = self._colour.to(pictures.dtype)[..., None, None, None].unbind(1)
            pictures = pictures + (brightness - 0.5)
            grey = pictures.mean(dim=1, keepdim=True)
            pictures = grey + (pictures - grey) * (2 * saturation)
            mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
            pictures = mean + (pictures - mean) * (contrast + 0.5)
        return self._move(pictures)

    def codes(self, codes: Tensor) -> Tensor:
        """Their label codes int32 `[N, H, W]`, moved likewise; 0 where the picture was blanked."""
        return self._move(codes.unsqueeze(1)).squeeze(1)

    def _move(self, planes: Tensor) -> Tensor:
        """Translation and cutout of `[N, C, H, W]`, blank parts 0."""
        height, width = planes.shape[2:]
        if "translation" in self.kinds:
            rows, row_seen = _shifted(self._shift[:, 0], height)
            columns, column_seen = _shifted(self._shift[:, 1], width)
            planes = planes.gather(2, rows[:, None, :, None].expand_as(planes))
            planes = planes.gather(3, columns[:, None, None, :].expand_as(planes))
            planes = planes * (row_seen[:, None, :, None] & column_seen[:, None, None, :])
        if "cutout" in self.kinds:
            hidden_rows, hidden_columns = _hidden(self._hole[:, 0], height), _hidden(self._hole[:, 1], width)
            planes = planes * ~(hidden_rows[:, None, :, None] & hidden_columns[:, None, None, :])
        return planes


def _shifted(draw: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """For each place `[N, length]` after a shift, the place that it shows, and whether that is in the picture."""
    most = round(length * SHIFT)
    shift = (draw * (2 * most + 1)).long() - most  # every whole number from -most to most is equally likely
    source = torch.arange(length, device=draw.device) - shift[:, None]
    return source.clamp(0, length - 1), (source >= 0) & (source < length)


def _hidden(draw: Tensor, length: int) -> Tensor:
    """Bool `[N, length]`: places inside the hole, which the picture's border may cut off."""
    size = round(length * HOLE)
    first = (draw * length).long()[:, None] - size // 2
    place = torch.arange(length, device=draw.device)
    return (place >= first) & (place < first + size)
