"""What one step of training gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

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
    canvases: Tensor | None = None
    """float `[N, 4, H, W]` in [0, 1], for SIMS: pieces of the photographs, RGB, and where there are any."""
    segments: Tensor | None = None
    """float `[N, 4, H, W]` in [0, 1], for SIMS that moves pieces: a segment of another picture, RGB, and the mask of
    one of the label map's, for which it stands."""
    pairs: Tensor | None = None
    """int32 `[N, H, W]`, for SIMS that orders pieces: two neighbours, 1 + the class channel of each, and 0."""
    fronts: Tensor | None = None
    """int64 `[N]`: the class channel of the one in front; -1 where there are none."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the copy overlaps other work where the batch is in pinned memory."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in memory from which a GPU can copy by itself."""
        return self._each(torch.Tensor.pin_memory)

    def split(self, parts: int) -> list[Batch]:
        """The batch in equal parts, in order."""
        assert len(self.codes) % parts == 0, f"{len(self.codes)} maps in {parts} parts"
        size = len(self.codes) // parts
        rows = [slice(first, first + size) for first in range(0, len(self.codes), size)]
        return [
            replace(self._each(lambda value, part=part: value[part]), noise=self.noise[:, part])  # type: ignore[misc]
            for part in rows
        ]

    def _each(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function's value in the place of each tensor."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: function(value) for name, value in every.items() if value is not None}
        return Batch(**changed)
