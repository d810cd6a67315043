"""The generator and the segmenter that come with spadework: unwoven landscapes, as a segmenter finds too."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.metrics.texture import DIRECTIONS, PERIODS, TextureStatistics
from evaluation.segmenters import load_segmenter
from pipeline.checkpoints.file import LANDSCAPE, load_checkpoint
from pipeline.datasets.landscape.dataset import draw_scene
from pipeline.labels import encode
from pipeline.runtime.seeding import style_noise


@torch.inference_mode()
def test_the_segmenter_finds_the_classes_in_photographs_and_in_synthesized_pictures() -> None:
    assert LANDSCAPE.stat().st_size < 10e6
    checkpoint = load_checkpoint(LANDSCAPE)
    segmenter = load_segmenter("deeplab", LANDSCAPE.with_name("landscape-segmenter.safetensors"))
    right: dict[str, list[float]] = {"real": [], "synthesized": [], "shuffled": []}
    scenes = [draw_scene(9, index, 128, 128).record for index in range(6)]
    pictures = []
    for scene in scenes:
        codes = torch.from_numpy(encode(scene.label, scene.instance, checkpoint.recipe.labels))[None]
        z = style_noise(0, scene.id, 0, checkpoint.recipe.generator.style_dim)[None]
        pictures.append((checkpoint.generator(codes, z, torch.tensor([1])) + 1) * 127.5)
    for index, scene in enumerate(scenes):
        assert scene.image is not None
        real = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float()
        for name, picture in (
            ("real", real), ("synthesized", pictures[index]), ("shuffled", pictures[index - 1])
        ):  # fmt: skip
            scores = F.interpolate(segmenter(picture).scores, scene.label.shape, mode="bilinear")
            found = scores.argmax(1)[0].numpy()
            right[name].append(float(np.mean(found == scene.label)))
    real, synthesized, shuffled = (float(np.mean(right[name])) for name in ("real", "synthesized", "shuffled"))
    assert real > 0.7
    assert synthesized > 0.65
    assert shuffled < synthesized - 0.15  # it is the label map that the pictures follow


@torch.inference_mode()
def test_no_lattice_is_woven_into_sky_and_grass_and_skies_have_grain() -> None:
    """The first weights had lattice scores of 60 and more in the sky."""
    checkpoint = load_checkpoint(LANDSCAPE)
    space = checkpoint.recipe.labels
    woven = TextureStatistics(len(space.classes))
    for index in range(6):
        scene = draw_scene(9, index, 128, 128).record
        codes = torch.from_numpy(encode(scene.label, scene.instance, space))[None]
        z = style_noise(0, scene.id, 0, checkpoint.recipe.generator.style_dim)[None]
        picture = ((checkpoint.generator(codes, z, torch.tensor([1])) + 1) * 127.5).round().byte()
        woven.update(picture[0].permute(1, 2, 0).numpy(), scene.label)
    axes = woven.lattice()[:, PERIODS.index(4), DIRECTIONS.index("axes")]
    assert axes[space.classes.index("sky")] < 5
    assert axes[space.classes.index("grass")] < 5
    finest = woven.power()[:, PERIODS.index(2)]
    assert finest[space.classes.index("sky")] > 1  # grain; without the discriminator for detail there was a tenth of it
