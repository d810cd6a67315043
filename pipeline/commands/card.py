"""The verb `card`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.command_line import Existing, Location
from pipeline.command_output import tell


@click.command()
@click.argument("images", type=Location("synthesized pictures"))
@click.option("--license", help="Of the pictures, as the Hub calls it, such as cc-by-4.0  [default: unknown]")
@click.option("--report", type=Existing("report", "`spadework evaluate` writes one"), help="Scores of these pictures.")
def card(images: str, license: str | None, report: Path | None) -> None:
    """Write the dataset card (README.md) and Croissant metadata of a finished or filtered set anew.

    \b
    Example:
      spadework card images/ --license cc-by-4.0 --report report/
    """
    from pipeline.data.storage import Folder
    from pipeline.synthesis.card import CARD, CROISSANT, gather, write_card

    folder = Folder(images)
    write_card(folder, gather(folder, license=license, report=report))
    tell(f"{folder}: {CARD}, {CROISSANT}", folder=str(folder), files=[CARD, CROISSANT])
