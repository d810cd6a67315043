"""ADE20K in the form of the scene parsing challenge (Zhou et al. 2017): 150 classes."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.labels import LabelSpace

CLASSES = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
    chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
    case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
    book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
    hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt
    track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
    conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike,
    cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen,
    blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor,
    bulletin board, shower, radiator, glass, clock, flag
"""

SPACE = LabelSpace(classes=tuple(name.strip() for name in CLASSES.replace("\n", " ").split(",")), dont_care=255)

RELABEL = {0: 255} | {stored: stored - 1 for stored in range(1, 151)}
"""The files store 0 for "other" and count classes from 1. The public SPADE code means to shift them so and does not,
so its released weights have "other" as channel 0 and not as the last one."""


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{images,annotations}/{training,validation}.

    `size` is height and width, to which photographs are resized by `resample`.
    """
    splits = []
    for name, folder in (("train", "training"), ("validation", "validation")):
        splits.append(
            Split(name, *pair(list_pictures(root / "annotations" / folder), list_pictures(root / "images" / folder)))
        )
    return convert_files(
        out, "ade20k", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad, relabel=RELABEL
    )
