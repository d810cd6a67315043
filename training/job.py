"""What a training is, told once: every function and every worker on the way gets this."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Recipe
from pipeline.data.storage import absolute
from training.run_folder import RunFolder

if TYPE_CHECKING:
    from training.samples import Validate


@dataclass(frozen=True)
class TrainingJob:
    """A recipe, where it is trained, and what the recipe leaves open; pickles, for workers on other machines."""

    recipe: Recipe
    path: Path
    """The run's folder."""
    base: Path = field(default_factory=Path.cwd)
    """Where the recipe's relative paths start."""
    decoders: int = 0
    """Ray Data actors that make the batches of each worker; 0: threads of its own."""
    vgg_weights: Path | None = None
    """Of the perceptual loss; None: it goes by the trunk, or is off without one."""
    trunk_weights: Path | None = None
    """A frozen backbone, for the perceptual loss or the discriminator."""
    validate: Validate | None = None
    """Scores the generator every few epochs, in the process of the leading worker."""

    @property
    def bank(self) -> str | None:
        """Where SIMS's memory bank is; None for other generators."""
        settings = self.recipe.generator
        return absolute(settings.bank, self.base) if settings.kind == "sims" and settings.bank else None

    @property
    def folder(self) -> RunFolder:
        """The run's folder, opened."""
        return RunFolder(self.path)
