"""Distinct windows of label codes, and which pixel shows which: what exact pattern modulation rests on.

SPADE's gamma and beta at a pixel are functions of the label codes around it: of a k x k window of hidden
activations, each of which is a function of a k x k window of codes. `find_patterns` numbers the distinct windows
of both levels once for a label map and resolution. Every SPADE layer there then computes gamma and beta once per
distinct window, and every pixel looks its own up. This is an identity, not an approximation.

Discovery is exact: windows are compared by keys that hold all their codes, never by a hash that could collide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

LARGEST_KEY = 2**62
PART = 256
"""Pixels that a gradient sums up in one go."""
OUTSIDE = 0
"""The code, and the window number, of everything beyond the border of the image."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """The distinct windows of a batch of label maps at one resolution."""

    hidden_windows: torch.Tensor
    """int32 `[V, k*k]`: the codes in each distinct window that a hidden activation sees, taps row by row."""
    windows: torch.Tensor
    """int32 `[U, k*k]`: each distinct window of *numbers of hidden windows*: 1 + a row of `hidden_windows`, or 0 for
    outside the image, where the hidden activation is 0 (zero padding) rather than a function of codes."""
    rows: torch.Tensor
    """int32 `[N, H, W]`: the row of `windows` that each pixel shows."""

    @property
    def hidden_share(self) -> float:
        """Distinct windows of codes per pixel, in (0, 1]: the share of the dense path's products that is left."""
        return len(self.hidden_windows) / self.rows.numel()

    @property
    def share(self) -> float:
        """Distinct rows of gamma and beta per pixel, in (0, 1]."""
        return len(self.windows) / self.rows.numel()

    def code_index(self, table_length: int) -> torch.Tensor:
        """Where each tap of each hidden window is in a table `[k*k*codes, ...]` of `table_length`: `[V, k*k]`."""
        taps = self.hidden_windows.shape[1]
        first = torch.arange(0, table_length, table_length // taps, device=self.rows.device, dtype=torch.int32)
        return self.hidden_windows + first

    @cached_property
    def window_index(self) -> torch.Tensor:
        """Where each tap of each window is in a table `[(1 + V)*k*k, ...]`: int32 `[U, k*k]`."""
        taps = self.windows.shape[1]
        return self.windows * taps + torch.arange(taps, device=self.rows.device, dtype=torch.int32)

    @cached_property
    def pixels_by_row(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For gradients, pixels `[N*H*W]` in the order of their rows, cut into parts; where each part begins `[P]`, and
        the first part of each row `[U]`.

        A part has at most `PART` pixels: long sums in one go lose digits, and a flat area is a long sum.
        """
        rows = self.rows.flatten()
        counts = torch.bincount(rows, minlength=len(self.windows))
        parts = (counts + PART - 1) // PART
        first = parts.cumsum(0) - parts
        of_row = torch.repeat_interleave(torch.arange(len(parts), device=rows.device), parts)
        place = torch.arange(len(of_row), device=rows.device) - first[of_row]
        return torch.argsort(rows, stable=True), (counts.cumsum(0) - counts)[of_row] + PART * place, first


def find_patterns(codes: torch.Tensor, kernel_size: int) -> Patterns:
    """Number the distinct windows of label codes `[N, H, W]` (integers, 1 or more) for k x k kernels.

    >>> patterns = find_patterns(torch.tensor([[[1, 1, 1, 1, 3, 3, 3, 3]] * 9]), 3)
    >>> len(patterns.hidden_windows), len(patterns.windows)
    (18, 40)
    """
    # Codes are numbered afresh, as few of a data set's codes occur in a label map and small numbers make short keys.
    present = torch.bincount(codes.flatten()) > 0
    present[OUTSIDE] = True
    number = present.cumsum(0) - 1
    hidden_windows, hidden_rows = distinct_windows(_look_up(number, codes), kernel_size)
    hidden_windows = _look_up(present.nonzero().squeeze(1), hidden_windows)
    # Among 3 x 3 hidden windows the four corners see every code, so that they alone tell such windows apart. In larger
    # windows, or in maps one pixel wide, corners can lie outside the image where others between them do not.
    corners = [0, 2, 6, 8] if kernel_size == 3 and min(codes.shape[1:]) > 1 else None
    windows, rows = distinct_windows(hidden_rows + 1, kernel_size, telling=corners)
    return Patterns(hidden_windows.int(), windows.int(), rows.int())


def distinct_windows(
    ids: torch.Tensor, kernel_size: int, *, telling: list[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct k x k windows of `ids` `[N, H, W]` (1 or more; 0 is put outside), and the one each pixel shows.

    Returns `windows` int64 `[D, k*k]` and `rows` int64 `[N, H, W]` with `windows[rows[n, y, x]]` the window at (y, x).
    `telling`: taps known to differ between any two different windows; None: all.

    Most of a label map is flat, so windows of one id all over are numbered by that id, and only the others,
    along the boundaries, are sorted.
    """
    height, width = ids.shape[1:]
    radius = kernel_size // 2
    padded = F.pad(ids.long(), [radius] * 4, value=OUTSIDE)  # [N, H + k - 1, W + k - 1]
    # Windows are named by the place of their first tap in the padded maps, laid out as one line; those that would reach
    # over a border have a centre outside.
    line, pitch = padded.flatten(), padded.shape[2]
    steps = torch.arange(kernel_size, device=ids.device)
    taps = (steps[:, None] * pitch + steps).flatten()
    count = len(line) - (kernel_size - 1) * (pitch + 1)
    centre = line[radius * (pitch + 1) :][:count]
    flat = _flat_windows(line, kernel_size, pitch)

    present = torch.bincount(centre * flat, minlength=1) > 0
    present[OUTSIDE] = False
    flat_ids = present.nonzero().squeeze(1)
    number = F.pad(present.cumsum(0) - 1, (0, int(ids.max()) + 1 - len(present)))  # id -> row of a flat window
    rows = number.index_select(0, centre)

    mixed = ((centre != OUTSIDE) & ~flat).nonzero().squeeze(1)
    told = taps if telling is None else taps[telling]
    example, mixed_rows = distinct_columns(_look_up(line, mixed + told[:, None]))
    rows.index_copy_(0, mixed, mixed_rows + len(flat_ids))
    windows = _look_up(line, mixed.index_select(0, example)[:, None] + taps)
    rows = F.pad(rows, (0, len(line) - count)).view_as(padded)[:, :height, :width]
    return torch.cat([flat_ids[:, None].expand(-1, len(taps)), windows]), rows.contiguous()


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


def _look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`table[index]` for one dimension, which `index_select` does faster."""
    return table.index_select(0, index.flatten()).view(index.shape)


def distinct_columns(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An example of each of the D distinct columns of `table` `[T, M]` (not negative), and the one each equals, `[M]`.

    A column is folded, entry by entry, into one number in mixed radix; where that number would not fit 62 bits, the
    prefixes seen so far are numbered afresh and go on from there. So equal keys mean equal columns.
    """
    if not table.shape[1]:
        return table.new_zeros(0), table.new_zeros(0)
    radix = int(table.max()) + 1
    key, span = table[0], radix
    for entries in table[1:]:
        if span * radix >= LARGEST_KEY:
            distinct, key = torch.unique(key, return_inverse=True)
            span = len(distinct)
        key = torch.add(entries, key, alpha=radix)
        span *= radix
    distinct, number = torch.unique(key, return_inverse=True)
    example = torch.empty_like(distinct)
    example[number] = torch.arange(len(number), device=number.device)  # any example serves: they are all equal
    return example, number
