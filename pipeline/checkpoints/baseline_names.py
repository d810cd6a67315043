"""The names of parameters in public pix2pixHD and pix2pixHD++ checkpoints, and in ours, for `from_public`."""

from __future__ import annotations

from pipeline.checkpoints.public_names import SPECTRAL
from pipeline.config import Pix2PixHDPlusSettings, Pix2PixHDSettings


def global_generator_names(settings: Pix2PixHDSettings) -> dict[str, str]:
    """Parts of public keys of the global generator, and ours."""
    layers = settings.downsamplings, settings.blocks
    return {**_hourglass("model", *layers), f"model.{_last(*layers)}": "last"}


def local_enhancer_names(settings: Pix2PixHDSettings) -> dict[str, str]:
    """Of the generator with local enhancers, which public code numbers from the inside, from 1."""
    names = _hourglass("model", settings.downsamplings, settings.blocks)
    count, blocks = settings.enhancers, settings.enhancer_blocks
    for number in range(count):
        down, up, ours = f"model{number + 1}_1", f"model{number + 1}_2", f"enhancers.{number}"
        names |= _unit(f"{down}.1", f"{down}.2", f"{ours}.first") | _unit(f"{down}.4", f"{down}.5", f"{ours}.down")
        for block in range(blocks):
            names |= _block(f"{up}.{block}", f"{ours}.blocks.{block}")
        names |= _unit(f"{up}.{blocks}", f"{up}.{blocks + 1}", f"{ours}.up")
    return {**names, f"model{count}_2.{blocks + 4}": "last"}


def feature_encoder_names(settings: Pix2PixHDSettings) -> dict[str, str]:
    """Of the feature encoder, a global generator without blocks."""
    layers = settings.encoder_downsamplings, 0
    return {**_hourglass("model", *layers), f"model.{_last(*layers)}": "last"}


def pix2pixhd_plus_names(settings: Pix2PixHDPlusSettings) -> dict[str, str]:
    """Of pix2pixHD++, where a layer and its norm are a module of their own, unless there is no norm."""
    conv, norm = ("", ".1") if settings.statistics == "none" else (".0", ".1")
    names = {}

    def unit(public: str, ours: str) -> None:
        names.update(_unit(public + conv, public + norm, ours))

    unit("model.1", "body.first")
    for layer in range(settings.downsamplings):
        unit(f"model.{3 + 2 * layer}", f"body.down.{layer}")
    first = 3 + 2 * settings.downsamplings
    for block in range(settings.blocks):
        for number, place in enumerate((1, 4)):
            unit(f"model.{first + block}.conv_block.{place}", f"body.blocks.{block}.conv_{number}")
    first += settings.blocks
    for layer in range(settings.downsamplings):
        unit(f"model.{first + 2 * layer}", f"body.up.{layer}")
    return {**names, f"model.{first + 2 * settings.downsamplings + 1}": "last", **SPECTRAL}


def _hourglass(public: str, downsamplings: int, blocks: int) -> dict[str, str]:
    names = _unit(f"{public}.1", f"{public}.2", "body.first")
    for layer in range(downsamplings):
        place = 4 + 3 * layer
        names |= _unit(f"{public}.{place}", f"{public}.{place + 1}", f"body.down.{layer}")
    for block in range(blocks):
        names |= _block(f"{public}.{4 + 3 * downsamplings + block}", f"body.blocks.{block}")
    for layer in range(downsamplings):
        place = 4 + 3 * (downsamplings + layer) + blocks
        names |= _unit(f"{public}.{place}", f"{public}.{place + 1}", f"body.up.{layer}")
    return names


def _last(downsamplings: int, blocks: int) -> int:
    return 4 + 6 * downsamplings + blocks + 1


def _block(public: str, ours: str) -> dict[str, str]:
    places = ("conv_block.1", "conv_block.2", "conv_0"), ("conv_block.5", "conv_block.6", "conv_1")
    names: dict[str, str] = {}
    for conv, norm, unit in places:
        names |= _unit(f"{public}.{conv}", f"{public}.{norm}", f"{ours}.{unit}")
    return names


def _unit(conv: str, norm: str, ours: str) -> dict[str, str]:
    return {conv: f"{ours}.conv", norm: f"{ours}.norm"}
