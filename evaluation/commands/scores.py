"""The verbs that score pictures: evaluate, evaluate-style, memorisation, compare, washing-away, prefer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from evaluation.command_line import (
    BATCH_SIZE,
    ITS_WEIGHTS,
    PICTURES,
    REPORT,
    SEGMENTER,
    SEGMENTER_WEIGHTS,
    WORKERS,
    Baseline,
    Features,
)
from pipeline.command_line import CHECKPOINT, DASHBOARD, DATA, OUT, Existing, NamedWeights
from pipeline.command_output import tell
from pipeline.errors import InputError

VOTES = Existing("file of votes", "the page of `spadework prefer` saves it")


@click.command()
@click.option(
    "--images", type=PICTURES, default="images", show_default=True, help="Folder that synthesize wrote, or its URI."
)
@click.option(
    "--reference",
    type=DATA,
    default="data/landscape/validation.parquet",
    show_default=True,
    help="Parquet with the photographs of the same label maps: a file, folder, 'pattern*' or URI.",
)
@click.option(
    "--segmenter", type=SEGMENTER, default="deeplab", show_default=True, help="Network that looks for the classes."
)
@click.option(
    "--segmenter-weights",
    type=SEGMENTER_WEIGHTS,
    help="Its weights  [default: fetched ones; of deeplab for landscapes]",
)
@click.option(
    "--out",
    type=OUT,
    default=Path("report"),
    show_default=True,
    help="Folder for report.html, report.md and report.json.",
)
@click.option("--baseline", "baselines", type=Baseline(), multiple=True, help="More pictures to compare with.")
@click.option(
    "--inception-weights", type=NamedWeights("Inception"), help="FID's Inception: file, or name of weights list."
)
@click.option(
    "--lpips-weights", type=NamedWeights("LPIPS"), help="Trunk of LPIPS, for diversity: file, or name of weights list."
)
@click.option(
    "--features",
    type=Features(),
    multiple=True,
    help="Also measure distances on the features of this DINOv2 or CLIP (folder of transformers), or classifier of "
    "torchvision (file).",
)
@click.option("--fid-reference", type=DATA, help="Photographs for --set fid_reference=training.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    default=("native",),
    show_default=True,
    help="How to score; all: as every one.",
)
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Override a field of the protocols.")
@WORKERS
@BATCH_SIZE
@click.option("--examples", default=8, show_default=True, type=click.IntRange(0), help="Pictures shown in the report.")
@click.option("--cache", type=OUT, help="Folder to keep image results in, for later evaluations too.")
@click.option(
    "--marks",
    type=DATA,
    multiple=True,
    help="Also show pictures that people marked: of the painter (served/marks/NAME), or of prefer --records.",
)
@click.option("--title", help="Of the report.")
@DASHBOARD
def evaluate(
    images: str,
    reference: str,
    out: Path,
    baselines: tuple[tuple[str, str], ...],
    features: tuple[tuple[str, Path], ...],
    protocols: tuple[str, ...],
    overrides: tuple[str, ...],
    **options: Any,
) -> None:
    """Score pictures by what a segmentation network sees in them, beside the real photographs.

    \b
    Example:
      spadework evaluate --images images/ --reference data/landscape/validation.parquet \\
        --segmenter-weights runs/segmenter --out report/
    """
    from evaluation.evaluate import evaluate as run
    from evaluation.report.laboratory import laboratory_lines
    from evaluation.report.tables import summary
    from evaluation.scoring.protocols import find_protocols, parse_overrides

    training = options["fid_reference"] is not None
    chosen = find_protocols(protocols, parse_overrides(overrides), training=training)
    if len(dict(features)) < len(features):
        raise InputError("--features: give each network a name of its own")
    options |= {"baselines": dict(baselines), "features": dict(features), "protocols": chosen}
    scores = run(images, reference, out, **options)
    page = out / "report.html"
    lines = [summary(scores), *laboratory_lines(scores), f"Report: {page}"]
    tell("\n".join(lines), scores=scores, report=page)


@click.command("evaluate-style")
@click.option(
    "--checkpoint", type=CHECKPOINT, required=True, help="Run directory or .safetensors file, with a style encoder."
)
@click.option("--reference", required=True, type=DATA, help="Parquet of label maps and photographs with lightings.")
@click.option("--learn-from", required=True, type=DATA, help="Parquet of photographs that teach the lightings.")
@click.option("--out", required=True, type=OUT, help="Folder for style.json and style.png.")
@click.option("--column", default="mood", show_default=True, help="Column that names a photograph's lighting.")
@click.option("--maps", default=25, show_default=True, type=click.IntRange(1), help="Label maps to synthesize.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the photographs.")
def evaluate_style(checkpoint: str, reference: str, out: Path, **options: Any) -> None:
    """See whether pictures take the lighting of the photograph that gives their style.

    \b
    Example:
      spadework evaluate-style --checkpoint runs/x --reference data/landscape/validation.parquet \\
        --learn-from data/landscape/train.parquet --out style/
    """
    from evaluation.style_transfer import evaluate_style as run

    found = run(checkpoint, reference, out, **options)
    tell(f"{found.summary()}\nGrid: {out / 'style.png'}", style=found, grid=out / "style.png")


@click.command()
@click.option("--images", type=PICTURES, default="images", show_default=True, help="Folder that synthesize wrote.")
@click.option(
    "--training",
    type=DATA,
    default="data/landscape/train.parquet",
    show_default=True,
    help="Parquet of the photographs that the generator was trained on.",
)
@click.option("--held-out", type=DATA, help="Photographs that it was not trained on, to compare with.")
@click.option(
    "--segmenter", type=SEGMENTER, default="deeplab", show_default=True, help="Network whose features are compared."
)
@ITS_WEIGHTS
@click.option(
    "--inception-weights",
    type=NamedWeights("Inception"),
    help="Compare Inception's features: file, or name of weights list.",
)
@click.option("--out", type=OUT, default=Path("memorisation"), show_default=True, help="Folder for page, JSON and CSV.")
@WORKERS
@BATCH_SIZE
@click.option("--pairs", default=8, show_default=True, type=click.IntRange(0), help="Closest pairs shown on the page.")
@click.option("--cache", type=OUT, help="Folder to keep image results in, as in evaluate.")
def memorisation(images: str, training: str, out: Path, **options: Any) -> None:
    """See whether pictures are copies of the photographs that were trained on, or of each other.

    \b
    Example:
      spadework memorisation --images images/ --training data/landscape/train.parquet \\
        --held-out data/landscape/validation.parquet
    """
    from evaluation.memorisation import measure_memorisation as run

    found = run(images, training, out, **options)
    tell(f"{found}\nPage: {out / 'memorisation.html'}", memorisation=found, page=out / "memorisation.html")


@click.command()
@click.argument("reports", nargs=-1, required=True, type=REPORT)
@click.option("--out", required=True, type=OUT, help="Folder for compare.html, compare.md and compare.json.")
def compare(reports: tuple[str, ...], out: Path) -> None:
    """Put reports of evaluate side by side with the first, and say which differences are significant.

    \b
    Example:
      spadework compare report-a/ report-b/ --out comparison/
    """
    from evaluation.compare import compare as run
    from evaluation.compare import verdict

    found = run(reports, out)
    lines = [verdict(item, found.rows[0]["name"]) for item in found.differences]
    page = out / "compare.html"
    tell("\n".join([*lines, f"Comparison: {page}"]), comparison=found, page=page)


@click.command("washing-away")
@click.option(
    "--checkpoint", "checkpoints", type=CHECKPOINT, required=True, multiple=True, help="As for synthesize; of several."
)
@click.option("--out", type=OUT, default=Path("washing-away"), show_default=True, help="Folder for page and JSON.")
def washing_away(checkpoints: tuple[str, ...], out: Path) -> None:
    """Draw label maps of a single class: whether normalisation washes the class away (Fig. 3 of the paper).

    \b
    Example:
      spadework washing-away --checkpoint runs/pix2pixhd --checkpoint runs/spade
    """
    from evaluation.washing_away import show_washing_away as run

    found = run(checkpoints, out)
    tell(f"{found.summary()}\nPage: {out / 'washing_away.html'}", washing_away=found, page=out / "washing_away.html")


@click.command()
@click.argument("sets", nargs=-1, type=PICTURES, metavar="[FIRST SECOND]")
@click.option("--out", default="prefer.html", show_default=True, type=OUT, help="The page to write.")
@click.option("--pairs", default=60, show_default=True, type=click.IntRange(1), help="Pairs on it, at most.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**53), help="Of the pairs, and what is on the left."
)
@click.option("--votes", multiple=True, type=VOTES, help="File that the page saved, of a voter each: count them.")
@click.option(
    "--ties",
    default="excluded",
    show_default=True,
    type=click.Choice(["excluded", "half"]),
    help="Whether ties are left out of the shares, or count half for each set.",
)
@click.option("--records", type=OUT, help="Parquet file to write the judged pictures to; needs both sets and --votes.")
def prefer(
    sets: tuple[str, ...],
    out: Path,
    pairs: int,
    seed: int,
    votes: tuple[Path, ...],
    ties: Literal["excluded", "half"],
    records: Path | None,
) -> None:
    """Let people choose between two sets of pictures, blindly: write the page, and later count the votes.

    FIRST and SECOND are folders that synthesize wrote from the same label maps. The page needs no server and no other
    file; arrow keys vote.

    \b
    Example:
      spadework prefer images/ my-images/ --out prefer.html
      spadework prefer --votes votes.json
      spadework prefer images/ my-images/ --votes votes.json --records marks.parquet
    """
    if records is not None and not (votes and len(sets) == 2):
        raise InputError("--records needs the two sets of pictures and --votes FILE, what the page saved")
    if records is None and (bool(votes) == bool(sets) or (sets and len(sets) != 2)):
        raise InputError("give two sets of pictures to write a page, or --votes FILE to count what it saved")

    from evaluation.prefer import count_votes, write_page

    if votes:
        counted = count_votes(votes)
        told = counted.summary(ties)
        if records is not None:
            from evaluation.prefer_records import write_vote_records

            written = write_vote_records(votes, sets[0], sets[1], records)
            told += f"\n{written} records in {records}: spadework evaluate --marks {records}"
        tell(told, votes=counted, records=records)
    else:
        written = write_page(sets[0], sets[1], out, pairs=pairs, seed=seed)
        tell(f"{written} pairs: open {out} in a browser", pairs=written, page=out)
