"""A checkout of the public program in the race of training steps: one of ours that has its names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.bench.synthesis import Load
from pipeline.config import Recipe
from pipeline.errors import InputError
from pipeline.recipe_file import load_recipe
from tests.pipeline.bench.test_runner import RECIPE
from training.bench import bench_train
from training.bench_public import public_training_options

CHECKOUT = '''
"""Has the public program's options, its names of parameters, and its two halves of a step."""
import torch
from torch import nn
from pipeline.checkpoints.public_names import GENERATOR, discriminator_from_public, from_public
from pipeline.config import DiscriminatorSettings, GeneratorSettings
from pipeline.labels import LabelSpace
from pipeline.networks.generator import Generator
from tests.golden.names import ours_to_public, to_public
from training.objectives.losses import FAKE, REAL, WANTED, feature_matching, score_loss
from training.objectives.patch_discriminator import Discriminator


class Renamed(nn.Module):
    def __init__(self, ours, there, back):
        super().__init__()
        self.ours, self.there, self.back = ours, there, back

    def state_dict(self):
        return self.there(self.ours.state_dict())

    def load_state_dict(self, state):
        self.ours.load_state_dict(self.back(state))


class Model:
    def __init__(self, opt):
        assert (opt.norm_G, opt.norm_D, opt.gan_mode) == ("spectralspadesyncbatch3x3", "spectralinstance", "hinge")
        space = LabelSpace(classes=tuple(map(str, range(opt.label_nc))), instance_edges=not opt.no_instance)
        generator = GeneratorSettings(channels=opt.ngf, upsampling=opt.num_upsampling_layers, modulation="dense")
        judge = DiscriminatorSettings(channels=opt.ndf, layers=opt.n_layers_D, scales=opt.num_D)
        size = {"height": round(opt.crop_size / opt.aspect_ratio), "width": opt.crop_size}
        self.netG = Renamed(
            Generator(generator, space, **size), lambda s: to_public(s, GENERATOR), lambda s: from_public(s, GENERATOR)
        )
        self.netD = Renamed(Discriminator(judge, space), ours_to_public, discriminator_from_public)


class Pix2PixTrainer:
    def __init__(self, opt):
        print("networks are printed")
        self.opt, self.pix2pix_model_on_one_gpu = opt, Model(opt)
        model, betas = self.pix2pix_model_on_one_gpu, (opt.beta1, opt.beta2)
        self.adam = torch.optim.Adam(model.netG.parameters(), lr=opt.lr / 2, betas=betas)
        self.judge_adam = torch.optim.Adam(model.netD.parameters(), lr=opt.lr * 2, betas=betas)
        self.losses = {}

    def parts(self, data, generates):
        model = self.pix2pix_model_on_one_gpu
        edges = 0 if self.opt.no_instance else model.get_edges(data["instance"]).int()
        codes = (data["label"] * 2 + 1 + edges)[:, 0].int()
        judge = model.netD.ours
        with torch.set_grad_enabled(generates):
            fake = model.netG.ours(codes)
        scored = judge(judge.planes(codes), torch.cat([fake, data["image"]]))
        half = len(fake)
        return [[x[:half] for x in s] for s in scored], [[x[half:] for x in s] for s in scored]

    def run_generator_one_step(self, data):
        self.adam.zero_grad()
        of_fake, of_real = self.parts(data, generates=True)
        gan = score_loss(of_fake, WANTED["hinge"])
        matching = self.opt.lambda_feat * feature_matching(of_fake, of_real)
        (gan + matching).backward()
        self.adam.step()
        self.losses |= {"GAN": gan, "GAN_Feat": matching}

    def run_discriminator_one_step(self, data):
        self.judge_adam.zero_grad()
        of_fake, of_real = self.parts(data, generates=False)
        fake, real = score_loss(of_fake, FAKE["hinge"]), score_loss(of_real, REAL["hinge"])
        (fake + real).backward()
        self.judge_adam.step()
        self.losses |= {"D_Fake": fake, "D_real": real}

    def get_latest_losses(self):
        return self.losses
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.replace("hidden: 4", "hidden: 128"))
    return load_recipe(path)


def run(recipe: Recipe, checkout: Path, tmp_path: Path) -> dict[str, Any]:
    figures = tmp_path / "figures.json"
    bench_train(
        recipe,
        load=Load(maps=2),
        candidates=("dense-fp32",),
        repeats=1,
        threads=1,
        json_path=figures,
        public=checkout,
    )
    ours, public = json.loads(figures.read_text())["results"]
    assert (ours["name"], public["name"]) == ("dense-fp32", "public-fp32")
    return public


@pytest.mark.slow
def test_its_steps_begin_from_our_weights(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "SPADE" / "trainers").mkdir(parents=True)
    (tmp_path / "SPADE" / "trainers" / "pix2pix_trainer.py").write_text(CHECKOUT)
    public = run(recipe, tmp_path / "SPADE", tmp_path)
    assert not public["reason"]
    assert public["difference"] < 1e-4  # of losses, after a step


@pytest.mark.slow
def test_what_is_no_checkout_says_so(recipe: Recipe, tmp_path: Path) -> None:
    assert "it has no trainers/pix2pix_trainer.py" in run(recipe, tmp_path, tmp_path)["reason"]


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("discriminator", "detail", True), ("losses", "lecam", 0.1), ("training", "accumulate", 2)],
)
def test_trainings_that_it_does_not_know(recipe: Recipe, part: str, field: str, value: Any) -> None:
    changed = recipe.model_copy(update={part: getattr(recipe, part).model_copy(update={field: value})})
    with pytest.raises(InputError, match=re.escape(f"{part}.{field} is {value}; the public program knows")):
        public_training_options(changed, torch.device("cpu"))
