"""Generators of the other kinds as compilers want them: as they are, on label maps that are looked up."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.engines.signature import Signature
from pipeline.labels import LabelSpace, one_hot
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.local_enhancer import LocalEnhancer
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.generators import AnyGenerator
from pipeline.networks.label_input import LabelInput
from pipeline.networks.spectral import fold_spectral_norm


class PlainGraph(nn.Module):
    """A generator in one precision, for a fixed batch and size, with spectral norm folded and nothing else done to it.

    Equal to `FrozenGenerator` up to rounding; gamma and beta, if any, are computed at every pixel. Features of
    pix2pixHD's regions are an input: they are drawn before (`InstanceStyles`), which is no arithmetic either; and so is
    the canvas that SIMS mends.
    """

    def __init__(self, generator: AnyGenerator, signature: Signature, dtype: torch.dtype) -> None:
        super().__init__()
        self.signature, self.dtype = signature, dtype
        self.network = fold_spectral_norm(copy.deepcopy(generator).eval())
        if isinstance(self.network, GlobalGenerator | LocalEnhancer):
            self.network.styles = None
        if isinstance(self.network, SIMSSynthesis):  # They have done their work before there is a canvas.
            self.network.transformation = self.network.ordering = None
        self.planes = nn.Parameter(plane_table(signature.space))
        self.requires_grad_(False).eval().to(dtype=dtype).to(memory_format=torch.channels_last)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The tensors of `Signature.inputs` to pictures, float32 `[batch, 3, H, W]`."""
        given = {entry.name: tensor for entry, tensor in zip(self.signature.inputs, inputs, strict=True)}
        label_input: LabelInput = LookedUp(given["codes"], self.signature.space, self.planes)
        if isinstance(self.network, CRN):
            every = self.network.every(label_input).float()  # [N, pictures, 3, H, W]
            if "picture" not in given:
                return every[:, 0]
            numbers = torch.arange(every.shape[1], dtype=torch.int32, device=every.device)
            chosen = (numbers == given["picture"].unsqueeze(1)).float()  # [N, pictures]
            return (every * chosen[:, :, None, None, None]).sum(1)
        if "canvas" in given:
            label_input = label_input.with_canvas(given["canvas"])
        pictures: torch.Tensor
        if "features" in given:
            pictures = self.network(label_input, features=given["features"])
        else:
            pictures = self.network(label_input, given["z"].to(self.dtype) if "z" in given else None)
        return pictures.float()

    def export(self, tensors: list[torch.Tensor]) -> torch.export.ExportedProgram:
        """The graph; `tensors` are an example of its inputs, all of whose shapes are fixed."""
        with torch.no_grad():
            return torch.export.export(self, tuple(tensors))


class LookedUp(LabelInput):
    """Label maps whose planes are rows of a table: few compilers take a scatter well, or shrinking by interpolation."""

    def __init__(self, codes: torch.Tensor, space: LabelSpace, planes: torch.Tensor) -> None:
        """`planes` `[codes, channels]`: `plane_table`."""
        super().__init__(codes, space, "dense")
        self._planes = planes

    def one_hot_at(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """As `LabelInput.one_hot_at`, for resolutions that are the codes' own halved some times."""
        rows, columns = self.codes.shape[1] // height, self.codes.shape[2] // width
        assert (rows * height, columns * width) == tuple(self.codes.shape[1:])
        # The pixels that nearest-neighbour interpolation takes.
        planes = F.embedding(self.codes[:, ::rows, ::columns], self._planes)  # [N, height, width, channels]
        if self.styles is not None:
            styles = self.styles.to(planes.dtype)
            if styles.dim() == 2:
                everywhere = styles[:, None, None].expand(-1, height, width, -1)
            else:
                classes = planes[..., : self.space.class_channels].flatten(1, 2)
                everywhere = torch.bmm(classes, styles).unflatten(1, (height, width))
            planes = torch.cat([planes, everywhere], dim=3)
        return planes.permute(0, 3, 1, 2).to(dtype)


def plane_table(space: LabelSpace) -> torch.Tensor:
    """The semantic input of the paper for every code, float32 `[codes, channels]`; code 0, outside, has nothing."""
    every = torch.arange(1, space.codes)
    return F.pad(one_hot(every[None, None], space, torch.float32)[0, :, 0].t(), (0, 0, 1, 0))
