"""How far a change of the label map reaches: everywhere, which is why the painter draws the whole picture each time."""

from __future__ import annotations

import torch

from pipeline.config import GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.generator import Generator

SPACE = LabelSpace(classes=("ground", "wall"))


def test_a_small_change_in_the_middle_reaches_every_pixel_of_256x256() -> None:
    """Five doublings: a cell of the first map is 32 pixels wide, and three layers of 3x3 and the windows of gamma and
    beta reach over all eight of them."""
    torch.manual_seed(0)
    generator = Generator(GeneratorSettings(channels=2, hidden=4), SPACE, height=256, width=256).double().eval()
    codes = torch.ones(2, 256, 256, dtype=torch.int32)
    codes[1, 124:132, 124:132] += 2
    with torch.inference_mode():
        before, after = generator(codes)
    assert (before != after).any(0).all()
