"""A checkout of the public program in the race: here one of ours that has its names, for its own code is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bench.synthesis import Load, bench_synthesize
from pipeline.config import GeneratorSettings
from pipeline.recipe_file import load_recipe
from tests.pipeline.bench.test_runner import RECIPE

CHECKOUT = '''
"""Has the public program's options, and its names of parameters."""
from pipeline.checkpoints.public_names import GENERATOR, from_public
from pipeline.config import GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.generator import Generator

BACK = {ours: public for public, ours in GENERATOR.items()}


class SPADEGenerator:
    def __init__(self, opt):
        assert (opt.norm_G, opt.crop_size, opt.aspect_ratio) == ("spectralspadesyncbatch3x3", 32, 1.0)
        assert not opt.use_vae
        settings = GeneratorSettings(channels=opt.ngf, upsampling=opt.num_upsampling_layers, modulation="dense")
        space = LabelSpace(classes=tuple(map(str, range(opt.semantic_nc))))
        self.ours = Generator(settings, space, height=32, width=32)

    def state_dict(self):
        return from_public(self.ours.state_dict(), BACK)

    def load_state_dict(self, state):
        self.ours.load_state_dict(from_public(state, GENERATOR))

    def to(self, device):
        return self

    def eval(self):
        self.ours.eval()
        return self

    def __call__(self, planes, z=None):
        return self.ours(planes.argmax(1).int() * 2 + 1)
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.replace("hidden: 4", "hidden: 128"))
    return path


def write_checkout(folder: Path) -> Path:
    (folder / "models" / "networks").mkdir(parents=True)
    (folder / "models" / "networks" / "generator.py").write_text(CHECKOUT)
    return folder


def run(recipe: Path, checkout: Path) -> list[str]:
    table = bench_synthesize(
        f"untrained:{recipe}",
        load=Load(maps=1),
        candidates=("pattern-fp32",),
        repeats=1,
        threads=1,
        json_path=None,
        public=checkout,
    )
    return [line for line in table.splitlines() if line.startswith("public-fp32")]


@pytest.mark.slow
def test_it_makes_the_same_pictures(recipe: Path, tmp_path: Path) -> None:
    (row,) = run(recipe, write_checkout(tmp_path / "SPADE"))
    assert "not run" not in row
    assert float(row.split()[5]) < 1e-5  # the largest difference from ours as published


@pytest.mark.slow
def test_what_is_no_checkout_says_so(recipe: Path, tmp_path: Path) -> None:
    (row,) = run(recipe, tmp_path)
    assert "is no checkout of the public SPADE: it has no models/networks/generator.py" in row


@pytest.mark.slow
def test_generators_that_it_does_not_know(recipe: Path, tmp_path: Path) -> None:
    assert load_recipe(recipe).generator.kind == "spade"
    recipe.write_text(RECIPE)
    (row,) = run(recipe, write_checkout(tmp_path / "SPADE"))
    assert "generator.hidden is 4; the public program knows 128 only" in row
    assert GeneratorSettings().hidden == 128
