"""A canvas for a label map that has no photograph: for each segment the best of the bank, pasted where it is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels, instance_edges
from pipeline.segments.bank import MemoryBank
from pipeline.segments.canvas import band_size, compose, elide
from pipeline.segments.cut import in_frame
from pipeline.segments.search import Match, find_matches

if TYPE_CHECKING:
    from pipeline.segments.placing import SegmentPlacing

OwnPictures = Literal["refuse", "exclude"]
"""What happens to a record whose own picture is in the bank: it is refused, or the picture's segments are left out."""
EDGE = 0.035
"""Width of the band along a segment's edge of which half is left out, by the height (public code, when testing)."""


@dataclass(frozen=True)
class Pasted:
    """What the synthesis network gets."""

    canvas: np.ndarray
    """uint8 `[H, W, 4]`: the pasted pixels, RGB, and 255 where there are any; 0 elsewhere."""
    label: np.ndarray
    """`[H, W]`: the label map, rewritten where a pasted segment reaches beyond its own."""
    instance: np.ndarray | None
    """`[H, W]`: the same for the instance map; each pasted segment is one."""
    matches: tuple[Match, ...]
    """What was pasted, from back to front."""
    pixels: tuple[int, ...]
    """How many are seen of each."""
    moved: tuple[tuple[float, ...] | None, ...] = ()
    """How each was moved (`pipeline.segments.placing.Moved.theta`); None where it was not."""


class SegmentPaster:
    """Makes the canvases of label maps, each a function of the bank, the seed, the record and the label map alone."""

    def __init__(
        self,
        bank: MemoryBank,
        space: LabelSpace,
        *,
        order: Sequence[str] = (),
        paste: Literal["whole", "inside"] = "whole",
        own_pictures: OwnPictures = "refuse",
        placing: SegmentPlacing | None = None,
    ) -> None:
        """`order` names classes from back to front; those that it does not name come before, and the larger the mean
        area of a class's segments in the bank, the further back. `own_pictures` says what happens to a record whose own
        photograph is in the bank. `placing` moves pieces before they are pasted, and says which are in front, if its
        networks do; None: they stay where they were, in their order. Raises `InputError` for a bank of other classes.
        """
        bank.check_space(space)
        self.bank, self.space, self.inside, self.own_pictures = bank, space, paste == "inside", own_pictures
        self.ranks = _ranks(bank, space, order)
        self.moving = placing if placing is not None and placing.moves else None
        self.ordering = placing if placing is not None and placing.orders else None

    def paste(self, label: np.ndarray, instance: np.ndarray | None, *, record: str, rng: np.random.Generator) -> Pasted:
        """The canvas of a label map `[H, W]` of stored ids, with its instance map.

        `record` is its id, whose own picture is never pasted. Raises `InputError` where the bank has it and that is
        refused, and for ids beyond the classes.
        """
        own = self.bank.picture_number(record)
        if own is not None and self.own_pictures == "refuse":
            raise InputError(
                f"a picture of that id is in the memory bank {self.bank.location}, so its own photograph could be "
                "pasted back; give a bank of other pictures, or leave its segments out with --own-pictures exclude"
            )
        channels = class_channels(label, self.space)
        height, width = channels.shape
        matches = sorted(find_matches(self.bank, channels, instance, exclude=own), key=self._place)
        masks, places = np.zeros((2, len(matches), height, width), bool)
        pictures: dict[int, np.ndarray] = {}  # that were moved; the others are read when they are pasted
        moved: list[tuple[float, ...] | None] = []
        for number, match in enumerate(matches):
            query = match.query
            places[number] = place = in_frame(query.mask, query.top, query.left, height, width)
            theta = None
            masks[number] = self.bank.frame_mask(match.segment, height, width)
            if self.moving is not None:
                picture = self.bank.frame_picture(match.segment, height, width)
                pictures[number], masks[number], theta = self.moving.move(picture, masks[number], place, channels)
            moved.append(theta)
            if self.inside:
                masks[number] &= place
        in_front = None
        if self.ordering is not None and len(matches) > 1:
            overlap = np.array([[bool((one & other).any()) for other in masks] for one in masks])
            in_front = self.ordering.in_front(places, [match.query.label for match in matches], overlap, channels)
        owner = compose(masks, in_front)
        canvas = np.zeros((height, width, 4), np.uint8)
        written = label.copy()
        for number, match in enumerate(matches):
            seen = owner == number
            if not seen.any():
                continue
            picture = pictures[number] if pictures else self.bank.frame_picture(match.segment, height, width)
            canvas[seen, :3] = picture[seen]
            written[seen] = match.query.label
        known = elide(owner, band_size(EDGE, height), rng)
        canvas[..., :3] *= known[..., None]
        canvas[..., 3] = 255 * known
        pixels = np.bincount(owner.ravel() + 1, minlength=len(matches) + 1)[1:]
        numbered = None if instance is None else np.where(owner < 0, instance.astype(np.int64), -1 - owner)
        return Pasted(canvas, written, numbered, tuple(matches), tuple(pixels.tolist()), tuple(moved))

    def paste_codes(self, codes: np.ndarray, *, record: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The same of codes alone, int32 `[H, W]`, whose segments are then regions of a class: the rewritten codes, and
        the canvas uint8 `[H, W, 4]`."""
        channels = (codes - 1) // 2
        count = len(self.space.classes)
        label = channels if self.space.dont_care is None else np.where(channels < count, channels, self.space.dont_care)
        pasted = self.paste(label, None, record=record, rng=rng)
        rewritten = 1 + 2 * class_channels(pasted.label, self.space)
        if self.space.instance_edges:
            changed = rewritten != codes - (codes - 1) % 2
            rewritten += np.where(changed, instance_edges(pasted.label), (codes - 1) % 2).astype(rewritten.dtype)
        return rewritten, pasted.canvas

    def describe(self, pasted: Pasted) -> str:
        """Which pieces of the bank can be seen, as JSON: a list, from back to front, of the record that each is from,
        its number in the bank, its class, its box there and that of the segment it stands for (left, top, width and
        height), the two terms of its score, how many of its pixels are in front, and where pieces are moved how."""
        found = []
        for match, pixels, theta in zip(pasted.matches, pasted.pixels, pasted.moved, strict=True):
            if not pixels:
                continue
            top, left, height, width = self.bank.boxes[match.segment].tolist()
            found.append(
                {
                    "record": self.bank.picture_ids[int(self.bank.pictures[match.segment])],
                    "segment": match.segment,
                    "class": self.space.classes[match.query.label],
                    "source_box": [left, top, width, height],
                    "box": match.query.box,
                    "iou": round(match.iou, 4),
                    "context": round(match.context, 4),
                    "pixels": pixels,
                    **({} if theta is None else {"moved": [round(number, 4) for number in theta]}),
                }
            )
        return json.dumps(found, ensure_ascii=False)

    def _place(self, match: Match) -> tuple[int, float, int, int]:
        """From back to front: by class, and in a class the larger ones first."""
        query = match.query
        return self.ranks[query.label], -int(query.mask.sum()), query.top, query.left


def _ranks(bank: MemoryBank, space: LabelSpace, order: Sequence[str]) -> list[int]:
    """The place of each class, from 0 at the back."""
    shares = bank.areas / bank.frames.prod(axis=1)
    count = len(space.classes)
    sums, numbers = (np.bincount(bank.labels, weights, minlength=count) for weights in (shares, None))
    means = sums / np.maximum(numbers, 1)
    named = {name: place for place, name in enumerate(order)}
    by_place = sorted(range(count), key=lambda label: (named.get(space.classes[label], -1), -means[label], label))
    return [by_place.index(label) for label in range(count)]
