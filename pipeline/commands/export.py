"""The verb `export`."""

from __future__ import annotations

import click

from pipeline.command_line import LABEL_COLUMN, OUT_LOCATION, Location
from pipeline.command_output import tell

KINDS = ("folder", "webdataset", "coco", "panoptic", "yolo", "voc")


@click.command()
@click.argument("sets", metavar="IMAGES...", nargs=-1, required=True, type=Location("synthesized pictures"))
@click.option("--as", "kinds", multiple=True, required=True, type=click.Choice(KINDS), help="Format; again for more.")
@click.option("--out", type=OUT_LOCATION, help="Folder, or URI, for a folder of each format  [default: IMAGES-export]")
@LABEL_COLUMN
def export(sets: tuple[str, ...], kinds: tuple[str, ...], out: str | None, label_column: str) -> None:
    """Write finished, filtered or joined pictures as files for other tools.

    With several IMAGES the name of each folder stands before its ids.

    \b
    Example:
      spadework export good-images/ --as coco --as yolo --out for-training/
    """
    from pipeline.data.storage import beside
    from pipeline.exports.export import export as run

    out = out or beside(sets[0], "-export")
    count = run(sets, out, kinds, label_column=label_column)  # type: ignore[arg-type]
    folders = [f"{out}/{kind}" for kind in kinds]
    tell(f"{count} pictures in {', '.join(folders)}", pictures=count, folders=folders)
