"""Draws docs/architecture.svg from the imports of the code: `python docs/draw_architecture.py`.

A room is a file at the top or a folder or file of a package. A room stands one floor above the highest room that it
imports; arrows go down only, which the contracts in pyproject.toml hold. A test compares the picture with the code.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("training", "evaluation", "pipeline")
WIDTH, HEIGHT, GAP, FLOOR = 118, 30, 14, 62
COLOURS = {"pipeline": "#2f6f9f", "training": "#9a5b1e", "evaluation": "#3d7a3d", "cli": "#555555"}


def room_of(module: str) -> str:
    """The room of a module: `pipeline.data.images` is in `pipeline.data`, `training.losses` in `training`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "pipeline" and len(parts) > 1 else parts[0]


def find_imports(root: Path = ROOT) -> dict[str, set[str]]:
    """Which rooms each room imports, late imports inside functions included; a room does not import itself."""
    found: dict[str, set[str]] = defaultdict(set)
    files = [path for name in PACKAGES for path in sorted((root / name).rglob("*.py"))]
    for path in [*files, *sorted(root.glob("*.py"))]:
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if module in PACKAGES:
            continue
        room = room_of(module)
        found[room] |= set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
                names = (
                    [f"{node.module}.{alias.name}" for alias in node.names] if "." not in node.module else [node.module]
                )
                found[room] |= {room_of(name) for name in names} - {room}
    known = set(found)
    return {room: {other for other in others if other in known} for room, others in found.items()}


def find_floors(imports: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room, the lowest 0: one above the highest of those that it imports."""

    @cache
    def floor(room: str) -> int:
        return 1 + max((floor(other) for other in imports[room]), default=-1)

    return {room: floor(room) for room in imports}


def draw(imports: dict[str, set[str]]) -> str:
    """The picture as SVG: floors from top to bottom, a line for each import that no other path implies."""
    floors = find_floors(imports)
    rows = [sorted(room for room in floors if floors[room] == number) for number in range(max(floors.values()) + 1)]
    width = max(map(len, rows)) * (WIDTH + GAP) + GAP
    height = len(rows) * FLOOR + GAP
    place = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for index, room in enumerate(row):
            place[room] = (left + index * (WIDTH + GAP), height - (number + 1) * FLOOR + GAP)
    lines, boxes = [], []
    for room in sorted(imports):
        x, y = place[room]
        for other in sorted(_direct(room, imports)):
            to_x, to_y = place[other]
            lines.append(f'<line x1="{x + WIDTH / 2:g}" y1="{y + HEIGHT:g}" x2="{to_x + WIDTH / 2:g}" y2="{to_y:g}"/>')
        colour = COLOURS.get(room.split(".")[0], COLOURS["cli"])
        name = escape(room.removeprefix("pipeline."))
        boxes.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{colour}"/>')
        boxes.append(f'<text x="{x + WIDTH / 2:g}" y="{y + 20:g}">{name}</text>')
    style = "line{stroke:#999;stroke-width:1}text{font:13px sans-serif;fill:#fff;text-anchor:middle}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    title = "<title>Rooms of the code; each imports only rooms below it</title>"
    back = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([head, title, f"<style>{style}</style>", back, *lines, *boxes, "</svg>", ""])


def _direct(room: str, imports: dict[str, set[str]]) -> set[str]:
    """What a room imports and does not reach through another of its imports as well, to keep the picture readable."""
    implied: set[str] = set()
    for other in imports[room]:
        implied |= _reach(other, imports)
    return imports[room] - implied


def _reach(room: str, imports: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(imports[room])
    while waiting:
        other = waiting.pop()
        if other not in reached:
            reached.add(other)
            waiting.extend(imports[other])
    return reached


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.svg").write_text(draw(find_imports()))
