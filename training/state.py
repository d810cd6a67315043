"""Everything that changes during training, to and from snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pipeline.checkpoints.file import build_encoder, build_generator, save_generator
from pipeline.config import Pix2PixHDSettings, Recipe
from pipeline.config.baselines import REGRESSION_KINDS
from pipeline.networks.baselines.crn import CRN
from pipeline.networks.baselines.feature_encoder import FeatureEncoder
from pipeline.networks.baselines.local_enhancer import LocalEnhancer
from pipeline.networks.baselines.pix2pixhd import GlobalGenerator
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.runtime.json_text import read_json
from training.ema import MovingAverage
from training.instance_centres import InstanceCentres
from training.objectives.objectives import build_discriminator
from training.objectives.perceptual import PerceptualLoss
from training.objectives.perceptual_regression import PerceptualRegression
from training.objectives.trunk import Trunk
from training.pix2pixhd_step import Pix2PixHDStep, stage_at
from training.regression import AllPictures, Mended, RegressionStep
from training.run_folder import RunFolder, damaged_snapshot, restore_optimiser, snapshot_optimiser
from training.step import GanStep, Synthesis
from training.worker import Worker


class TrainingState:
    """Everything that changes during training. There is no random state: all draws are functions of the step."""

    def __init__(
        self,
        recipe: Recipe,
        worker: Worker,
        perceptual: PerceptualLoss | PerceptualRegression | None,
        trunk: Trunk | None = None,
    ) -> None:
        """`perceptual`: a regression for a generator that learns by nothing else. `trunk` for a discriminator with a
        frozen encoder; `InputError` where it is needed, or does not fit."""
        self.recipe = recipe
        self.worker = worker
        torch.manual_seed(recipe.training.seed)
        generator = build_generator(recipe)
        self.step: GanStep | RegressionStep
        if isinstance(generator, CRN | SIMSSynthesis):
            assert isinstance(perceptual, PerceptualRegression)
            synthesis: Synthesis = AllPictures(generator) if isinstance(generator, CRN) else Mended(generator)
            synthesis = synthesis.to(worker.device)
            self.step = RegressionStep(
                worker.wrap(synthesis),
                loss=perceptual,
                settings=recipe.training,
                classes=recipe.losses.classes,
                balance_at=recipe.losses.balance_at,
                mean=worker.mean,
            )
        else:
            assert not isinstance(perceptual, PerceptualRegression)
            own = recipe.generator if isinstance(recipe.generator, Pix2PixHDSettings) else None
            features = FeatureEncoder(own) if own and own.features else None
            synthesis = Synthesis(generator, build_encoder(recipe), features).to(worker.device)
            networks = (
                worker.wrap(synthesis, in_parts=own is not None and own.stage_halvings > 0),
                worker.wrap(build_discriminator(recipe, trunk).to(worker.device)),
            )
            options: dict[str, Any] = {
                "weights": recipe.losses,
                "settings": recipe.training,
                "augment": recipe.discriminator.augment,
                "perceptual": perceptual,
                "workers": worker.count,
            }
            size = recipe.data.height, recipe.data.width
            self.step = (
                Pix2PixHDStep(*networks, generator=own, size=size, **options) if own else GanStep(*networks, **options)
            )
        self.average = MovingAverage(synthesis, recipe.training.ema_decay)
        self.skipped = 0
        """How many batches the data are ahead of the steps, because they were skipped when rolling back."""
        self.learned_by = _learned_by(recipe, perceptual, trunk)
        """Which frozen networks the generator learns by: hashes by what they are for."""
        self.failures: list[str] = []
        """Why the run was rolled back, each time."""
        self._networks: dict[str, nn.Module] = {
            "synthesis.": synthesis,
            "average.": self.average.network,
            **{f"{name}.": network for name, network in self.step.networks.items()},
        }
        prefixes = {"generator": "optimiser.", "discriminator": "discriminator_optimiser."}
        self._optimisers = {prefixes[name]: optimiser for name, optimiser in self.step.optimisers.items()}

    def find_styles(self, centres: InstanceCentres) -> None:
        """Give the averaged generator of pix2pixHD the centres that its averaged encoder finds."""
        average = self.average.network
        assert average.features is not None and isinstance(average.generator, GlobalGenerator | LocalEnhancer)
        assert average.generator.styles is not None
        average.generator.styles.set(centres.find(average.features))

    def set_rates(self, step: int) -> None:
        """Both learning rates for a step, counted from 0: constant, then linearly to 0 at the end (Sec. 4).

        And how samples are drawn after it, where local enhancers come later.
        """
        own, drawn = self.recipe.generator, self.average.network.generator
        if isinstance(own, Pix2PixHDSettings) and isinstance(drawn, LocalEnhancer):
            drawn.stage = stage_at(own, step)
        settings = self.recipe.training
        left = settings.steps - step
        for optimiser in self._optimisers.values():
            optimiser.set_rate(min(1.0, left / settings.decay_steps) if settings.decay_steps else 1.0)

    def save(self, folder: RunFolder, step: int) -> None:
        """Write a snapshot, and publish the averaged weights."""
        tensors: dict[str, Tensor] = {}
        for prefix, network in self._networks.items():
            tensors |= {prefix + key: value for key, value in network.state_dict().items()}
        for prefix, optimiser in self._optimisers.items():
            tensors |= snapshot_optimiser(optimiser.adam, prefix)
        values = {
            "scalers": {prefix: optimiser.scaler.state_dict() for prefix, optimiser in self._optimisers.items()},
            "skipped": self.skipped,
            "failures": self.failures,
        }
        folder.save_snapshot(step, tensors, values, keep=self.recipe.training.keep_checkpoints)
        self.publish(folder.weights, step)

    def publish(self, path: Path, step: int) -> None:
        """Write the averaged weights, which is all that `synthesize` needs."""
        average = self.average.network
        balance = self.step.balance if isinstance(self.step, RegressionStep) else None
        save_generator(
            path,
            average.generator,
            self.recipe,
            step=step,
            encoder=average.encoder,
            learned_by=self.learned_by,
            regression=balance.weights_at(step) if balance else None,
        )

    def is_published(self, path: Path, step: int) -> bool:
        """Whether a file holds just these averaged weights of a step; a missing or damaged one does not."""
        expected: dict[str, Tensor] = {}
        average = self.average.network
        for prefix, network in (("generator.", average.generator), ("encoder.", average.encoder)):
            if network is not None:
                expected |= {prefix + key: value for key, value in network.state_dict().items()}
        try:
            with safe_open(path, framework="pt") as file:
                fields = read_json((file.metadata() or {})["spadework"])
                return (
                    fields["step"] == step
                    and set(file.keys()) == set(expected)
                    and all(torch.equal(file.get_tensor(key), value.cpu()) for key, value in expected.items())
                )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return False

    def resume(self, folder: RunFolder) -> int:
        """Load the newest snapshot; returns the steps that it has seen, 0 where there is none.

        Raises `InputError` where something of it is missing or does not fit.
        """
        snapshot = folder.load_snapshot()
        if snapshot is None:
            return 0
        path, tensors, values = snapshot
        try:
            for prefix, network in self._networks.items():
                network.load_state_dict(
                    {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
                )
            for prefix, optimiser in self._optimisers.items():
                restore_optimiser(optimiser.adam, prefix, tensors)
                optimiser.scaler.load_state_dict(values["scalers"][prefix])
            self.skipped, self.failures = int(values["skipped"]), list(values["failures"])
            return int(values["step"])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise damaged_snapshot(path, error) from None

    def roll_back(self, folder: RunFolder, step: int, failure: str) -> int:
        """Return to the newest snapshot after `failure` at a step; returns the steps that it has seen.

        All draws are functions of the step, so the same batches would fail in the same way: those since the snapshot
        are skipped (as Chowdhery et al. 2022 do, Sec. 5.1).
        """
        batches, failures = step + self.skipped, [*self.failures, failure]
        found = self.resume(folder)
        self.skipped, self.failures = batches - found, failures
        return found


def _learned_by(
    recipe: Recipe, perceptual: PerceptualLoss | PerceptualRegression | None, trunk: Trunk | None
) -> dict[str, str]:
    found = {}
    regresses = recipe.generator.kind in REGRESSION_KINDS
    if perceptual is not None and (recipe.losses.perceptual or regresses):
        found["perceptual network"] = perceptual.trunk.sha256
    if trunk is not None and not regresses and recipe.discriminator.kind == "projected":
        found["discriminator's encoder"] = trunk.sha256
    return {name: sha256 for name, sha256 in found.items() if sha256 is not None}
