"""The verb `prepare`: raw data sets to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.command_line import DATA, OUT, PALETTE, PROCESSES, PROCESSES_OR_NONE, Amount, Existing, Size, Verbs
from pipeline.command_output import tell


class IdMap(Existing):
    """A table of ids, or the name of one that comes with spadework."""

    def __init__(self) -> None:
        super().__init__("table of ids", "give a file, or cityscapes-train")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or the name as it is; `InputError` where there is neither."""
        return value if value == "cityscapes-train" else super().convert(value, param, ctx)


@click.group(cls=Verbs)
def prepare() -> None:
    """Make the Parquet files that everything else reads: train.parquet and validation.parquet."""


WORKERS = click.option("--workers", type=PROCESSES, help="Processes  [default: one for each CPU]")


OUTPUT = click.option("--out", required=True, type=OUT, help="Folder for the Parquet files.")


SHRUNK = click.option("--size", type=Size(), help="Resize to this  [default: keep]")


RESAMPLE = click.option(
    "--resample",
    type=click.Choice(["lanczos", "bicubic"]),
    default="lanczos",
    show_default=True,
    help="How --size resizes photographs; bicubic as the public SPADE training does.",
)


ROOT = click.argument("root", type=Existing("folder of the data set"))


SKIP_BAD = click.option("--skip-bad", is_flag=True, help="Leave out and report bad files instead of stopping.")


@prepare.command()
@OUTPUT
@click.option("--train", default=2000, show_default=True, type=click.IntRange(1), help="Scenes to train on.")
@click.option("--validation", default=200, show_default=True, type=click.IntRange(0), help="Scenes to score by.")
@click.option("--size", default="128x128", show_default=True, type=Size(), help="Of the scenes, in pixels.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Another seed, other scenes."
)
@click.option("--disparity", is_flag=True, help="Also how near each pixel is, for SIMS's ordering network.")
@WORKERS
def landscape(out: Path, size: tuple[int, int], **options: Any) -> None:
    """Draw landscapes: 14 classes, four kinds of light, trees and houses with instance ids.

    \b
    Example:
      spadework prepare landscape --out data/landscape --size 128x128
    """
    from pipeline.datasets.landscape.dataset import prepare as run

    summary = run(out, height=size[0], width=size[1], **options)
    tell(summary, folder=out, summary=summary)


@prepare.command()
@click.argument("labels", type=Existing("folder of label maps"))
@OUTPUT
@click.option("--images", type=Existing("folder of photographs"), help="Folder of photographs with the same names.")
@click.option(
    "--instances",
    type=Existing("folder of instance maps"),
    help="Folder of instance maps with the same names; with a panoptic JSON that of its PNGs.",
)
@click.option(
    "--connected-instances",
    metavar="CLASSES",
    help="Make instances of the connected regions of these classes, with commas between.",
)
@click.option(
    "--classes",
    type=Existing("file of class names"),
    help="File with the class names, a line each, in the order of the ids.",
)
@click.option(
    "--palette",
    type=PALETTE,
    help="File with a line 'red green blue name' for each colour, CSV with the columns name, r, g, b, or JSON.",
)
@click.option(
    "--map-ids",
    type=IdMap(),
    help="File with a line 'stored new' for each id that label maps have ('* new' for all others), or "
    "cityscapes-train: the 19 classes of Cityscapes' trainIds.",
)
@click.option("--dont-care", type=click.IntRange(0, 65535), help="The id that means unknown.")
@click.option(
    "--label-suffix",
    help="What names of label maps end in, such as _gtFine_labelIds  [default: found where one way fits]",
)
@click.option("--image-suffix", help="What names of photographs end in, such as _leftImg8bit.")
@click.option("--instance-suffix", help="What names of instance maps end in.")
@click.option("--validation", default=0.1, show_default=True, type=Amount(0, 1), help="Share to keep from training.")
@click.option(
    "--split",
    type=Existing("split file"),
    help="File with a line 'NAME SPLIT' (train, validation or test), or the names of the validation records.",
)
@click.option(
    "--group-by",
    metavar="PATTERN",
    help="Regular expression; records in whose names it finds the same are never on both sides.",
)
@click.option("--recipe", type=OUT, help="Also write a recipe for these data and this machine, such as mine.yaml.")
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def folder(labels: Path, out: Path, **options: Any) -> None:
    """Convert a folder of label maps (8- or 16-bit grey, palette, or with --palette RGB), or a COCO JSON file.

    \b
    Example:
      spadework prepare folder masks/ --images photos/ --classes classes.txt --out data/mine --recipe mine.yaml
      spadework prepare folder instances.json --images photos/ --out data/mine
    """
    from pipeline.datasets.folder import prepare as run

    summary = run(labels, out, **options)
    tell(summary, folder=out, summary=summary)


@prepare.command()
@click.argument("source", type=Existing(DATA.what, DATA.fix))
@OUTPUT
@click.option("--count", type=click.IntRange(1), help="Maps to make  [default: as many as there are]")
@click.option(
    "--classes",
    multiple=True,
    metavar="NAMES",
    help="Things to move, with commas between  [default: classes with two instances in a map]",
)
@click.option(
    "--instances",
    default=4,
    show_default=True,
    type=click.IntRange(0),
    help="To put into a map at most; 0: only mirror.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Another seed, other maps."
)
def remix(source: Path, out: Path, classes: tuple[str, ...], **options: Any) -> None:
    """Make new label maps of old ones: mirrored, and with instances moved between them.

    \b
    Example:
      spadework prepare remix data/landscape/train.parquet --out data/remixed
    """
    from pipeline.datasets.remix import prepare as run

    names = [name.strip() for text in classes for name in text.split(",") if name.strip()]
    summary = run(source, out, classes=names, **options)
    tell(summary, folder=out, summary=summary)


@prepare.command()
@click.argument("source", type=DATA)
@click.option("--out", required=True, type=OUT, help="Parquet file for the bank.")
@click.option(
    "--least-area",
    type=Amount(0, 1),
    help="Share of the picture below which a region is left out  [default: 1/131]",
)
@SHRUNK
@click.option(
    "--workers",
    type=PROCESSES_OR_NONE,
    default=0,
    show_default=True,
    help="Processes on Ray; 0: this process, without Ray.",
)
def bank(source: str, out: Path, least_area: float | None, **options: Any) -> None:
    """Cut photographs into the segments of their label maps: the memory bank of SIMS.

    The bank holds verbatim pieces of the photographs, with the id of the record that each is from: their licence and
    privacy apply to it, and to every picture that is made with it.

    \b
    Example:
      spadework prepare bank data/landscape/train.parquet --out bank.parquet
    """
    from pipeline.segments.build import build_bank
    from pipeline.segments.cut import LEAST_AREA

    made = build_bank(source, out, least_area=LEAST_AREA if least_area is None else least_area, **options)
    tell(made, bank=made)


@prepare.command()
@ROOT
@OUTPUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def camvid(root: Path, out: Path, **options: Any) -> None:
    """Convert CamVid with 11 classes: ROOT/{train,val}/{images,labels}.

    \b
    Example:
      spadework prepare camvid datasets/camvid --out data/camvid --size 128x96
    """
    from pipeline.datasets.camvid import prepare as run

    summary = run(root, out, **options)
    tell(summary, folder=out, summary=summary)


@prepare.command("coco-stuff")
@ROOT
@OUTPUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def coco_stuff(root: Path, out: Path, **options: Any) -> None:
    """Convert COCO-Stuff: ROOT/{train,val}_{img,label,inst}.

    \b
    Example:
      spadework prepare coco-stuff datasets/coco_stuff --out data/coco_stuff --size 286x286
    """
    from pipeline.datasets.coco_stuff import prepare as run

    summary = run(root, out, **options)
    tell(summary, folder=out, summary=summary)


@prepare.command()
@ROOT
@OUTPUT
@SHRUNK
@RESAMPLE
@WORKERS
@SKIP_BAD
def ade20k(root: Path, out: Path, **options: Any) -> None:
    """Convert ADE20K with 150 classes: ROOT/{images,annotations}/{training,validation}.

    \b
    Example:
      spadework prepare ade20k ADEChallengeData2016 --out data/ade20k --size 286x286
    """
    from pipeline.datasets.ade20k import prepare as run

    summary = run(root, out, **options)
    tell(summary, folder=out, summary=summary)


@prepare.command()
@ROOT
@OUTPUT
@SHRUNK
@RESAMPLE
@click.option("--disparity", is_flag=True, help="Also ROOT/disparity, for SIMS's ordering network.")
@WORKERS
@SKIP_BAD
def cityscapes(root: Path, out: Path, **options: Any) -> None:
    """Convert Cityscapes: ROOT/{gtFine,leftImg8bit}/{train,val}/<city>.

    \b
    Example:
      spadework prepare cityscapes datasets/cityscapes --out data/cityscapes --size 512x256
    """
    from pipeline.datasets.cityscapes import prepare as run

    summary = run(root, out, **options)
    tell(summary, folder=out, summary=summary)
