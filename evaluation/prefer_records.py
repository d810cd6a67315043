"""The votes of a blind test as records: each picture that was judged, its label map, how it was made, and its mark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.prefer import Vote, Votes, first_is_left, read_votes, set_names
from evaluation.scoring.picture_sets import Key
from pipeline.data.marks import MARK_FIELDS
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import RecordWriter
from pipeline.data.schema import DatasetInfo
from pipeline.errors import InputError

COLUMNS = ("id", "sample", "image", "label", "instance", "seed", "checkpoint")


def write_vote_records(files: Sequence[Path], first: str | Path, second: str | Path, out: Path) -> int:
    """Write both pictures of every vote to the Parquet file `out`, with the columns of the painter's marks
    (`pipeline.data.marks`); how many records there are.

    `mark` is `better` or `worse` than the other picture, or `tie`; `bad` where the voter said so of it. `note` names
    its set. Such a file is a data set, which `evaluate --marks` shows.

    Raises `InputError` as `read_votes`; where the sets are others than those of the page, or lack a picture of it; and
    where `out` is no Parquet file.
    """
    if out.suffix.lower() != ".parquet" or out.is_dir():
        raise InputError(f"{out} is no Parquet file; name one, such as marks.parquet")
    voters = read_votes(files)
    names = set_names(first, second)
    if (voters[0].first, voters[0].second) != names:
        raise InputError(
            f"the votes are on {voters[0].first} and {voters[0].second}, not {names[0]} and {names[1]}; give the sets "
            "that the page was written with, in that order"
        )
    judged = {(vote.id, vote.sample) for voter in voters for vote in voter.votes}
    sets = [ParquetDataset.open(location) for location in (first, second)]
    pictures = [_find(dataset, judged) for dataset in sets]
    made = [dataset.require_info().preprocessing.get("synthesis") or {} for dataset in sets]
    info = DatasetInfo(sets[0].require_info().space, {"source": "spadework prefer", "page": voters[0].page})
    with RecordWriter(out, info, MARK_FIELDS) as writer:
        for number, voter in enumerate(voters):
            for vote in voter.votes:
                for which, mark in _marks(voter, vote):
                    row = pictures[which][vote.id, vote.sample]
                    writer.write(_record(row, made[which], mark, note=names[which], vote=(voter.page, number, which)))
        return writer.rows


def _find(dataset: ParquetDataset, keys: set[Key]) -> dict[Key, dict[str, Any]]:
    """The rows of some pictures, still encoded."""
    dataset.check_columns(("id", "label", "image"))
    rows = dataset.iter_rows(COLUMNS)
    found = {key: row for row in rows if (key := (row["id"], int(row["sample"] or 0))) in keys}
    if missing := sorted(keys - set(found)):
        raise InputError(
            f"{dataset.location} has no picture '{missing[0][0]}' (sample {missing[0][1]}), on which there is a vote; "
            "give the set that the page was written with"
        )
    return found


def _marks(voter: Votes, vote: Vote) -> Iterator[tuple[int, str]]:
    """The set (0 or 1) and the mark of both pictures."""
    left = 0 if first_is_left(voter.seed, (vote.id, vote.sample)) else 1
    for side, which in (("left", left), ("right", 1 - left)):
        if side in vote.bad:
            yield which, "bad"
        else:
            yield which, "tie" if vote.choice == "tie" else "better" if vote.choice == side else "worse"


def _record(
    row: dict[str, Any], made: dict[str, Any], mark: str, *, note: str, vote: tuple[str, int, int]
) -> dict[str, Any]:
    """The cells of a mark. The style is the job's seed, or what the job says of styles that have none."""
    sample, seed = int(row["sample"] or 0), row["seed"]
    seed = made.get("seed") if seed is None else seed
    style = made.get("style") or {}
    if style.get("kind", "noise") == "noise" and style.get("truncation", 1) == 1:
        style = {} if seed is None else {"seed": seed}
    digest = hashlib.sha256(json.dumps([*vote, row["id"], sample]).encode()).hexdigest()[:16]
    return {
        "id": f"{row['id']}-{digest}",
        **{name: row[name] for name in ("label", "instance", "image")},
        "style": json.dumps(style) if style else None,
        "seed": seed,
        "sample": sample,
        "checkpoint": row["checkpoint"] or made.get("checkpoint"),
        "painted_id": row["id"],
        "mark": mark,
        "note": note,
    }
