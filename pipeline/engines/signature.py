"""What a compiled generator takes: a fixed list of tensors, made from label codes and styles.

The discovery of distinct windows is no arithmetic and stays outside the engine. Its tables differ in length from one
label map to the next; those dimensions alone are dynamic, from 2 rows (`torch.export` makes special cases of 0 and 1)
to one for every pixel, so that no label map is beyond an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F

from pipeline.config import AnyGeneratorSettings
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.networks.generator import layer_sizes
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import draw_noise

Form = Literal["pattern", "dense"]
"""How gamma and beta are computed: once for each distinct window of the label map, or at every pixel."""

SHORTEST_TABLE = 2


@dataclass(frozen=True)
class Input:
    """One tensor that an engine takes."""

    name: str
    shape: tuple[int, ...]
    """Of a table, the largest: a row for every pixel."""
    dtype: torch.dtype
    is_table: bool = False
    """Whether the first dimension is the length of a table, from `SHORTEST_TABLE` to that in `shape`."""

    @property
    def varies(self) -> bool:
        """Whether the tensor's shape does: tables of the smallest maps are all of the shortest length."""
        return self.is_table and self.shape[0] > SHORTEST_TABLE


@dataclass(frozen=True)
class Signature:
    """The inputs of a generator in one form, for a fixed batch and size. Pictures are float32 `[batch, 3, H, W]`."""

    settings: AnyGeneratorSettings
    space: LabelSpace
    size: tuple[int, int]
    """(height, width) of the pictures."""
    batch: int
    form: Form

    @cached_property
    def resolutions(self) -> list[tuple[int, int]]:
        """(height, width) of the feature maps of SPADE's generator, from the first one to the picture; of other kinds,
        whose graphs take whole label maps, only that."""
        height, width = self.size
        doublings = self.settings.doublings if self.settings.kind == "spade" else 0
        return [(height >> halvings, width >> halvings) for halvings in range(doublings, -1, -1)]

    @property
    def takes_codes(self) -> bool:
        """Whether the first feature map, or everything, is made of the label map and not of the style alone."""
        return self.form == "dense" or not self.settings.style_dim or bool(self.settings.style_channels)

    @property
    def style_shape(self) -> tuple[int, ...]:
        """Of z for one picture: a style for each class where styles enter everywhere, be they all the same."""
        dim = self.settings.style_dim
        return (self.space.class_channels, dim) if self.settings.style_channels else (dim,)

    @property
    def planes_of_features(self) -> int:
        """Of pix2pixHD's generator, planes that are drawn for each region before the engine gets them, in the place of
        z; 0: none."""
        return self.settings.features if self.settings.kind == "pix2pixhd" else 0

    @cached_property
    def noise_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the noise for each SPADE layer, whose pixels follow one another in the input `noise`."""
        return layer_sizes(self.settings, self.size) if self.settings.kind == "spade" and self.settings.noise else []

    @cached_property
    def inputs(self) -> list[Input]:
        """In the order in which the engine takes them."""
        found = []
        if self.form == "pattern":
            assert self.settings.kind == "spade"
            for height, width in self.resolutions:
                table = (max(SHORTEST_TABLE, self.batch * height * width), self.settings.kernel_size**2)
                found += [
                    Input(f"hidden_windows_{height}", table, torch.int32, is_table=True),
                    Input(f"windows_{height}", table, torch.int32, is_table=True),
                    Input(f"rows_{height}", (self.batch, height, width), torch.int32),
                ]
        if self.takes_codes:
            size = self.size if self.form == "dense" else self.resolutions[0]
            found.append(Input("codes", (self.batch, *size), torch.int32))
        if self.planes_of_features:
            found.append(Input("features", (self.batch, self.planes_of_features, *self.size), torch.float32))
        elif self.settings.style_dim:
            found.append(Input("z", (self.batch, *self.style_shape), torch.float32))
        if self.settings.kind == "sims":
            found.append(Input("canvas", (self.batch, 4, *self.size), torch.float32))
        if self.settings.noise:
            pixels = sum(height * width for height, width in self.noise_sizes)
            found.append(Input("noise", (self.batch, pixels), torch.float32))
        elif self.settings.takes_seeds:  # of several pictures, which one
            found.append(Input("picture", (self.batch,), torch.int32))
        return found

    def label_input(self, codes: torch.Tensor) -> LabelInput:
        """Label codes `[N, H, W]`, of regions if they have styles, in the form that `tensors` wants.

        Raises `InputError` for codes of another type or size, and for those of classes that the generator has not.
        """
        if codes.dtype != torch.int32 or codes.dim() != 3:
            raise InputError(
                f"label codes are {codes.dtype} of shape {list(codes.shape)}; the engine takes int32 [N, H, W]"
            )
        if tuple(codes.shape[1:]) != self.size:
            raise InputError(
                f"label map is {codes.shape[2]}x{codes.shape[1]}, and the engine is for {self.size[1]}x{self.size[0]}; "
                "compile another with --size, or resize the label map"
            )
        made = LabelInput.of_recipe(
            codes, self.space, self.settings.region_styles, self.form, len(self.resolutions) - 1
        )
        low, high = (int(value) for value in torch.aminmax(made.codes))
        if low < 1 or high >= self.space.codes:
            raise InputError(
                f"label map has the code {low if low < 1 else high}, but the engine's {self.space.class_channels} "
                f"classes have the codes 1 to {self.space.codes - 1}"
            )
        return made

    def batch_input(self, label_input: LabelInput, z: torch.Tensor | None, images: Sequence[int]) -> LabelInput:
        """The label maps for a batch, as `table_lengths` and `tensors` want them.

        Where styles enter everywhere, windows are told apart by image too, so that they are found for the batch; else
        those of each label map, found before, will do.
        """
        if not self.settings.style_channels or z is None:
            return label_input
        if len(label_input.codes) > 1:
            chosen = torch.tensor(images, device=label_input.codes.device)
            label_input = self.label_input(label_input.codes.index_select(0, chosen))
        return label_input.with_styles(z.index_select(0, torch.tensor(images, device=z.device)))

    def table_lengths(self, label_input: LabelInput) -> list[int]:
        """How long each table is for these label maps, in the order of `inputs`."""
        if self.form == "dense":
            return []
        assert self.settings.kind == "spade"
        patterns = (label_input.patterns_at(*size, self.settings.kernel_size) for size in self.resolutions)
        return [len(table) for found in patterns if found for table in (found.hidden_windows, found.windows)]

    def tensors(
        self,
        label_input: LabelInput,
        z: torch.Tensor | None,
        images: Sequence[int],
        lengths: Sequence[int] | None = None,
        *,
        seeds: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        """The inputs for a batch: image `i` of it is that of label map (unless there is only one), style and seed `i`.

        `label_input` is what `batch_input` made for them. `z` of a generator with features are these, float32
        `[N, features, H, W]`. Tables are filled up to `lengths` with rows that no pixel
        shows. Types and shapes are as `inputs` has them.
        """
        assert len(images) == self.batch
        maps = list(images) if len(label_input.codes) > 1 else [0] * self.batch
        if label_input.styles is not None:  # made for this batch
            maps = list(range(self.batch))
        chosen = torch.tensor(maps, device=label_input.codes.device)
        found = []
        if self.form == "pattern":
            assert self.settings.kind == "spade"
            taps = self.settings.kernel_size**2
            tables = iter(lengths or self.table_lengths(label_input))
            for size in self.resolutions:
                patterns = label_input.patterns_at(*size, self.settings.kernel_size)
                assert patterns is not None
                rows = 1 + 2 * self.space.class_channels * (1 if label_input.styles is None else self.batch)
                found.append(_filled(patterns.code_index(taps * rows), next(tables)))
                found.append(_filled(patterns.window_index, next(tables)))
                found.append(patterns.rows.index_select(0, chosen))
        if self.takes_codes:
            size = self.size if self.form == "dense" else self.resolutions[0]
            found.append(label_input.codes_at(*size).index_select(0, chosen))
        if self.settings.kind == "sims":
            assert label_input.canvas is not None
            found.append(label_input.canvas.index_select(0, chosen))
        if z is not None:
            z = z.index_select(0, torch.tensor(images, device=z.device))
            if self.settings.style_channels and z.dim() == 2:
                z = z.unsqueeze(1).expand(-1, *self.style_shape).contiguous()
            found.append(z)
        if seeds is not None:
            seeds = seeds.index_select(0, torch.tensor(images, device=seeds.device))
            if self.settings.kind == "crn":
                found.append((seeds % self.settings.pictures).int())
            else:
                found.append(draw_noise(seeds, self.noise_sizes))
        return found


def _filled(table: torch.Tensor, length: int) -> torch.Tensor:
    return F.pad(table, (0, 0, 0, max(length, SHORTEST_TABLE) - len(table)))
