"""SIMS's training canvases: a picture's own pixels, cut by the shapes of other pictures' segments (SIMS, Sec. 3.3)."""

from __future__ import annotations

import numpy as np

from pipeline.config import SIMSSettings
from pipeline.data.schema import Record
from pipeline.labels import LabelSpace, class_channels
from pipeline.segments.bank import MemoryBank
from pipeline.segments.canvas import band_size, elide
from pipeline.segments.coarse import coarse_iou, pack_mask
from pipeline.segments.cut import cut_segments, in_frame
from pipeline.segments.search import candidates
from training.data.pairs import draw_pair

EDGE = 0.05
"""Width of the band along a piece's edge of which half is left out, by the height (public code, in training)."""


class TrainingCanvases:
    """What the synthesis network is shown of a photograph that it is to restore, each time another part of it."""

    def __init__(self, bank: MemoryBank, settings: SIMSSettings, space: LabelSpace) -> None:
        """Raises `InputError` for a bank of other classes."""
        bank.check_space(space)
        self.bank, self.settings, self.space = bank, settings, space

    def draw(self, record: Record, seed: int) -> np.ndarray:
        """The canvas of a record, uint8 `[H, W, 4]`: RGB, and 255 where there is a piece; 0 elsewhere.

        Each segment is cut by the mask of the most alike of `settings.candidates` random segments of its class, none of
        them of the same picture; one without any has no piece.
        """
        assert record.image is not None
        rng = np.random.default_rng(seed)
        channels = class_channels(record.label, self.space)
        height, width = channels.shape
        own = self._picture_number(record)
        pieces = 0
        owner = np.full((height, width), -1, np.int32)
        canvas = np.zeros((height, width, 4), np.uint8)
        least = self.bank.least_area
        for query in cut_segments(channels, record.instance, classes=len(self.space.classes), least_area=least):
            mask = in_frame(query.mask, query.top, query.left, height, width)
            numbers = candidates(self.bank, query.label, own)
            if not len(numbers):
                continue
            chosen, other = self._choose(mask, numbers, rng)
            mask &= self.bank.frame_mask(chosen, height, width)
            canvas[mask, :3] = self._coloured(record.image[mask], other, rng)
            owner[mask] = pieces
            pieces += 1
        known = elide(owner, band_size(EDGE, height), rng)
        canvas[..., :3] *= known[..., None]
        canvas[..., 3] = 255 * known
        return canvas

    def draw_segment(self, record: Record, seed: int) -> np.ndarray | None:
        """What the transformation network is to move, uint8 `[H, W, 4]`: a segment of another picture in its frame, and
        255 where it belongs, which is a random segment of the record; all 0 where there is none.

        It is the most alike of `settings.candidates` random ones of its class: alike, but not as much as what retrieval
        finds. None for recipes without that network.
        """
        if not self.settings.transform:
            return None
        rng = np.random.default_rng([seed, 1])
        channels = class_channels(record.label, self.space)
        height, width = channels.shape
        own, classes = self._picture_number(record), len(self.space.classes)
        found = cut_segments(channels, record.instance, classes=classes, least_area=self.bank.least_area)
        drawn = np.zeros((height, width, 4), np.uint8)
        queries = [query for query in found if len(candidates(self.bank, query.label, own))]
        if queries:
            query = queries[int(rng.integers(len(queries)))]
            mask = in_frame(query.mask, query.top, query.left, height, width)
            chosen, _ = self._choose(mask, candidates(self.bank, query.label, own), rng)
            drawn[..., :3], drawn[..., 3] = self.bank.frame_picture(chosen, height, width), 255 * mask
        return drawn

    def draw_pair(self, record: Record, seed: int) -> tuple[np.ndarray, int] | None:
        """What the ordering network is to tell, a map int32 `[H, W]` of two segments and the class in front, as by
        `training.data.pairs.draw_pair`; None for recipes without it.
        """
        if not self.settings.order_network:
            return None
        assert record.disparity is not None
        return draw_pair(
            class_channels(record.label, self.space),
            record.instance,
            record.disparity,
            np.random.default_rng([seed, 2]),
            classes=len(self.space.classes),
            least_area=self.bank.least_area,
        )

    def _picture_number(self, record: Record) -> int | None:
        """The record's own picture in the bank."""
        own = self.bank.picture_number(record.id)
        if own is None and ":" in record.id:  # The name of its source comes before the id.
            own = self.bank.picture_number(record.id.partition(":")[2])
        return own

    def _choose(self, mask: np.ndarray, numbers: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
        """The most alike of some random segments, and one of them that may give its colours."""
        drawn = numbers[rng.integers(len(numbers), size=self.settings.candidates)]
        tried = np.unique(drawn)
        best = int(coarse_iou(pack_mask(mask), self.bank.coarse[tried]).argmax())
        return int(tried[best]), int(drawn[0])

    def _coloured(self, pixels: np.ndarray, other: int, rng: np.random.Generator) -> np.ndarray:
        """Pixels uint8 `[n, 3]`, some of the time with the mean and spread of another segment's colours."""
        recolours = rng.random() < self.settings.recolour
        if not recolours or not len(pixels):
            return pixels
        mean, spread = self.bank.colours[other, :3], self.bank.colours[other, 3:]
        scaled = (pixels - pixels.mean(axis=0)) / np.maximum(pixels.std(axis=0), 1.0)
        return (scaled * spread + mean).round().clip(0, 255).astype(np.uint8)
