"""pix2pixHD's styles at synthesis: what instances of each class looked like, as cluster centres (Sec. 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.label_input import LabelInput


class InstanceStyles(nn.Module):
    """For each class some feature vectors, one of which is drawn for each instance; found when training is saved."""

    centres: torch.Tensor
    counts: torch.Tensor

    def __init__(self, space: LabelSpace, *, features: int, centres: int) -> None:
        """Room for so many `centres` a class; before any are set, there is one of zeros."""
        super().__init__()
        self.register_buffer("centres", torch.zeros(space.class_channels, centres, features))
        self.register_buffer("counts", torch.ones(space.class_channels, dtype=torch.int64))

    @torch.no_grad()
    def set(self, centres: list[torch.Tensor]) -> None:
        """Take on the centres of each class, float `[count, features]`, one or more."""
        assert len(centres) == len(self.centres)
        self.centres.zero_()
        for number, own in enumerate(centres):
            self.centres[number, : len(own)] = own.to(self.centres)
            self.counts[number] = len(own)

    def forward(self, label_input: LabelInput, draws: torch.Tensor) -> torch.Tensor:
        """Planes `[N, features, H, W]`, at each pixel the centre that its instance has drawn.

        `draws` `[N, regions, 1]` are N(0, 1): their place in the distribution says which centre of the class, all being
        equally likely. N label maps, or N times one. Raises `InputError` for another shape.
        """
        regions, maps = label_input.region_count, len(label_input.codes)
        if draws.shape[1:] != (regions, 1) or maps not in (1, len(draws)):
            raise InputError(
                f"styles are of shape {list(draws.shape)}; this generator takes a number for each of {regions} "
                f"regions, [N, {regions}, 1], for {maps} label maps"
            )
        numbers = label_input.regions_at(*label_input.codes.shape[1:])  # counted on from map to map
        classes = torch.zeros(maps * regions, dtype=torch.int64, device=draws.device)
        classes[numbers.flatten().long()] = (label_input.codes.flatten().long() - 1) // 2
        classes = classes.view(maps, regions).expand(len(draws), -1)
        counts = self.counts[classes]  # [N, regions]
        share = torch.special.ndtr(draws[..., 0].double())
        chosen = torch.minimum((share * counts).long(), counts - 1)
        centres = self.centres[classes, chosen]  # [N, regions, features]
        if maps < len(draws):
            first = torch.arange(len(draws), device=draws.device) * regions
            numbers = numbers + first.view(-1, 1, 1)
        return F.embedding(numbers.long(), centres.flatten(0, 1)).permute(0, 3, 1, 2)


def region_numbers(label_input: LabelInput) -> torch.Tensor:
    """The number of each pixel's region, int `[N, H, W]`, in each picture from 0."""
    return (label_input.codes - 1) // 2 if label_input.regions is None else label_input.regions
