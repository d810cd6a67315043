"""CRN's losses against the public implementation's numbers, and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.golden.baselines import Golden, cases, golden_vgg, planar
from training.objectives.perceptual_regression import (
    CITYSCAPES_256,
    CITYSCAPES_512,
    GTA_256,
    PerceptualRegression,
    vgg_regression,
)
from training.objectives.trunk import Trunk


def picture(golden: Golden, name: str) -> torch.Tensor:
    """In [-1, 1]."""
    return planar(golden[name]) / 127.5 - 1


@pytest.mark.slow
@pytest.mark.parametrize("path", cases(["crn/loss_simple"]))
def test_simple_loss(path: Path) -> None:
    golden = Golden(path)
    loss = vgg_regression(golden_vgg(golden.config["weight_seed"]), CITYSCAPES_512)
    fake, real = picture(golden, "fake").requires_grad_(), picture(golden, "real")
    terms = loss.distances(fake, real) * torch.tensor(CITYSCAPES_512)
    expected = torch.cat([golden[f"loss/p{index}"] for index in range(6)])
    torch.testing.assert_close(terms, expected, rtol=1e-5, atol=0)
    value = loss(fake, real)
    torch.testing.assert_close(value, golden["loss/G_loss"][0], rtol=1e-5, atol=0)
    value.backward()
    gradient, wanted = fake.grad / 127.5, planar(golden["gradient"])
    assert (gradient - wanted).norm() <= 7e-4 * wanted.norm()


@pytest.mark.slow
@pytest.mark.parametrize("path", cases(["crn/loss_diversity", "crn/loss_diversity_gta"]))
def test_diversity_loss(path: Path) -> None:
    golden = Golden(path)
    weights = GTA_256 if "gta" in path.name else CITYSCAPES_256
    loss = vgg_regression(golden_vgg(golden.config["weight_seed"]), weights)
    fakes, real = picture(golden, "fake").unsqueeze(0).requires_grad_(), picture(golden, "real")
    planes = F.one_hot(golden["label_ids"].long(), 20).permute(2, 0, 1).float().unsqueeze(0)
    of_classes = loss.class_distances(fakes, real, planes)
    torch.testing.assert_close(of_classes[0], golden["loss/content_loss"], rtol=1e-4, atol=1e-5)
    value = loss.diverse(fakes, real, planes)
    torch.testing.assert_close(value, golden["loss/G_loss"][0], rtol=1e-5, atol=0)
    value.backward()
    gradient, wanted = fakes.grad[0] / 127.5, planar(golden["gradient"])
    assert (gradient - wanted).norm() <= 7e-4 * wanted.norm()


def test_each_class_picks_its_own_picture() -> None:
    """Two label maps, one class left and another right; one fake is right on the left half, the other on the right."""
    loss = PerceptualRegression(Trunk([nn.Identity()], mean=[0.5] * 3, std=[0.5] * 3), [1.0, 2.0])
    real = torch.zeros(2, 3, 2, 4)
    fakes = torch.zeros(2, 2, 3, 2, 4)
    fakes[:, 0, ..., 2:] = 0.5
    fakes[:, 1, ..., :2] = 0.25
    planes = torch.zeros(2, 2, 2, 4)
    planes[:, 0, :, :2] = 1
    planes[:, 1, :, 2:] = 1
    of_classes = loss.class_distances(fakes, real, planes)
    # Half of the pixels are of each class, and the weights add up to 3.
    assert of_classes.tolist() == [[[0.0, 0.75], [0.375, 0.0]]] * 2
    expected = 0.001 * (0.75 / 2 + 0.375 / 2)
    torch.testing.assert_close(loss.diverse(fakes, real, planes), torch.tensor(expected))
    torch.testing.assert_close(loss(fakes[:, 0], real), torch.tensor(0.75))
