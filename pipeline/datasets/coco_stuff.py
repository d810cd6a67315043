"""COCO-Stuff (Caesar et al. 2018) in the directory layout that the public SPADE code expects."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.images import Resample
from pipeline.datasets.convert import Split, Summary
from pipeline.datasets.files import convert_files, list_pictures, pair
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

CLASSES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
    stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat,
    backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
    baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife,
    spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch,
    potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell
    phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair
    drier, toothbrush, hair brush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard,
    carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt,
    door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other,
    fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss,
    mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing,
    railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other,
    stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
    wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
    window-other, wood
"""
"""Label id i is class i + 1 of the COCO-Stuff list; 11 of the things never occur."""

SPACE = LabelSpace(
    classes=tuple(name.strip() for name in CLASSES.replace("\n", " ").split(",")), dont_care=255, instance_edges=True
)


def prepare(
    root: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert `root`/{train,val}_{img,label,inst}, one of the two splits at least.

    `size` is height and width, to which photographs are resized by `resample`.
    """
    splits = []
    for name, prefix in (("train", "train"), ("validation", "val")):
        if (root / f"{prefix}_label").is_dir():
            folders = [list_pictures(root / f"{prefix}_{kind}") for kind in ("label", "img", "inst")]
            splits.append(Split(name, *pair(*folders)))
    if not splits:
        raise InputError(
            f"{root} has neither train_label nor val_label; give the folder with train_img, train_label, ..."
        )
    return convert_files(
        out, "coco-stuff", SPACE, splits, size=size, resample=resample, workers=workers, skip_bad=skip_bad
    )
