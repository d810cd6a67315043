"""The section `generator` of a recipe: one of the kinds, each with fields of its own."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, get_args

from pydantic import Discriminator, Tag

from pipeline.config.baselines import CRNSettings, Pix2PixHDPlusSettings, Pix2PixHDSettings, SIMSSettings
from pipeline.config.networks import ConcatSettings, GeneratorSettings
from pipeline.errors import InputError

AnyGeneratorSettings: TypeAlias = (
    GeneratorSettings | ConcatSettings | Pix2PixHDPlusSettings | CRNSettings | Pix2PixHDSettings | SIMSSettings
)
"""Those that a recipe may have; `settings.kind` tells them apart."""

KINDS = {settings.model_fields["kind"].default: settings for settings in get_args(AnyGeneratorSettings)}
"""By the name of the kind."""


def _kind(value: Any) -> Any:
    """Recipes from before there were kinds have none: they are of SPADE."""
    return value.get("kind", "spade") if isinstance(value, dict) else getattr(value, "kind", "spade")


GeneratorSection: TypeAlias = Annotated[
    Annotated[GeneratorSettings, Tag("spade")]
    | Annotated[ConcatSettings, Tag("concat")]
    | Annotated[Pix2PixHDPlusSettings, Tag("pix2pixhd_plus")]
    | Annotated[CRNSettings, Tag("crn")]
    | Annotated[Pix2PixHDSettings, Tag("pix2pixhd")]
    | Annotated[SIMSSettings, Tag("sims")],
    Discriminator(_kind, custom_error_type="generator_kind", custom_error_message="no such kind"),
]
"""The field of a recipe: its kind decides which fields there are."""


def only_spade(settings: AnyGeneratorSettings, what: str) -> GeneratorSettings:
    """The settings, where they are SPADE's; `InputError`, which begins with `what` there is for SPADE only, else."""
    if settings.kind != "spade":
        raise InputError(f"{what} for generators of kind spade only, and generator.kind is '{settings.kind}'")
    return settings
