"""Detail judged beside classes: the two parts are the networks by themselves, and the losses are theirs, added."""

from __future__ import annotations

import torch

from pipeline.config import DiscriminatorSettings, LossSettings
from pipeline.labels import LabelSpace
from training.objectives import losses
from training.objectives.detail_discriminator import DetailDiscriminator
from training.objectives.objectives import build_objectives
from training.objectives.patch_discriminator import finest_detail
from training.objectives.segmentation_discriminator import SegmentationDiscriminator

SPACE = LabelSpace(classes=("a", "b", "c"), dont_care=255, instance_edges=True)
SETTINGS = DiscriminatorSettings(kind="segmentation", channels=4, layers=2, detail=True)


def discriminator() -> DetailDiscriminator:
    torch.manual_seed(0)
    return DetailDiscriminator(SegmentationDiscriminator(SETTINGS, SPACE), SETTINGS).eval()


def codes() -> torch.Tensor:
    """Two label maps of blocks of 8x8 pixels."""
    blocks = torch.randint(1, SPACE.codes, (2, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    return blocks.repeat_interleave(8, 1).repeat_interleave(8, 2).contiguous()


def test_classes_are_named_from_the_picture_and_patches_scored_from_its_detail() -> None:
    both = discriminator()
    pictures = torch.rand(4, 3, 32, 32) * 2 - 1
    planes = both.planes(codes())
    logits, scores = both(pictures, planes)
    assert both.score_maps == 2
    torch.testing.assert_close(logits, both.whole(pictures), rtol=0, atol=0)
    torch.testing.assert_close(scores, both.detail(planes, finest_detail(pictures), dense=True)[-1])
    smooth, _ = torch.broadcast_tensors(torch.linspace(-1, 1, 4).view(4, 1, 1, 1), pictures)
    flat = both(smooth, planes)[1]
    assert torch.equal(flat[0], flat[2]) and not torch.equal(flat[0], scores[0])  # of brightness it sees nothing


def test_its_losses_are_those_of_classes_alone_and_a_hinge_on_the_detail() -> None:
    both = discriminator()
    weights = LossSettings(feature_matching=0, label_mix=3)
    fake, real = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    seeds = torch.arange(2)
    (alone,) = build_objectives(both.whole, [codes()], [seeds], weights)
    (together,) = build_objectives(both, [codes()], [seeds], weights)

    terms = together.generator_terms(both, fake, real)
    scores = both(fake, both.planes(codes()))[1]
    detail = terms.pop("generator/detail")
    torch.testing.assert_close(detail, -scores.mean())
    torch.testing.assert_close(terms, alone.generator_terms(both.whole, fake, real))

    terms, seen = together.discriminator_terms(both, fake, real)
    of_real = both(real, both.planes(codes()))[1]
    torch.testing.assert_close(terms.pop("discriminator/detail_fake"), torch.relu(1 + scores).mean())
    torch.testing.assert_close(terms.pop("discriminator/detail_real"), torch.relu(1 - of_real).mean())
    expected, seen_alone = alone.discriminator_terms(both.whole, fake, real)
    torch.testing.assert_close(terms, expected)
    torch.testing.assert_close(seen.fake, [*seen_alone.fake, scores])
    torch.testing.assert_close(seen.real, [*seen_alone.real, of_real])
    assert losses.FAKE[weights.gan] == losses.FAKE["hinge"]
