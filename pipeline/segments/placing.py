"""What SIMS's networks for single segments say of the pieces of a canvas: where each belongs, and which is in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.baselines.spatial_transformer import move

COVERED = 0.5
"""A pixel belongs to a piece that was moved where this much of it comes from the piece."""


class Moved(NamedTuple):
    """A piece where it belongs."""

    picture: np.ndarray
    """uint8 `[H, W, 3]`."""
    mask: np.ndarray
    """bool `[H, W]`."""
    theta: tuple[float, ...]
    """a, b, tx, c, d, ty: a pixel (x, y) of it, counted from the middle of the frame, was at (a x + b y + tx,
    c x + d y + ty)."""


class SegmentPlacing:
    """Moves pieces to where they belong, and orders them (SIMS, Sec. 3.2): one piece, or pair, after the other, so that
    none depends on what else there is."""

    def __init__(self, network: SIMSSynthesis) -> None:
        """`network` may go on learning: what counts is what it is at the time."""
        self.network = network

    @property
    def moves(self) -> bool:
        """Whether there is a network that moves pieces."""
        return self.network.transformation is not None

    @torch.inference_mode()
    def move(self, picture: np.ndarray, mask: np.ndarray, place: np.ndarray, channels: np.ndarray) -> Moved:
        """A piece in its frame, uint8 `[H, W, 3]`, and its mask, bool `[H, W]`, moved by the network's affine map.

        `place`, bool `[H, W]`, is the segment that it stands for, in the label map `channels`, class channels
        `[H, W]`. Pixels beside the mask are black.
        """
        network = self.network.transformation
        assert network is not None
        weight = network.theta.weight
        cover = torch.from_numpy(mask).to(weight)[None, None]
        segment = torch.from_numpy(picture).permute(2, 0, 1)[None].to(weight) / 255 * cover
        planes = F.one_hot(torch.from_numpy(channels).long(), self.network.space.class_channels)
        planes = planes.permute(2, 0, 1)[None].to(weight)
        theta = network(segment, torch.from_numpy(place).to(weight)[None, None], planes)
        moved = move(torch.cat([segment, cover], dim=1), theta)[0]  # [4, H, W]
        inside = moved[3] >= COVERED
        # A pixel that is covered in part has the colour of what covers it.
        colours = (255 * moved[:3] / moved[3].clamp(min=COVERED) * inside).round().clamp(0, 255).to(torch.uint8)
        return Moved(colours.permute(1, 2, 0).cpu().numpy(), inside.cpu().numpy(), tuple(theta[0].tolist()))

    @property
    def orders(self) -> bool:
        """Whether there is a network that says what is in front."""
        return self.network.ordering is not None

    @torch.inference_mode()
    def in_front(
        self, places: np.ndarray, labels: Sequence[int], overlap: np.ndarray, channels: np.ndarray
    ) -> np.ndarray:
        """Which of S segments stays in front of which later one: bool `[S, S]` at (earlier, later), for `compose`.

        `places` bool `[S, H, W]` are the segments of the label map `channels` `[H, W]` and `labels` their classes. Only
        those of different classes that `overlap`, bool `[S, S]`, are compared; of the others the later one is in front.
        """
        found = np.zeros(overlap.shape, bool)
        device = next(self.network.parameters()).device
        layout = torch.from_numpy(channels).to(device)[None]
        for earlier, later in zip(*np.nonzero(np.triu(overlap, 1)), strict=True):
            behind, ahead = labels[earlier], labels[later]
            if behind == ahead:
                continue
            pair = np.where(places[later], 1 + ahead, np.where(places[earlier], 1 + behind, 0))
            logits = self.network.front_classes(torch.from_numpy(pair).to(device)[None], layout)[0]
            found[earlier, later] = bool(logits[behind] > logits[ahead])
        return found
