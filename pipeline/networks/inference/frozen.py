"""Any generator for inference: SPADE's folded, the others as they are."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from pipeline.networks.baselines.local_enhancer import LocalEnhancer
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.generator import Generator
from pipeline.networks.generators import AnyGenerator, DrawsPictures
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.inference.int8 import Span
from pipeline.networks.label_input import LabelInput
from pipeline.networks.spectral import fold_spectral_norm


class FrozenGenerator(nn.Module):
    """A generator in one precision, with spectral norm in its convolutions and nothing else done to it."""

    def __init__(self, generator: AnyGenerator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = fold_spectral_norm(copy.deepcopy(generator).eval()).requires_grad_(False).to(dtype=dtype)
        self.dtype = dtype

    @torch.inference_mode()
    def forward(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As the generator's own; pictures are float32 `[N, 3, H, W]`."""
        # Numbers by which pix2pixHD's instances draw a centre must not be rounded: it would be another one.
        exact = z is None or isinstance(self.network, GlobalGenerator | LocalEnhancer)
        return self.network(codes, z if exact or z is None else z.to(self.dtype), seeds).float()

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """As the generator's own, codes int32 `[N, H, W]`; `InputError` for sizes that it cannot take."""
        return self.network.label_input(codes)


def freeze(generator: AnyGenerator, dtype: torch.dtype, spans: Sequence[Span] = ()) -> DrawsPictures:
    """A generator for inference, in one precision; equal to it in evaluation mode up to rounding.

    With `spans` (SPADE's only), its convolutions are in int8.
    """
    if isinstance(generator, Generator) and generator.settings.kind == "spade":
        return FoldedGenerator(generator, dtype, spans=spans)
    assert not spans
    return FrozenGenerator(generator, dtype)
