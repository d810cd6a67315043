"""The parity check that an engine passes before it is used: its pictures against the float32 eager generator's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.precision import Precision

RANGE = 2.0
"""Of pictures, which are in (-1, 1)."""


@dataclass(frozen=True)
class Parity:
    """How far an engine's pictures are from the reference; pictures in (-1, 1)."""

    pictures: int
    finite: bool
    """Half precision can overflow."""
    max_error: float
    mean_error: float
    psnr: float
    """Decibels; of equal pictures 200, not infinity, which JSON does not know."""
    ssim: float
    contrast: float
    """Standard deviation of the reference: if it is next to nothing, so is what the comparison says."""

    def __str__(self) -> str:
        return (
            f"max error {self.max_error:.2g}, mean {self.mean_error:.2g}, PSNR {self.psnr:.1f} dB, SSIM {self.ssim:.5f}"
        )


@dataclass(frozen=True)
class Tolerance:
    """The worst that passes. One step of an 8-bit picture is 0.0078 on this scale."""

    max_error: float
    mean_error: float
    psnr: float
    ssim: float


TOLERANCES: dict[Precision, Tolerance] = {
    # Another order of summation: errors far below a step of an 8-bit picture, everywhere.
    "fp32": Tolerance(max_error=2e-3, mean_error=1e-4, psnr=70, ssim=0.9999),
    # 11 bits of mantissa: below a step on average; single pixels at edges may be off by more.
    "fp16": Tolerance(max_error=0.15, mean_error=4e-3, psnr=45, ssim=0.995),
    # 8 bits: about a step on average.
    "bf16": Tolerance(max_error=0.5, mean_error=1.6e-2, psnr=34, ssim=0.97),
    # 8 bits for all that a layer takes in, its rare large values too: about two steps on average.
    "int8": Tolerance(max_error=1, mean_error=3.2e-2, psnr=28, ssim=0.92),
}
"""Stated in docs/engines.md, with what was measured."""


def compare(pictures: torch.Tensor, reference: torch.Tensor) -> Parity:
    """Float32 pictures `[N, 3, H, W]` with those they should be."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    finite = bool(torch.isfinite(pictures).all())
    pictures = torch.nan_to_num(pictures, nan=0.0, posinf=1.0, neginf=-1.0)
    difference = (pictures - reference).double().abs()
    mean_square = float(difference.square().mean())
    psnr = 10 * math.log10(RANGE**2 / mean_square) if mean_square > 0 else 200.0
    ssim = structural_similarity_index_measure(pictures, reference, data_range=RANGE)
    assert isinstance(ssim, torch.Tensor)
    return Parity(
        pictures=len(pictures),
        finite=finite,
        max_error=float(difference.max()),
        mean_error=float(difference.mean()),
        psnr=min(psnr, 200.0),
        ssim=float(ssim),
        contrast=float(reference.std()),
    )


def rejection(parity: Parity, precision: Precision) -> str | None:
    """Why an engine of that precision may not be used; None: it may."""
    if not parity.finite:
        return f"pictures are not finite: {precision} overflows"
    limit = TOLERANCES[precision]
    checks: Sequence[tuple[str, float, bool, float]] = (
        ("max error", parity.max_error, parity.max_error <= limit.max_error, limit.max_error),
        ("mean error", parity.mean_error, parity.mean_error <= limit.mean_error, limit.mean_error),
        ("PSNR", parity.psnr, parity.psnr >= limit.psnr, limit.psnr),
        ("SSIM", parity.ssim, parity.ssim >= limit.ssim, limit.ssim),
    )
    for name, value, passed, bound in checks:
        if not passed:
            return f"{name} {value:.3g} is beyond the tolerance of {precision}, {bound:g}"
    return None
