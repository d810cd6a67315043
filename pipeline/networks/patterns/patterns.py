"""Distinct windows of label codes, and which pixel shows which: what exact pattern modulation rests on.

SPADE's gamma and beta at a pixel are functions of the label codes around it: of a k x k window of hidden
activations, each of which is a function of a k x k window of codes. `find_all_patterns` numbers the distinct windows
of both levels once for a label map, at each resolution. Every SPADE layer there then computes gamma and beta once per
distinct window, and every pixel looks its own up. This is an identity, not an approximation.

Discovery is exact: windows are compared by keys that hold all their codes, never by a hash that could collide
(`pipeline.networks.patterns.windows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from pipeline.networks.patterns.windows import OUTSIDE, Atlas, look_up

PART = 256
"""Pixels that a gradient sums up in one go."""


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
    return find_all_patterns([codes], kernel_size)[0]


def find_all_patterns(maps: Sequence[torch.Tensor], kernel_size: int) -> list[Patterns]:
    """`find_patterns` of label maps `[N, H, W]` at each of several resolutions, largest first, in one go.

    A map of 8x8 costs as many calls of operators as one of 256x256, so that all of them go into one atlas.
    """
    atlas = Atlas([(codes.shape[1], codes.shape[2]) for codes in maps], kernel_size)
    codes = atlas.pack(maps)
    # Codes are numbered afresh, as few of a data set's codes occur in a label map and small numbers make short keys.
    present = torch.bincount(codes.flatten()) > 0
    present[OUTSIDE] = True
    hidden = atlas.distinct_windows(look_up(present.cumsum(0) - 1, codes))
    # Among 3 x 3 hidden windows the four corners see every code, so that they alone tell such windows apart. In larger
    # windows, or in maps one pixel wide, corners can lie outside the image where others between them do not.
    corners = [0, 2, 6, 8] if kernel_size == 3 and min(map(min, atlas.sizes)) > 1 else None
    outer = atlas.distinct_windows(hidden.rows + 1, telling=corners)
    hidden_windows = look_up(present.nonzero().squeeze(1), hidden.windows)
    found = []
    for place in range(len(maps)):
        first, last = hidden.ends[place : place + 2]
        begin, end = outer.ends[place : place + 2]
        windows = (outer.windows[begin:end] - first).clamp_min_(OUTSIDE)  # by numbers of the map's own hidden windows
        rows = atlas.view(outer.rows, place) - begin
        found.append(Patterns(hidden_windows[first:last].int(), windows.int(), rows.int()))
    return found
