"""What one step of training gets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Label maps with their photographs."""

    codes: Tensor
    """int32 `[N, H, W]`."""
    pictures: Tensor
    """float `[N, 3, H, W]` in [-1, 1]."""
    noise: Tensor
    """float `[2, N, style_dim]`, N(0, 1): for the fakes of the generator's step, then of the discriminator's."""
    seeds: Tensor
    """int64 `[N]`: of all else that is drawn for a record in this step (see `pipeline.runtime.counter_based`)."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the copy overlaps other work where the batch is in pinned memory."""
        return Batch(*(value.to(device, non_blocking=True) for value in self._tensors()))

    def pin_memory(self) -> Batch:
        """The batch in memory from which a GPU can copy by itself."""
        return Batch(*(value.pin_memory() for value in self._tensors()))

    def split(self, parts: int) -> list[Batch]:
        """The batch in equal parts, in order."""
        assert len(self.codes) % parts == 0, f"{len(self.codes)} maps in {parts} parts"
        pieces = (value.chunk(parts, axis) for value, axis in zip(self._tensors(), (0, 0, 1, 0), strict=True))
        return [Batch(*part) for part in zip(*pieces, strict=True)]

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.codes, self.pictures, self.noise, self.seeds
