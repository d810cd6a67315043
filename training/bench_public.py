"""A training step of the public SPADE program itself, where the user has a checkout of it; nothing of it is ours."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.bench.public import copy_weights, importable, public_generator_options, refuse_other_settings
from pipeline.checkpoints.file import build_encoder, build_generator
from pipeline.checkpoints.public_names import ENCODER, GENERATOR, discriminator_from_public, from_public
from pipeline.config import Recipe
from pipeline.config.generators import only_spade
from pipeline.recipe_file import parse_recipe
from training.objectives.objectives import build_discriminator

LOSSES = ("GAN", "GAN_Feat", "D_Fake", "D_real")
"""Its names of those by which candidates are compared, in the same order."""


class PublicSteps:
    """Training steps of a checkout, as it is, in float32, from our weights; without the perceptual term.

    Where the recipe has styles it draws other noise for them than ours, so that losses differ by chance too.
    """

    def __init__(
        self, recipe: dict[str, Any], codes: np.ndarray, pictures: Tensor, device: str, threads: int, checkout: Path
    ) -> None:
        """`codes` are int32 `[maps, height, width]`, `pictures` float32 `[maps, 3, height, width]`.

        Raises `InputError` where the folder is no checkout, or the recipe's training is none of the public program's,
        and `ImportError` where the checkout lacks something that it imports.
        """
        settings = parse_recipe(recipe, source="bench")
        options = public_training_options(settings, torch.device(device))
        torch.set_num_threads(threads)
        with importable(checkout, "trainers/pix2pix_trainer.py"), contextlib.redirect_stdout(io.StringIO()):
            from trainers.pix2pix_trainer import Pix2PixTrainer

            self.trainer = Pix2PixTrainer(options)
        model = self.trainer.pix2pix_model_on_one_gpu
        torch.manual_seed(0)  # as `Steps` does, in the same order
        generator, encoder = build_generator(settings), build_encoder(settings)
        discriminator = build_discriminator(settings)
        copy_weights(generator, model.netG, lambda state: from_public(state, GENERATOR))
        if encoder is not None:
            copy_weights(encoder, model.netE, lambda state: from_public(state, ENCODER))
        copy_weights(discriminator, model.netD, discriminator_from_public)
        found = torch.from_numpy(codes).long().unsqueeze(1)
        self.classes, self.edges, self.pictures = (found - 1) // 2, 1 - found % 2, pictures
        # Our label maps have edges and no instances any more; the public program would find the same edges.
        model.get_edges = lambda edges: edges.float()

    def repeat(self) -> np.ndarray:
        """One step; what is compared are its losses, float64 `[terms]`."""
        data = {"label": self.classes, "instance": self.edges, "image": self.pictures}
        self.trainer.run_generator_one_step(data)
        self.trainer.run_discriminator_one_step(data)
        found = self.trainer.get_latest_losses()
        return np.asarray([found[name].item() for name in LOSSES if name in found])


def public_training_options(recipe: Recipe, device: torch.device) -> Any:
    """The public program's options for the recipe; `InputError` where it cannot train so."""
    judge, losses, training = recipe.discriminator, recipe.losses, recipe.training
    settings: tuple[tuple[str, Any, Any], ...] = (
        ("discriminator.kind", judge.kind, "patchgan"),
        ("discriminator.spectral", judge.spectral, True),
        ("discriminator.downsampling", judge.downsampling, "stride"),
        ("discriminator.detail", judge.detail, False),
        ("discriminator.augment", list(judge.augment), []),
        ("losses.pixel", losses.pixel, 0),
        ("losses.lecam", losses.lecam, 0),
        ("losses.r1", losses.r1, 0),
        ("training.accumulate", training.accumulate, 1),
        ("training.reuse_fake", training.reuse_fake, False),
    )
    refuse_other_settings(settings)
    space, data = recipe.labels, recipe.data
    options = public_generator_options(
        only_spade(recipe.generator, "benchmarks are"), space, (data.height, data.width), device
    )
    return SimpleNamespace(
        **vars(options),
        isTrain=True,
        continue_train=False,
        netG="spade",
        netD="multiscale",
        netD_subarch="n_layer",
        num_D=judge.scales,
        n_layers_D=judge.layers,
        ndf=judge.channels,
        norm_D="spectralinstance",
        norm_E="spectralinstance",
        init_type="xavier",
        init_variance=0.02,
        label_nc=len(space.classes),
        contain_dontcare_label=space.dont_care is not None,
        no_instance=not space.instance_edges,
        output_nc=3,
        gan_mode={"hinge": "hinge", "least_squares": "ls", "original": "original", "wasserstein": "w"}[losses.gan],
        no_ganFeat_loss=not losses.feature_matching,
        lambda_feat=losses.feature_matching,
        no_vgg_loss=True,
        lambda_kld=losses.kl,
        no_TTUR=not training.two_time_scale,
        lr=training.learning_rate,
        beta1=0.0 if training.two_time_scale else 0.5,
        beta2=0.9 if training.two_time_scale else 0.999,
    )
