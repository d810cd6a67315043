"""Distinct windows of integer maps, and which pixel shows which: exact, and in one go for maps of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

LARGEST_KEY = 2**62
OUTSIDE = 0
"""What stands beyond the borders of maps."""


@dataclass(frozen=True)
class Windows:
    """The distinct windows of the maps in an atlas, in the order of the maps; the same window in two maps is two."""

    windows: torch.Tensor
    """int64 `[D, k*k]`, taps row by row."""
    rows: torch.Tensor
    """int64 `[N, height, width]` of the atlas: the row of `windows` that each pixel shows; -1 outside the maps."""
    ends: list[int]
    """The windows of map m are the rows from `ends[m]` up to `ends[m + 1]`."""


class Atlas:
    """Maps of several sizes in one atlas, zeros between them: the first on top, the others side by side below it.

    Made for the resolutions of one label map, each half of the one before, which fill most of the atlas.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], kernel_size: int) -> None:
        self.sizes = list(sizes)
        self.kernel_size = kernel_size
        gap = kernel_size // 2  # a window reaches into the gap, not over it
        top, left = 2 * gap + sizes[0][0], gap
        self._corners = [(gap, gap)]
        for _, width in sizes[1:]:
            self._corners.append((top, left))
            left += width + gap
        self.height = top + max((height + gap for height, _ in sizes[1:]), default=0)
        self.width = max(left, sizes[0][1] + 2 * gap)

    def view(self, atlas: torch.Tensor, place: int) -> torch.Tensor:
        """The view of one map `[..., H, W]` in an atlas `[..., height, width]`."""
        (top, left), (height, width) = self._corners[place], self.sizes[place]
        return atlas[..., top : top + height, left : left + width]

    def pack(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Integer maps `[N, H, W]`, one of each size, in atlases: int64 `[N, height, width]`."""
        atlas = torch.full((len(maps[0]), self.height, self.width), OUTSIDE, device=maps[0].device)
        for place, each in enumerate(maps):
            self.view(atlas, place).copy_(each)
        return atlas

    def distinct_windows(self, ids: torch.Tensor, *, telling: list[int] | None = None) -> Windows:
        """The distinct k x k windows of atlases of `ids` `[N, height, width]`, 1 or more in the maps.

        `telling`: taps known to differ between any two different windows; None: all.

        Most of a label map is flat, so windows of one id all over are numbered by that id, and only the others,
        along the boundaries, are sorted.
        """
        # Windows are named by the place of their first tap in the atlases laid out as one line; those that would reach
        # over its ends have a centre outside.
        line = ids.flatten()
        steps = torch.arange(self.kernel_size, device=ids.device)
        taps = (steps[:, None] * self.width + steps).flatten()
        margin = self.kernel_size // 2 * (self.width + 1)
        inner = slice(margin, len(line) - margin)
        centre, owner = line[inner], self._owners(ids)[inner]
        flat = _flat_windows(line, self.kernel_size, self.width)

        span = int(ids.max()) + 1
        kind = torch.add(centre, owner, alpha=span)  # id and map in one number
        flat_kinds = (torch.bincount(kind * flat, minlength=1) > 0).nonzero().squeeze(1)
        flat_kinds = flat_kinds[flat_kinds % span != OUTSIDE]
        flat_owners = flat_kinds // span

        mixed = ((centre != OUTSIDE) & ~flat).nonzero().squeeze(1)
        told = taps if telling is None else taps[telling]
        example, mixed_rows = distinct_columns(look_up(line, mixed + told[:, None]), owner.index_select(0, mixed))
        examples = mixed.index_select(0, example)
        mixed_owners = owner.index_select(0, examples)

        # Of each map first the flat windows, then the others.
        flats, others = (torch.bincount(owners, minlength=len(self.sizes)) for owners in (flat_owners, mixed_owners))
        ends = (flats + others).cumsum(0)
        flat_rows = _count_from(ends - flats - others, flat_owners, flats)
        other_rows = _count_from(ends - others, mixed_owners, others)
        windows = line.new_empty(len(flat_rows) + len(other_rows), len(taps))
        windows[flat_rows] = (flat_kinds % span)[:, None]
        windows[other_rows] = look_up(line, examples[:, None] + taps)
        row_of_kind = line.new_full((span * len(self.sizes),), -1).index_copy_(0, flat_kinds, flat_rows)
        rows = torch.full_like(line, -1)
        rows[inner] = row_of_kind.index_select(0, kind).index_copy_(0, mixed, look_up(other_rows, mixed_rows))
        return Windows(windows, rows.view_as(ids), [0, *ends.tolist()])

    def _owners(self, ids: torch.Tensor) -> torch.Tensor:
        """The number of the map that each place of the atlases belongs to, as a line."""
        owners = ids.new_zeros(self.height, self.width)
        for place in range(1, len(self.sizes)):
            self.view(owners, place).fill_(place)
        return owners.expand_as(ids).flatten()


def distinct_windows(ids: torch.Tensor, kernel_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct k x k windows of `ids` `[N, H, W]` (1 or more; 0 is put outside), and the one each pixel shows.

    Returns `windows` int64 `[D, k*k]` and `rows` int64 `[N, H, W]` with `windows[rows[n, y, x]]` the window at (y, x).
    """
    atlas = Atlas([(ids.shape[1], ids.shape[2])], kernel_size)
    found = atlas.distinct_windows(atlas.pack([ids]))
    return found.windows, atlas.view(found.rows, 0)


def distinct_columns(table: torch.Tensor, groups: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """An example of each of the D distinct columns of `table` `[T, M]` (not negative), and the one each equals, `[M]`.

    With `groups` `[M]`, columns of different groups are different, and the distinct ones are in the order of groups.

    A column is folded, entry by entry, into one number in mixed radix; where that number would not fit 62 bits, the
    prefixes seen so far are numbered afresh, in order, and folded on from there. So equal keys mean equal columns.
    """
    if not table.shape[1]:
        return table.new_zeros(0), table.new_zeros(0)
    radix = int(table.max()) + 1
    key, span = (table[0], radix) if groups is None else (groups, int(groups.max()) + 1)
    for entries in table[1:] if groups is None else table:
        if span * radix >= LARGEST_KEY:
            example, key = _distinct(key)
            span = len(example)
        key = torch.add(entries, key, alpha=radix)
        span *= radix
    return _distinct(key)


def _distinct(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The place of one example of each distinct key, in the order of the keys, and the number of each key `[M]`."""
    # NumPy sorts integers five times as fast as PyTorch.
    order = torch.from_numpy(np.argsort(keys.numpy())) if keys.device.type == "cpu" else keys.argsort()
    ordered = keys.index_select(0, order)
    first = F.pad(ordered[1:] != ordered[:-1], (1, 0), value=True)
    number = torch.empty_like(keys).index_copy_(0, order, first.cumsum(0) - 1)
    return order[first], number


def look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`table[index]` for a `table` `[M]`, of the shape of `index`, which `index_select` does faster."""
    return table.index_select(0, index.flatten()).view(index.shape)


def _count_from(starts: torch.Tensor, owners: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Numbers for things in the order of their `owners`, each owner's `counts` upwards from its own start."""
    shift = starts - (counts.cumsum(0) - counts)
    return torch.arange(len(owners), device=owners.device) + shift.index_select(0, owners)


def _flat_windows(line: torch.Tensor, kernel_size: int, pitch: int) -> torch.Tensor:
    """Which windows hold one id only, by the place of their first tap on a `line` of maps with rows of `pitch`."""
    count = len(line) - (kernel_size - 1) * (pitch + 1)
    across, down = line[1:] == line[:-1], line[pitch:] == line[:-pitch]
    flat = line.new_ones(count, dtype=torch.bool)
    for row in range(kernel_size):
        for column in range(kernel_size - 1):
            flat &= across[row * pitch + column :][:count]
    for row in range(kernel_size - 1):
        flat &= down[row * pitch :][:count]
    return flat
