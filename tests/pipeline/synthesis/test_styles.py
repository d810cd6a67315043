"""Styles of whole jobs: drawn, given, of records and of regions."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import spadework
from pipeline.checkpoints.file import load_checkpoint, save_generator
from pipeline.data.images import encode_png
from pipeline.runtime.seeding import style_noise
from tests.pipeline.synthesis import cases
from tests.pipeline.synthesis.cases import synthesize


@pytest.mark.parametrize("region", ["class", "instance"])
def test_regions_have_styles_of_their_own(tmp_path, region):
    """As in training, or on demand of weights that had one style for a picture; from Python too."""
    maps = cases.write_maps(tmp_path / "maps.parquet", 2)
    plain = cases.write_checkpoint(tmp_path / "plain", style_dim=4, style_input="everywhere", style_encoder=False)
    checkpoint = load_checkpoint(plain)
    settings = checkpoint.recipe.generator.model_copy(update={"region_styles": region})
    recipe = checkpoint.recipe.model_copy(update={"generator": settings})
    trained = tmp_path / "trained.safetensors"
    save_generator(trained, checkpoint.generator, recipe, step=1)

    def images(weights, name, **options):
        synthesize(maps, weights, tmp_path / name, samples=2, **options)
        return [cases.pixels(row) for row in cases.output_rows(tmp_path / name)]

    asked = images(plain, "asked", region_styles=region)
    assert images(trained, "as trained") == asked
    assert asked[0] != asked[1]
    one = images(plain, "plain")
    assert images(trained, "one", region_styles="none") == one != asked
    described = [json.loads((tmp_path / name / "_job/job.json").read_text())["settings"] for name in ("asked", "plain")]
    assert described[0]["region_styles"] == region and "region_styles" not in described[1]
    made = spadework.load(trained)
    assert made.needs_instances == (region == "instance")
    label = cases.label_map(0)
    picture = made.synthesize(label, label + np.uint8(1), id="map/0")
    assert np.asarray(picture).tobytes() == asked[0]


class TestStyles:
    """Photographs as styles."""

    @pytest.fixture
    def photographs(self, tmp_path):
        from pipeline.data.images import encode_png

        for name, level in (("dark", 30), ("light", 220)):
            noise = np.random.default_rng(level).integers(-20, 20, (40, 40, 3))
            (tmp_path / f"{name}.png").write_bytes(encode_png((level + noise).astype(np.uint8)))
        return tmp_path / "dark.png", tmp_path / "light.png"

    def images(self, folder):
        return [cases.pixels(row) for row in cases.output_rows(folder)]

    def test_a_photograph_gives_its_mean_style(self, maps, styled, photographs, tmp_path):
        synthesize(maps, styled, tmp_path / "dark", style=photographs[0])
        synthesize(maps, styled, tmp_path / "seed", style=photographs[0], seed=5)
        synthesize(maps, styled, tmp_path / "light", style=photographs[1])
        assert self.images(tmp_path / "dark") == self.images(tmp_path / "seed")
        assert all(map(bytes.__ne__, self.images(tmp_path / "dark"), self.images(tmp_path / "light")))

    def test_truncation_spreads_samples_around_it(self, maps, styled, photographs, tmp_path):
        synthesize(maps, styled, tmp_path / "out", style=photographs[0], samples=2, truncation=0.7)
        images = self.images(tmp_path / "out")
        assert images[0] != images[1]

    def test_steps_lead_from_one_style_to_the_other(self, maps, styled, photographs, tmp_path):
        synthesize(maps, styled, tmp_path / "way", style_interpolate=(*photographs, 3))
        for photograph, step in zip(photographs, (0, 2), strict=True):
            synthesize(maps, styled, tmp_path / photograph.stem, style=photograph)
            assert self.images(tmp_path / photograph.stem) == self.images(tmp_path / "way")[step::3]

    def test_rows_bring_their_own_or_anothers_style(self, maps, styled, tmp_path, monkeypatch):
        synthesize(maps, styled, tmp_path / "own", style_column="image")
        synthesize(maps, styled, tmp_path / "other", style_column="image", style_rows="other")
        assert all(map(bytes.__ne__, self.images(tmp_path / "own"), self.images(tmp_path / "other")))
        photograph = tmp_path / "p.png"
        photograph.write_bytes(pq.read_table(maps).to_pylist()[1]["image"]["bytes"])
        synthesize(maps, styled, tmp_path / "one", style=photograph)
        assert self.images(tmp_path / "one")[1] == self.images(tmp_path / "own")[1]
        assert self.images(tmp_path / "one")[0] == self.images(tmp_path / "other")[0]
        photograph.write_bytes(pq.read_table(maps).to_pylist()[0]["image"]["bytes"])
        synthesize(maps, styled, tmp_path / "first", style=photograph)
        assert self.images(tmp_path / "first")[19] == self.images(tmp_path / "other")[19]

    @pytest.mark.parametrize("resample", ["lanczos", "bicubic"])
    def test_photographs_of_another_size_are_shrunk_as_in_training(self, tmp_path, resample):
        from pipeline.synthesis.synthesizer import Synthesizer

        made = load_checkpoint(cases.write_checkpoint(tmp_path, style_dim=4, encoder=True))
        data = made.recipe.data.model_copy(update={"resample": resample})
        recipe = made.recipe.model_copy(update={"data": data})
        save_generator(tmp_path / "x.safetensors", made.generator, recipe, step=0, encoder=made.encoder)
        synthesizer = Synthesizer(tmp_path / "x.safetensors")
        height, width = synthesizer.size
        # Stripes of one pixel, which sampling takes for all white or all black.
        large = np.random.default_rng(0).integers(0, 80, (height * 5, width * 5, 3), np.uint8)
        large[:, ::2] += 150
        filter_ = Image.Resampling[resample.upper()]
        small = np.array(Image.fromarray(large).resize((width, height), filter_))
        found, expected = synthesizer.style_of(encode_png(large)), synthesizer.style_of(encode_png(small))
        assert all(map(torch.equal, found, expected))
        pixels = torch.from_numpy(small).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1
        with torch.inference_mode():
            torch.testing.assert_close(found[0], made.encoder(pixels)[0][0])

    def test_truncation_scales_the_noise(self, styled):
        from pipeline.synthesis.styles import StyleChoice, StyleSource
        from pipeline.synthesis.synthesizer import Synthesizer

        synthesizer = Synthesizer(styled)
        z = StyleSource(StyleChoice(truncation=0.25), synthesizer, seed=1).samples("a", None, 1)[0].z
        torch.testing.assert_close(z, 0.25 * style_noise(1, "a", 0, 4))
