"""A small generator whose pictures are not saturated, and label maps for it."""

from __future__ import annotations

import torch

from pipeline.bench.generators import rescale_untrained
from pipeline.config import GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.generator import Generator
from tests.pipeline.networks.patterns.test_patterns import blobs

SPACE = LabelSpace(classes=tuple("abcde"), dont_care=9, instance_edges=True)


def lively_generator(size: tuple[int, int] = (32, 64), **settings: object) -> Generator:
    """In evaluation mode, with statistics that are neither 0 nor 1, and noise, if any, that shows."""
    torch.manual_seed(0)
    made = Generator(GeneratorSettings(channels=2, hidden=8, **settings), SPACE, height=size[0], width=size[1])
    rescale_untrained(made)
    for name, parameter in made.named_parameters():
        if name.endswith("noise_scale"):
            torch.nn.init.normal_(parameter, 0, 0.5)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return made.eval()


def label_maps(count: int, size: tuple[int, int] = (32, 64)) -> torch.Tensor:
    """Codes int32 `[count, *size]` of a few flat areas and some single pixels."""
    return blobs(count, *size, space=SPACE).int()
