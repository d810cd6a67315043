"""Synthesized pictures judged against the label maps that they were made of, beside the real photographs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.feature_scores import FeatureScores
from evaluation.illustrations import Illustrations, illustrate
from evaluation.intervals import bootstrap_scores
from evaluation.judge_shards import JudgeOrder, Judges
from evaluation.judgements import Judgements
from evaluation.picture_scores import FILE_NAME as PICTURE_SCORES
from evaluation.picture_scores import picture_scores, write_table
from evaluation.picture_sets import PictureSet, Selection
from evaluation.protocols import Protocol, find_protocol
from evaluation.report import write_report
from evaluation.scores import LabelScores, Role, Scores, SetScores
from evaluation.segmenters import KINDS, load_segmenter
from evaluation.segmenters.base import Segmenter
from evaluation.state_dicts import sha256_of
from evaluation.weights import FILES, find_weights
from pipeline.errors import InputError
from pipeline.labels import distinct_colours

log = logging.getLogger(__name__)

PHOTOGRAPHS = "real photographs"

JUDGEMENTS = "judgements.npz"
"""What is known about every single picture, beside the report: `compare` reads it."""

MAPPED_CLASSES = {"cityscapes_train_ids": (35, 19), "ade20k_shift": (151, 150), "coco_stuff": (182, 182)}
"""Of each label mapping: the most classes of the data and the classes of the segmenter."""

INCEPTIONS = tuple(part.name for part in FILES if part.name.startswith("inception"))
"""Names of fetched files that `inception_weights` takes in place of a path."""

FEW_PICTURES = 2048
"""Below as many pictures as Inception has features, FID is biased upwards."""


@dataclass(frozen=True)
class _Judged:
    """A set and what was found out about it."""

    name: str
    role: Role
    pictures: PictureSet
    judgements: Judgements


def evaluate(
    images: Path,
    reference: Path,
    out: Path,
    *,
    segmenter: str = "deeplab",
    segmenter_weights: Path | None = None,
    baselines: Mapping[str, Path] | None = None,
    inception_weights: Path | None = None,
    protocols: Sequence[str | Protocol] = ("native",),
    workers: int = 0,
    batch_size: int = 16,
    threads: int | None = None,
    cache: Path | None = None,
    device: str | None = None,
    examples: int = 8,
    title: str | None = None,
) -> Scores:
    """Score the pictures in `images` and write `report.json`, `report.md`, `report.html`, `scores.parquet` and
    `judgements.npz` to the folder `out`.

    `images` and each of `baselines` is what `synthesize` wrote, `reference` a data set with photographs; they are
    paired by id. Every set is judged by its own label maps; the photographs, resized to the synthesized pictures' size,
    give the ceiling. Weights that are not given are those of `weights fetch`. `workers` actors do the work (0 or 1:
    this process, without Ray).

    Raises `InputError` before any work where files are missing or unreadable, classes differ, or nothing pairs.
    """
    device = device or _default_device()
    chosen = tuple(find_protocol(name) if isinstance(name, str) else name for name in protocols)
    if len({protocol.name for protocol in chosen}) != len(chosen) or not chosen:
        raise InputError("give one protocol or more, each once")
    synthesized = PictureSet.open(images, what="the folder of synthesized pictures")
    photographs = PictureSet.open(reference, what="the reference data set")
    named = {name: PictureSet.open(path, what=f"the baseline '{name}'") for name, path in (baselines or {}).items()}
    for other in (photographs, *named.values()):
        _refuse_other_classes(synthesized, other)
    segmenter_weights = segmenter_weights or _fetched(segmenter)
    if inception_weights is not None and str(inception_weights) in INCEPTIONS:
        inception_weights = find_weights(str(inception_weights))
    network = load_segmenter(segmenter, segmenter_weights)
    for protocol in chosen:
        _refuse_unfit_segmenter(synthesized, network, protocol, segmenter_weights)
    unpaired, ids = _pair(synthesized, photographs)
    order = JudgeOrder(
        segmenter=segmenter,
        weights=segmenter_weights,
        weights_sha256=network.sha256,
        space=synthesized.space,
        protocols=chosen,
        inception=inception_weights,
        inception_sha256=None if inception_weights is None else _hash(inception_weights),
        batch_size=batch_size,
        device=device,
        threads=threads,
        cache=cache,
    )

    judged = _judge_all(order, synthesized, named, photographs, ids, workers=workers)
    scores = Scores(
        title=title or _title(synthesized, reference),
        classes=network.classes,
        palette=_palette(synthesized, network, chosen[0]),
        protocols=chosen,
        sets=tuple(_score(item, judged[-1], network.classes, chosen) for item in judged),
        settings=_settings(order, network, reference, synthesized),
        unpaired=unpaired,
        warnings=_warnings(unpaired, judged, inception_weights),
    )
    shown = Illustrations()
    if examples:
        made = judged[0].judgements
        shown = illustrate(
            replace(order, inception=None).build(),
            synthesized,
            photographs,
            made,
            count=examples,
            photographs_as=_same_sizes(made, ids),
        )
    write_report(out, scores, shown)
    table = picture_scores(judged[0].judgements, judged[-1].judgements, chosen[0], network.classes)
    write_table(out / PICTURE_SCORES, table)
    judged[0].judgements.save(out / JUDGEMENTS)
    return scores


def _judge_all(
    order: JudgeOrder,
    synthesized: PictureSet,
    baselines: Mapping[str, PictureSet],
    photographs: PictureSet,
    ids: frozenset[str],
    *,
    workers: int,
) -> list[_Judged]:
    """The synthesized pictures, the baselines, and the photographs at the synthesized pictures' size."""
    selections = {name: ids & {key for key, _ in pictures.keys} for name, pictures in baselines.items()}
    for name, common in selections.items():
        if not common:
            raise InputError(
                f"baseline '{name}' has no picture of the ids in {synthesized.path}; synthesize the same maps"
            )
    with Judges(order, workers=workers) as judges:
        made = judges.judge(synthesized, Selection(ids), what="synthesized")
        judged = [_Judged("synthesized", "synthesized", synthesized, made)]
        for name, pictures in baselines.items():
            found = judges.judge(pictures, Selection(selections[name]), what=name)
            judged.append(_Judged(name, "baseline", pictures, found))
        real = judges.judge(photographs, _same_sizes(made, ids), what=PHOTOGRAPHS)
    return [*judged, _Judged(PHOTOGRAPHS, "photographs", photographs, real)]


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _fetched(segmenter: str) -> Path:
    """The fetched weights of a public segmenter."""
    if segmenter == "deeplab":
        raise InputError("segmenter 'deeplab' needs --segmenter-weights: the run directory of train-segmenter")
    if segmenter.startswith("hf:"):
        return Path(segmenter.removeprefix("hf:"))
    if segmenter not in KINDS:
        raise InputError(f"there is no segmenter '{segmenter}'; choose from {', '.join(KINDS)}, hf:PATH")
    return find_weights(segmenter)


def _hash(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"Inception weights {path} do not exist")
    return sha256_of(path)


def _refuse_other_classes(one: PictureSet, other: PictureSet) -> None:
    ours, theirs = one.space.classes, other.space.classes
    if ours == theirs and one.space.dont_care == other.space.dont_care:
        return
    if len(ours) != len(theirs):
        difference = f"{len(ours)} classes there, {len(theirs)} here"
    elif ours != theirs:
        index = next(index for index, name in enumerate(ours) if name != theirs[index])
        difference = f"class {index} is '{ours[index]}' there, '{theirs[index]}' here"
    else:
        difference = f"don't-care is {one.space.dont_care} there, {other.space.dont_care} here"
    raise InputError(f"{other.path} is of other classes than {one.path}: {difference}; both must be of one data set")


def _refuse_unfit_segmenter(pictures: PictureSet, network: Segmenter, protocol: Protocol, weights: Path) -> None:
    ours, theirs = pictures.space.classes, network.classes
    if protocol.label_mapping == "same":
        if ours != theirs:
            raise InputError(
                f"segmenter {weights} knows {len(theirs)} classes ({', '.join(theirs[:3])}, ...), the pictures have "
                f"{len(ours)} ({', '.join(ours[:3])}, ...); train one on the same data set, or name a label mapping"
            )
        return
    most, classes = MAPPED_CLASSES[protocol.label_mapping]
    if len(ours) > most or len(theirs) != classes:
        raise InputError(
            f"label mapping '{protocol.label_mapping}' takes up to {most} classes to a segmenter of {classes}; "
            f"the pictures have {len(ours)}, segmenter {weights} {len(theirs)}"
        )


def _palette(pictures: PictureSet, network: Segmenter, protocol: Protocol) -> tuple[tuple[int, int, int], ...]:
    """A colour for each of the segmenter's classes."""
    if protocol.label_mapping == "same":
        return pictures.space.palette
    return tuple(distinct_colours(len(network.classes)))


def _pair(synthesized: PictureSet, photographs: PictureSet) -> tuple[dict[str, list[str]], frozenset[str]]:
    """The ids without partner, by set, and those with one."""
    made, real = ({name for name, _ in pictures.keys} for pictures in (synthesized, photographs))
    paired = frozenset(made & real)
    if not paired:
        raise InputError(
            f"no picture in {synthesized.path} has the id of a photograph in {photographs.path} "
            f"(for example '{min(made)}' and '{min(real)}'); give the data set whose label maps were synthesized"
        )
    return {"synthesized": sorted(made - real), PHOTOGRAPHS: sorted(real - made)}, paired


def _same_sizes(made: Judgements, ids: frozenset[str]) -> Selection:
    """The photographs of `ids`, each at the size of the picture synthesized for it."""
    distinct = {(int(height), int(width)) for height, width in made.sizes}
    if len(distinct) == 1:
        return Selection(ids, size=distinct.pop())
    by_id = {str(name): (int(size[0]), int(size[1])) for name, size in zip(made.ids, made.sizes, strict=True)}
    return Selection(ids, sizes=by_id)


def _score(item: _Judged, real: _Judged, classes: tuple[str, ...], protocols: Sequence[Protocol]) -> SetScores:
    made, photographs = item.judgements, real.judgements
    compared = item is not real and min(len(made), len(photographs)) >= 2
    return SetScores(
        name=item.name,
        role=item.role,
        pictures=len(made),
        label_maps=len(set(made.ids.tolist())),
        labels={
            protocol.name: LabelScores.of(
                made.confusions[protocol.name].total(),
                made.boundaries[protocol.name].sum(0, dtype=np.int64),
                classes,
                protocol,
            )
            for protocol in protocols
        },
        segmenter=FeatureScores.of(made.features, photographs.features, made.ids) if compared else None,
        inception=FeatureScores.of(made.inception, photographs.inception, made.ids, replicates=20)
        if compared and made.inception is not None and photographs.inception is not None
        else None,
        intervals=bootstrap_scores(made, protocols[0]),
        source=_source(item.pictures),
    )


def _source(pictures: PictureSet) -> dict[str, Any]:
    """Where a set came from, as its files say."""
    assert pictures.plan.info is not None
    preprocessing = pictures.plan.info.preprocessing
    files = [{"name": file.name, "rows": file.rows, "footer_sha256": file.fingerprint} for file in pictures.plan.files]
    return {"path": str(pictures.path), "files": files, "made": preprocessing.get("synthesis", preprocessing)}


def _title(pictures: PictureSet, reference: Path) -> str:
    recipe = _source(pictures)["made"].get("recipe")
    made = f"{recipe.capitalize()}: synthesized pictures" if recipe else str(pictures.path.name)
    return f"{made} against {'real photographs' if recipe else reference.name}"


def _settings(order: JudgeOrder, network: Segmenter, reference: Path, pictures: PictureSet) -> dict[str, Any]:
    return {
        "segmenter": {"name": order.segmenter, "weights_sha256": order.weights_sha256, **network.describe()},
        "segmenter_frechet": f"Fréchet distance on {network.feature_name}; not FID",
        "inception_sha256": order.inception_sha256,
        "photographs": f"those of {reference}, resized (Lanczos) to the size of the synthesized pictures",
        "batch_size": order.batch_size,
        "device": order.device,
        "data_classes": list(pictures.space.classes),
    }


def _warnings(unpaired: dict[str, list[str]], judged: Sequence[_Judged], inception: Path | None) -> tuple[str, ...]:
    found = [
        f"{len(names)} {what} have no partner and were left out: {', '.join(names[:5])}{', ...' if names[5:] else ''}"
        for what, names in unpaired.items()
        if names
    ]
    count = min(len(item.judgements) for item in judged)
    if inception is not None and count < FEW_PICTURES:
        found.append(f"FID of {count} pictures is biased upwards; compare it only with FIDs of as many")
    for line in found:
        log.warning("%s", line)
    return tuple(found)
