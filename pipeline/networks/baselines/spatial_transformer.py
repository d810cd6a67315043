"""The spatial transformer of SIMS (after Jaderberg et al. 2015), with the coordinates of its authors' code."""

from __future__ import annotations

import torch
import torch.nn.functional as F

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def transform(pictures: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Pictures `[N, C, H, W]`, each read at places of its affine map `theta` `[N, 6]`, bilinear.

    `theta` is a, b, tx, c, d, ty in pixels from the middle, (W // 2, H // 2). The identity blackens the last row and
    column of even sides, and is none on odd ones, where columns are spread over one pixel less and rows begin one
    further up. Beyond the frame the last two pixels are extrapolated.
    """
    count, channels, height, width = pictures.shape
    columns = torch.linspace(-(width // 2), width // 2 - 1, width, dtype=theta.dtype, device=theta.device)
    rows = torch.arange(height, dtype=theta.dtype, device=theta.device) - (height + 1) // 2
    places = torch.stack([columns.expand(height, -1), rows.unsqueeze(1).expand(-1, width)]).flatten(1)  # [2, H * W]
    affine = theta.view(count, 2, 3)
    x, y = (affine[..., :2] @ places + affine[..., 2:]).unbind(1)  # [N, H * W]
    moved = torch.zeros_like(pictures).flatten(2)
    for column, of_column in _neighbours(x + width // 2, width):
        for row, of_row in _neighbours(y + height // 2, height):
            index = (row * width + column).unsqueeze(1).expand(-1, channels, -1)
            moved = moved + pictures.flatten(2).gather(2, index) * (of_column * of_row).unsqueeze(1)
    return moved.view_as(pictures)


def move(pictures: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """As `transform`, but the identity is one for frames of any size, and beyond the frame there is 0.

    A border of zeros makes it so, which is what the last row and column are lost from and what is extrapolated. The
    middle is (W // 2, H // 2) still.
    """
    height, width = pictures.shape[2:]
    top, left = 1 + height % 2, 1 + width % 2  # even sides, and the same middle
    return transform(F.pad(pictures, (left, 1, top, 1)), theta)[:, :, top : top + height, left : left + width]


def _neighbours(place: torch.Tensor, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The two pixels beside each place, int64, and their weights, which are not clipped where the pixels are."""
    below = place.detach().floor().long()
    first, second = below.clamp(0, length - 1), (below + 1).clamp(0, length - 1)
    return [(first, second - place), (second, place - first)]
