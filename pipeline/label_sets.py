"""The label sets that come with the project: a recipe names one (`labels: coco_stuff`), and converters write it."""

from __future__ import annotations

from pipeline.labels import LabelSpace


def _names(text: str) -> tuple[str, ...]:
    """Names between commas; line breaks and runs of blanks count as one blank."""
    return tuple(" ".join(name.split()) for name in text.split(","))


LABEL_SETS = {
    # Of the procedural landscapes.
    "landscape": LabelSpace(
        classes=_names("""
            sky, cloud, sun, mountain, snow, hill, forest, tree, grass, sand, sea, rock, road, house
        """),
        palette=(
            (96, 160, 224),
            (214, 226, 238),
            (255, 214, 64),
            (122, 110, 118),
            (246, 248, 252),
            (120, 150, 84),
            (34, 84, 54),
            (58, 132, 48),
            (140, 190, 72),
            (226, 200, 138),
            (32, 84, 156),
            (98, 88, 78),
            (62, 62, 70),
            (196, 70, 54),
        ),
        instance_edges=True,
    ),
    # CamVid in the 11-class form of the SegNet tutorial (Brostow et al. 2009; Badrinarayanan et al. 2017).
    "camvid": LabelSpace(
        classes=_names("""
            sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist
        """),
        palette=(
            (128, 128, 128),
            (128, 0, 0),
            (192, 192, 128),
            (128, 64, 128),
            (60, 40, 222),
            (128, 128, 0),
            (192, 128, 128),
            (64, 64, 128),
            (64, 0, 128),
            (64, 64, 0),
            (0, 128, 192),
        ),
        dont_care=11,
    ),
    # COCO-Stuff (Caesar et al. 2018): label id i is class i + 1 of its list; 11 of the things never occur.
    "coco_stuff": LabelSpace(
        classes=_names("""
            person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street
            sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra,
            giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard,
            sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate,
            wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
            pizza, donut, cake, chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet, door,
            tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender,
            book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush, banner, blanket, branch,
            bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
            clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
            floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other,
            grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud,
            napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad,
            river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs,
            stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
            wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
            window-blind, window-other, wood
        """),
        dont_care=255,
        instance_edges=True,
    ),
    # ADE20K, the 150 classes of the scene parsing challenge (Zhou et al. 2017).
    "ade20k": LabelSpace(
        classes=_names("""
            wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
            earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
            mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base,
            box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator,
            grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge,
            bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen
            island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
            chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land,
            bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
            canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle,
            oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen,
            blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
            monitor, bulletin board, shower, radiator, glass, clock, flag
        """),
        dont_care=255,
    ),
    # Cityscapes (Cordts et al. 2016): all 35 raw ids, as the public SPADE generators take them.
    "cityscapes": LabelSpace(
        classes=_names("""
            unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk,
            parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light,
            traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train,
            motorcycle, bicycle, license plate
        """),
        palette=(
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (111, 74, 0),
            (81, 0, 81),
            (128, 64, 128),
            (244, 35, 232),
            (250, 170, 160),
            (230, 150, 140),
            (70, 70, 70),
            (102, 102, 156),
            (190, 153, 153),
            (180, 165, 180),
            (150, 100, 100),
            (150, 120, 90),
            (153, 153, 153),
            (153, 153, 153),
            (250, 170, 30),
            (220, 220, 0),
            (107, 142, 35),
            (152, 251, 152),
            (70, 130, 180),
            (220, 20, 60),
            (255, 0, 0),
            (0, 0, 142),
            (0, 0, 70),
            (0, 60, 100),
            (0, 0, 90),
            (0, 0, 110),
            (0, 80, 100),
            (0, 0, 230),
            (119, 11, 32),
            (0, 0, 142),
        ),
        instance_edges=True,
    ),
}
"""By name."""
