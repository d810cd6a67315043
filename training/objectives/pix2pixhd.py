"""The game of pix2pixHD (Wang et al., CVPR 2018, Sec. 3.2 and 3.3): sums over scales where SPADE takes means."""

from __future__ import annotations

from torch import Tensor, nn

from training.objectives.objectives import PatchObjective, Scores, Terms
from training.objectives.patch_discriminator import Discriminator, PatchDiscriminator


class Pix2PixHDObjective(PatchObjective):
    """The game with `losses.gan: least_squares` and a discriminator without spectral norm.

    The adversarial terms add up over scales, the discriminator pays half of them, and feature matching has the factor
    4 / (n_layers_D + 1), where n_layers_D + 1 is `discriminator.layers`. Its step shows the discriminator the fake of
    the generator's step (`training.reuse_fake`).
    """

    def generator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> Terms:
        """The adversarial term, and feature matching."""
        terms = super().generator_terms(discriminator, fake, real)
        maps, layers = _shape(discriminator)
        terms["generator/gan"] = terms["generator/gan"] * maps
        if "generator/feature_matching" in terms:
            terms["generator/feature_matching"] = terms["generator/feature_matching"] * (4 / layers)
        return terms

    def discriminator_terms(self, discriminator: nn.Module, fake: Tensor, real: Tensor) -> tuple[Terms, Scores]:
        """One term each for fakes and photographs."""
        terms, scores = super().discriminator_terms(discriminator, fake, real)
        maps, _ = _shape(discriminator)
        return {name: 0.5 * maps * term for name, term in terms.items()}, scores


def _shape(discriminator: nn.Module) -> tuple[int, int]:
    """How many maps of scores there are, and how many convolutions before the last of each."""
    bare = getattr(discriminator, "module", discriminator)
    assert isinstance(bare, Discriminator)
    scale = bare.scales[0]
    assert isinstance(scale, PatchDiscriminator)
    return bare.score_maps, 1 + len(scale.middle)
