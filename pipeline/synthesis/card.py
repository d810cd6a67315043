"""What a set of pictures says about itself to other people's tools: a dataset card, and Croissant metadata.

The card is that of Hugging Face (https://huggingface.co/docs/hub/datasets-cards), by which `load_dataset(folder)` reads
the parts and nothing that was exported beside them. Croissant is MLCommons' (https://docs.mlcommons.org/croissant/).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pipeline.data.parquet import ParquetDataset, ParquetFile, holds_pictures
from pipeline.data.storage import Folder, find_files, relative
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.json_text import read_json

CARD, CROISSANT = "README.md", "croissant.json"
MANIFEST = "manifest.json"
LISTED_FILES = 10_000
"""More parts than that are not listed in Croissant, which then has their pattern, and the manifest's checksum."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MADE = ("recipe", "checkpoint", "seed", "samples", "size", "format", "style", "precision")
_SCORES = {"mean_iou": "mean IoU", "accuracy": "pixel accuracy"}


@dataclass(frozen=True)
class Facts:
    """All that card and Croissant say."""

    name: str
    space: LabelSpace
    columns: Mapping[str, str]
    """By name, as `datasets` calls their types: `image`, `string`, `int32` ..."""
    patterns: Sequence[str]
    """Of the files that hold the pictures."""
    files: Sequence[tuple[str, str]]
    """Their names and the sha256 of each one's content; the manifest, which has them, where they are too many."""
    pictures: int
    made: Mapping[str, Any]
    """What the synthesis says of itself in the files."""
    license: str = "unknown"
    scores: Mapping[str, float] = field(default_factory=dict)
    """By what they are called; empty where nothing was scored."""


def gather(folder: Folder, *, license: str | None = None, report: Path | None = None) -> Facts:
    """The facts about the pictures of a finished or filtered folder, and their scores in the report of `evaluate`.

    Raises `InputError` where there are no pictures, or the report is of other ones.
    """
    known = _known_parts(folder)
    root, paths = find_files(folder.location)
    names = [relative(path, root) for path in paths]
    if report is None and known.keys() == set(names):
        # Parts of one job are alike, and the manifest counts them: nobody need open ten thousand.
        dataset = ParquetDataset(folder.location, (ParquetFile.open(paths[0], names[0]),))
        pictures = sum(rows for rows, _ in known.values())
    else:
        dataset = ParquetDataset.open(folder.location)
        pictures = dataset.rows
    info = dataset.require_info()
    columns = {column.name: _type(column.type) for column in dataset.files[0].schema}
    made = info.preprocessing.get("synthesis") or {}
    parts = all(name.startswith("part-") for name in names)
    listed = names if len(names) <= LISTED_FILES else [MANIFEST] if known else []
    return Facts(
        name=f"{made['recipe']}, synthesized" if made.get("recipe") else "pictures",  # the same wherever it lies
        space=info.space,
        columns=columns,
        patterns=["part-*.parquet"] if parts else names,
        files=[(name, known[name][1] if name in known else folder.sha256(name)) for name in listed],
        pictures=pictures,
        made={key: made[key] for key in _MADE if made.get(key) is not None},
        license=license or "unknown",
        scores=_scores(dataset, report) if report else {},
    )


def write_card(folder: Folder, facts: Facts) -> None:
    """Write `README.md` and `croissant.json` into the folder; they depend on the facts alone."""
    folder.put(CARD, card(facts).encode())
    folder.put(CROISSANT, (json.dumps(croissant(facts), indent=1, ensure_ascii=False) + "\n").encode())


def card(facts: Facts) -> str:
    """The dataset card: YAML that `datasets` and the Hub read, and Markdown for people."""
    files: Any = facts.patterns[0] if len(facts.patterns) == 1 else list(facts.patterns)
    head = {
        "pretty_name": facts.name,
        "license": facts.license,
        "task_categories": ["image-segmentation", "image-to-image"],
        "tags": ["synthetic", "semantic-image-synthesis", "spadework"],
        "size_categories": [next((name for most, name in _SIZES if facts.pictures < most), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
        "dataset_info": {"features": [{"name": name, "dtype": kind} for name, kind in facts.columns.items()]},
        "label_names": dict(enumerate(facts.space.classes)),
    }
    lines = [
        f"# {facts.name}",
        "",
        f"{facts.pictures:,} pictures that a neural network drew from label maps (spadework). They are no photographs: "
        "each file says so in its XMP, as `trainedAlgorithmicMedia`."
        if facts.made.get("checkpoint")
        else f"{facts.pictures:,} pictures with their label maps.",
        "",
        "```python",
        "import datasets",
        "",
        "pictures = datasets.load_dataset(FOLDER, split='train')  # the folder of this file",
        "pictures[0]['image'], pictures[0]['label']  # label ids, as below",
        "```",
        "",
        "| made by | |",
        "| --- | --- |",
        *(f"| {key} | {_cell(value)} |" for key, value in facts.made.items()),
        "",
    ]
    if facts.scores:
        lines += ["| score | |", "| --- | --- |"]
        lines += [f"| {name} | {value:.4g} |" for name, value in facts.scores.items()] + [""]
    lines += ["| id | class | colour |", "| --- | --- | --- |"]
    for number, (name, colour) in enumerate(zip(facts.space.classes, facts.space.palette, strict=True)):
        lines.append(f"| {number} | {_cell(name)} | {' '.join(map(str, colour))} |")
    if facts.space.dont_care is not None:
        lines.append(f"| {facts.space.dont_care} | (don't care) | |")
    header = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{header}---\n\n" + "\n".join(lines) + "\n"


def croissant(facts: Facts) -> dict[str, Any]:
    """Croissant 1.0 as JSON-LD: the files with their checksums, and a record set with a field for each column."""
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "encodingFormat": "application/json" if name == MANIFEST else "application/x-parquet",
            "sha256": sha256,
        }
        for name, sha256 in facts.files
    ]
    fields = []
    for name, kind in facts.columns.items():
        extract: dict[str, Any] = {"column": name}
        source: dict[str, Any] = {"fileSet": {"@id": "parts"}, "extract": extract}
        if kind == "image":
            source["transform"] = {"jsonPath": "bytes"}
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"pictures/{name}",
                "dataType": _CROISSANT_TYPES.get(kind, "sc:Text"),
                "source": source,
            }
        )
    parts = {
        "@type": "cr:FileSet",
        "@id": "parts",
        "name": "parts",
        "encodingFormat": "application/x-parquet",
        "includes": list(facts.patterns),
    }
    about = ", ".join(f"{key} {_cell(value)}" for key, value in facts.made.items())
    classes = "; ".join(f"{number} {name}" for number, name in enumerate(facts.space.classes))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.name,
        "description": f"{facts.pictures} pictures with label maps. Made by: {about}. Label ids: {classes}.",
        "license": facts.license,
        "version": "1.0.0",
        "distribution": [*objects, parts],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "pictures", "name": "pictures", "field": fields}],
    }


_CROISSANT_TYPES = {"image": "sc:ImageObject", "string": "sc:Text", "int32": "sc:Integer", "int64": "sc:Integer"}

_JSON = ("data", "examples")
_CROISSANT_WORDS = (
    *("citeAs", "column", "data", "dataType", "equivalentProperty", "examples", "extract", "field", "fileObject"),
    *(
        "fileProperty",
        "fileSet",
        "format",
        "includes",
        "isLiveDataset",
        "jsonPath",
        "key",
        "md5",
        "parentField",
        "path",
    ),
    *("recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
    "transform",
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{word: f"cr:{word}" for word in _CROISSANT_WORDS},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{word: {"@id": f"cr:{word}", "@type": "@json"} for word in _JSON},
}
"""The context that the specification gives, whole, as validators compare it."""


def _known_parts(folder: Folder) -> dict[str, tuple[int, str]]:
    """Rows and checksum of each part in the manifest of a job or a filter: large sets are not read once more."""
    try:
        parts = read_json(folder.read(MANIFEST) or b"{}")["parts"]
        return {part["name"]: (int(part["rows"]), part["sha256"]) for part in parts if part["rows"]}
    except (ValueError, KeyError, TypeError):
        return {}


def _type(kind: pa.DataType) -> str:
    return "image" if holds_pictures(kind) else str(kind)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _scores(dataset: ParquetDataset, report: Path) -> dict[str, float]:
    """The scores of these pictures in a report, by their names with the protocol's."""
    path = report / "report.json" if report.is_dir() else report
    ours = {file.fingerprint for file in dataset.files}
    try:
        sets = read_json(path.read_bytes())["sets"]
        of_ours = [
            entry for entry in sets if ours and ours <= {file["footer_sha256"] for file in entry["source"]["files"]}
        ]
        found = {
            f"{text} ({protocol})": float(scores[key])
            for entry in of_ours[:1]
            for protocol, scores in entry["labels"].items()
            for key, text in _SCORES.items()
            if scores.get(key) is not None
        }
        distance = (of_ours[0].get("segmenter") or {}).get("frechet") if of_ours else None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give what evaluate wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is no report of evaluate") from None
    if not of_ours:
        raise InputError(f"{path} has the scores of other pictures than those in {dataset.location}")
    return found | ({} if distance is None else {"Fréchet distance on the segmenter's features": float(distance)})
