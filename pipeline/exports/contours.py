"""The outlines of masks as polygons along the edges of pixels."""

from __future__ import annotations

import numpy as np

Polygon = list[tuple[int, int]]
"""Corners (x, y), between pixels: the top left corner of the picture is (0, 0)."""

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""One pixel to the right, down, to the left and up."""


def trace(mask: np.ndarray) -> tuple[list[Polygon], list[Polygon]]:
    """The outlines of a mask, bool `[H, W]`, and those of its holes; pixels that touch at a corner only are apart.

    Outlines go clockwise, holes the other way; corners in a straight line are left out.

    >>> trace(np.array([[1, 1], [0, 1]], bool))[0]
    [[(0, 0), (2, 0), (2, 2), (1, 2), (1, 1), (0, 1)]]
    """
    edges = _edges(mask)
    outer: list[Polygon] = []
    holes: list[Polygon] = []
    while edges:
        edge = first = next(iter(edges))
        walk = []
        while edge in edges:
            del edges[edge]
            walk.append(edge)
            x, y, direction = edge
            x, y = x + STEPS[direction][0], y + STEPS[direction][1]
            # Where two pixels touch at a corner, the walk stays with its own, which is a turn to the right.
            turns = ((x, y, (direction + turn) % 4) for turn in (1, 0, 3))
            edge = next((other for other in turns if other in edges or other == first), first)
        corners = [
            (x, y) for (x, y, direction), before in zip(walk, walk[-1:] + walk, strict=False) if direction != before[2]
        ]
        (outer if _area(corners) > 0 else holes).append(corners)
    return outer, holes


def _edges(mask: np.ndarray) -> dict[tuple[int, int, int], None]:
    """The sides of pixels between inside and outside, with the inside on their right: start (x, y) and direction."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    found: dict[tuple[int, int, int], None] = {}
    for direction, (neighbour, right, down) in enumerate(
        (
            (padded[:-2, 1:-1], 0, 0),  # nothing above: from the top left corner to the right
            (padded[1:-1, 2:], 1, 0),  # nothing to the right: from the top right corner down
            (padded[2:, 1:-1], 1, 1),  # nothing below: from the bottom right corner to the left
            (padded[1:-1, :-2], 0, 1),  # nothing to the left: from the bottom left corner up
        )
    ):
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            found[x + right, y + down, direction] = None
    return found


def _area(corners: Polygon) -> int:
    """Twice the area, positive for corners that go clockwise in a picture, whose y points down."""
    following = corners[1:] + corners[:1]
    return sum(x * other_y - other_x * y for (x, y), (other_x, other_y) in zip(corners, following, strict=True))


def join(polygons: list[Polygon]) -> Polygon:
    """Several outlines as one: from the first one's start to each other one, around it, and back the same way.

    What lies between counts as nothing, for it is passed twice; so one line can say an object of several parts.
    """
    first, *others = polygons
    joined = list(first)
    for other in others:
        joined += [first[0], *other, other[0]]
    return [*joined, first[0]] if others else joined
