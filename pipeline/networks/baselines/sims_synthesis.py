"""The synthesis network of SIMS (Qi et al., CVPR 2018, Sec. 3.3): a label map and a canvas of segments to a picture."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.config import SIMSSettings
from pipeline.labels import LabelSpace
from pipeline.networks.baselines.layers import pool_same, resize_aligned, stage
from pipeline.networks.baselines.sims_order import OrderNetwork
from pipeline.networks.baselines.sims_transformation import TransformationNetwork
from pipeline.networks.initialise import glorot_uniform
from pipeline.networks.label_input import LabelInput


class SIMSSynthesis(nn.Module):
    """Codes, a canvas and which of its pixels are known, to pictures and to what class each of their pixels shows.

    With it, where the settings say so, the networks that move the pieces of a canvas before they are pasted, and that
    say which is in front (`pipeline.segments.placing`): in one checkpoint, as they belong together.
    """

    def __init__(self, settings: SIMSSettings, space: LabelSpace) -> None:
        super().__init__()
        self.settings, self.space = settings, space
        inputs = space.channels + 3 + 1
        first, second, third, fourth = settings.widths
        encoder = [first, second, third, fourth, fourth, fourth]
        decoder = [third, fourth, fourth, fourth, fourth, fourth]  # at halves, quarters, ...
        self.encoder = nn.ModuleList(
            stage(before, after, layers)
            for before, after, layers in zip([inputs, *encoder[:-1]], encoder, (2, 2, 3, 3, 3, 3), strict=True)
        )
        self.decoder = nn.ModuleList(
            stage(inputs + beside + before, after)
            for beside, before, after in zip(encoder, [*decoder[1:], 0], decoder, strict=True)
        )
        self.final = stage(inputs + third, third)
        self.outer = stage(inputs + third, second) if settings.outer else None
        width = second if settings.outer else third
        self.to_picture = nn.Conv2d(width, 3, 1)
        self.to_classes = nn.Conv2d(width, space.class_channels, 1)
        glorot_uniform(self)
        self.transformation: TransformationNetwork | None = None
        if settings.transform:
            self.transformation = TransformationNetwork(classes=space.class_channels, widths=settings.segment_widths)
        self.ordering: OrderNetwork | None = None
        if settings.order_network:
            self.ordering = OrderNetwork(
                classes=space.class_channels, widths=settings.segment_widths, hidden=settings.order_hidden, window=None
            )

    def of_segments(self) -> list[nn.Parameter]:
        """The parameters of the networks that look at single segments."""
        networks = [each for each in (self.transformation, self.ordering) if each is not None]
        return [parameter for network in networks for parameter in network.parameters()]

    def front_classes(
        self, pairs: torch.Tensor, channels: torch.Tensor, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits `[N, class channels]` of which class is in front, of pairs of segments and their label maps.

        `pairs` `[N, H, W]` are 1 + the class channel where a segment is, and 0; `channels` `[N, H, W]` class channels.
        `seeds` as `OrderNetwork` has them.
        """
        assert self.ordering is not None
        weight = self.ordering.classify.weight
        table = torch.from_numpy(self.space.colour_table()).to(weight) / 255
        colours = torch.cat([torch.zeros_like(table[:1]), table])  # where neither is: black
        pair, layout = (colours[numbers.long()].permute(0, 3, 1, 2) for numbers in (pairs, channels + 1))
        return self.ordering(pair, layout, seeds)

    def forward(
        self, codes: torch.Tensor | LabelInput, z: torch.Tensor | None = None, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pictures `[N, 3, H, W]` of label maps with a canvas (`LabelInput.with_canvas`); nothing is drawn."""
        label_input = codes if isinstance(codes, LabelInput) else self.label_input(codes)
        return self.mend(label_input)[0]

    def mend(self, label_input: LabelInput) -> tuple[torch.Tensor, torch.Tensor]:
        """`pictures_and_classes` of label maps with a canvas: `[N, 3, H, W]` and `[N, class channels, H, W]`."""
        canvas = label_input.canvas
        assert canvas is not None, "nothing was pasted"
        return self.pictures_and_classes(label_input, canvas[:, :3], canvas[:, 3:])

    def pictures_and_classes(
        self, label_input: LabelInput, canvas: torch.Tensor, known: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures `[N, 3, H, W]` and logits `[N, class channels, H, W]`.

        Of label maps, `canvas` `[N, 3, H, W]` in 0 to 1 and 0 where nothing was pasted, and `known` `[N, 1, H, W]`, 1
        where something was. Of pictures -1 to 1 is black to white, but nothing holds them there: clamp before saving.
        """
        height, width = label_input.codes.shape[1:]
        planes = label_input.one_hot_at(height, width, self.to_picture.weight.dtype)
        given = torch.cat([planes, canvas.to(planes.dtype), known.to(planes.dtype)], dim=1)
        inner = given if self.outer is None else resize_aligned(given, height // 2, width // 2)
        x = self.final(_beside(inner, self._features(inner, given)))
        if self.outer is not None:
            x = self.outer(_beside(given, x))
        return self.to_picture(x), self.to_classes(x)

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """The label maps in the form the layers want."""
        return LabelInput(codes, self.space, "dense")

    def _features(self, inner: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """`inner` `[N, inputs, h, w]` to `[N, third width, h / 2, w / 2]`; the decoder looks at the whole `given`."""
        pooled = [inner]
        for encode in self.encoder:
            pooled.append(pool_same(encode(pooled[-1]), "average"))
        x: torch.Tensor | None = None
        for beside, decode in zip(reversed(pooled[1:]), reversed(self.decoder), strict=True):
            parts = [resize_aligned(given, beside.shape[2], beside.shape[3]), beside]
            if x is not None:
                parts.append(resize_aligned(x, beside.shape[2], beside.shape[3]))
            x = decode(torch.cat(parts, dim=1))
        assert x is not None
        return x


def _beside(given: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    return torch.cat([given, resize_aligned(features, given.shape[2], given.shape[3])], dim=1)
