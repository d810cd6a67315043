"""Recipes: the typed settings of a run, a file for each part; import them from here."""

from pipeline.config.baselines import CRNSettings, Pix2PixHDPlusSettings, Pix2PixHDSettings, SIMSSettings
from pipeline.config.data import LARGEST_PIXELS, DataSettings, Source
from pipeline.config.generators import AnyGeneratorSettings
from pipeline.config.networks import ConcatSettings, DecoderSettings, DiscriminatorSettings, GeneratorSettings
from pipeline.config.recipe import Recipe
from pipeline.config.settings import Enlargement, RegionStyles
from pipeline.config.training import LossSettings, SegmenterSettings, TrainingSettings

__all__ = [
    "LARGEST_PIXELS",
    "AnyGeneratorSettings",
    "CRNSettings",
    "ConcatSettings",
    "DataSettings",
    "DecoderSettings",
    "DiscriminatorSettings",
    "Enlargement",
    "GeneratorSettings",
    "LossSettings",
    "Pix2PixHDPlusSettings",
    "Pix2PixHDSettings",
    "Recipe",
    "RegionStyles",
    "SIMSSettings",
    "SegmenterSettings",
    "Source",
    "TrainingSettings",
]
