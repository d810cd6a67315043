"""Synthesized pictures scored against the label maps that they were made of, beside the real photographs."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.inputs import PHOTOGRAPHS, Inputs, open_inputs
from evaluation.metrics.feature_metrics import FeatureScores
from evaluation.report.curves import unstable_warnings
from evaluation.report.examples import Illustrations, illustrate
from evaluation.report.render import write_report
from evaluation.report.tables import distance_titles
from evaluation.report.texture import worst_regions
from evaluation.scoring.distributed import ScorerPool, ScorerSpec
from evaluation.scoring.image_results import FILE_NAME as IMAGE_RESULTS
from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.image_scores import FILE_NAME as PICTURE_SCORES
from evaluation.scoring.image_scores import PICTURES, picture_scores, write_table
from evaluation.scoring.independence import REMEDY, SENTENCES, Independence, independence, judge_sha256
from evaluation.scoring.picture_sets import PictureSet, Selection
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scores import Diversity, LabelScores, Role, Scores, SetScores
from evaluation.scoring.textures import FILE_NAME as TEXTURE
from evaluation.scoring.textures import TextureScores, texture_rows, to_csv
from pipeline.data.atomic import write_atomic
from pipeline.data.storage import base_name
from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import sha256_of
from pipeline.runtime.device import default_device
from pipeline.runtime.progress import ProgressBar

log = logging.getLogger(__name__)

FEW_PICTURES = 2048
"""Below as many pictures as Inception has features, FID is biased upwards."""


@dataclass(frozen=True)
class _Scored:
    """A set and what was found out about it."""

    name: str
    role: Role
    pictures: PictureSet
    results: ImageResults


def evaluate(
    images: str | Path,
    reference: str | Path,
    out: Path,
    *,
    segmenter: str = "deeplab",
    segmenter_weights: Path | None = None,
    baselines: Mapping[str, str | Path] | None = None,
    inception_weights: Path | None = None,
    lpips_weights: Path | None = None,
    features: Mapping[str, Path] | None = None,
    fid_reference: str | Path | None = None,
    protocols: Sequence[str | Protocol] = ("native",),
    workers: int = 0,
    batch_size: int = 16,
    threads: int | None = None,
    cache: Path | None = None,
    device: str | None = None,
    examples: int = 8,
    title: str | None = None,
    marks: Sequence[str | Path] = (),
) -> Scores:
    """Score the pictures in `images` and write `report.json`, `report.md`, `report.html`, its tables, `scores.parquet`,
    `pictures.parquet`, `texture.csv` and `judgements.npz` to the folder `out`.

    `images` and each of `baselines` is what `synthesize` wrote, `reference` a data set with photographs, each local
    or at a URI; they are paired by id, and must be of the same label maps there, perhaps resized. Every set is
    scored by its own label maps; the photographs, resized to the synthesized pictures' size, give the ceiling.
    Weights that are not given are those of `weights fetch`. `features` are more networks on which to measure
    distances, each a file or folder that `FeatureNetwork.load` takes, by names of their own. `marks` are Parquet
    files of pictures that people marked (`pipeline.data.marks`), of any weights, which the report counts and shows.
    `workers` actors do the work (0 or 1: this process, without Ray).

    Results are kept in the folder `cache` by the content of what was scored, and used again. Without one they are
    kept beside `out` until the report is written, so that an evaluation that was stopped resumes.

    Raises `InputError` before any work where files are missing or unreadable, classes or the label maps of pairs
    differ, or nothing pairs.
    """
    given = open_inputs(
        images,
        reference,
        baselines=baselines or {},
        fid_reference=fid_reference,
        protocols=protocols,
        segmenter=segmenter,
        segmenter_weights=segmenter_weights,
        inception_weights=inception_weights,
        lpips_weights=lpips_weights,
        features=features or {},
        marks=marks,
    )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the report")
    if cache is not None and cache.exists() and not cache.is_dir():
        raise InputError(f"{cache} is a file; name a folder for image results")
    out = out.resolve()
    unfinished = out.with_name(f".{out.name}.unfinished")
    order = ScorerSpec(
        segmenter=segmenter,
        weights=given.weights,
        weights_sha256=given.segmenter.sha256,
        space=given.synthesized.space,
        protocols=given.protocols,
        inception=given.inception,
        inception_sha256=None if given.inception is None else sha256_of(given.inception),
        lpips=given.lpips,
        lpips_sha256=None if given.lpips is None else sha256_of(given.lpips),
        networks=given.networks,
        batch_size=batch_size,
        device=device or default_device(),
        threads=threads,
        cache=unfinished if cache is None else cache,
    )
    scored, fid_results = _score_all(order, given, workers=workers)
    generated, real = scored[0].results, scored[-1].results
    judge = judge_sha256(segmenter, given.weights)
    independent = {item.name: independence(_source(item.pictures)["made"], judge) for item in scored[:-1]}
    scores = Scores(
        title=title or _title(given.synthesized, reference),
        classes=given.segmenter.classes,
        palette=given.palette,
        protocols=given.protocols,
        sets=tuple(
            # Distances and intervals of thousands of pictures take their time too.
            _score(item, real, fid_results or real, given)
            for item in ProgressBar(scored, desc="scores", unit="set")
        ),
        settings=_settings(order, given, reference, fid_reference),
        independence=independent,
        unpaired=given.unpaired,
        warnings=_warnings(given, scored, independent),
    )
    scores = replace(scores, warnings=(*scores.warnings, *unstable_warnings(scores, distance_titles(scores))))
    for line in scores.warnings:
        log.warning("%s", line)
    table = picture_scores(generated, real, given.protocols[0], given.segmenter.classes)
    shown = Illustrations()
    if examples or given.marks:
        scorer = replace(order, inception=None, lpips=None, networks=()).build()
    if given.marks:
        checkpoint = scores.synthesized.source["made"].get("checkpoint")
        counted, marked = given.marks.score(scorer, checkpoint=checkpoint, count=examples)
        scores, shown = replace(scores, marks=counted), replace(shown, marked=marked)
    if examples:
        sizes = _same_sizes(generated, given.ids)
        chosen = illustrate(
            scorer,
            given.synthesized,
            given.photographs,
            generated,
            table,
            count=examples,
            photographs_as=sizes,
            palette=given.palette,
        )
        textures = (scores.synthesized.texture, scores.ceiling.texture)
        regions = worst_regions(
            scorer, given.synthesized, given.photographs, (generated, real), textures, photographs_as=sizes
        )
        shown = replace(chosen, regions=tuple(regions), marked=shown.marked)
    write_report(out, scores, shown)
    write_atomic(out / TEXTURE, to_csv(texture_rows((part.name, part.texture) for part in scores.sets)))
    fingerprints = json.dumps([file.fingerprint for file in given.synthesized.plan.files])
    write_table(out / PICTURE_SCORES, table.replace_schema_metadata({PICTURES: fingerprints}))
    replace(
        generated,
        label_marks=np.array([given.pairs.marks[name] for name in generated.ids.tolist()]),
        reference_marks=np.array([given.pairs.reference_marks[name] for name in generated.ids.tolist()]),
    ).save(out / IMAGE_RESULTS)
    shutil.rmtree(unfinished, ignore_errors=True)
    return scores


def _score_all(order: ScorerSpec, given: Inputs, *, workers: int) -> tuple[list[_Scored], ImageResults | None]:
    """The synthesized pictures, the baselines, and the photographs at the synthesized pictures' size; and the other
    photographs from which distances are measured, where there are any."""
    fid_results = None
    with ScorerPool(order, workers=workers) as scorers:
        generated = scorers.score(given.synthesized, Selection(given.ids), what="synthesized")
        scored = [_Scored("synthesized", "synthesized", given.synthesized, generated)]
        for name, pictures in given.baselines.items():
            found = scorers.score(pictures, Selection(given.ids & pictures.ids), what=name)
            scored.append(_Scored(name, "baseline", pictures, found))
        real = scorers.score(given.photographs, _same_sizes(generated, given.ids), what=PHOTOGRAPHS)
        if given.fid_photographs is not None:
            size, _ = _sizes(generated).most_common(1)[0]
            fid_results = scorers.score(given.fid_photographs, Selection(size=size), what="FID reference")
    return [*scored, _Scored(PHOTOGRAPHS, "photographs", given.photographs, real)], fid_results


def _sizes(generated: ImageResults) -> Counter[tuple[int, int]]:
    """How many pictures have which height and width."""
    return Counter((int(height), int(width)) for height, width in generated.sizes)


def _same_sizes(generated: ImageResults, ids: frozenset[str]) -> Selection:
    """The photographs of `ids`, each at the size of the picture synthesized for it."""
    distinct = _sizes(generated)
    if len(distinct) == 1:
        return Selection(ids, size=next(iter(distinct)))
    by_id = {str(name): (int(size[0]), int(size[1])) for name, size in zip(generated.ids, generated.sizes, strict=True)}
    return Selection(ids, sizes=by_id)


def _score(item: _Scored, real: ImageResults, fid_results: ImageResults, given: Inputs) -> SetScores:
    """`fid_results` are the photographs of protocols that measure distances from a training set."""
    generated = item.results

    def references(protocol: Protocol) -> ImageResults:
        return fid_results if protocol.fid_reference == "training" else real

    compared = item.role != "photographs" and len(generated) >= 2
    nearest = references(given.protocols[0])
    segmenter = None
    if compared and len(nearest) > 1:
        segmenter = FeatureScores.of(generated.features, nearest.features, generated.ids, photographs=nearest.ids)
    inception: dict[str, FeatureScores] = {}
    computed: dict[tuple[str, str], FeatureScores] = {}
    for protocol in given.protocols:
        key, photographs = protocol.fid_features, references(protocol)
        if compared and len(photographs) > 1 and key in generated.inception:
            alike = (key, protocol.fid_reference)
            if alike not in computed:
                computed[alike] = FeatureScores.of(
                    generated.inception[key],
                    photographs.inception[key],
                    generated.ids,
                    replicates=20,
                    photographs=photographs.ids,
                )
            inception[protocol.name] = computed[alike]
    networks = {
        name: FeatureScores.of(
            generated.networks[name],
            nearest.networks[name],
            generated.ids,
            replicates=20,
            clip=kind.clip,
            photographs=nearest.ids,
        )
        for name, kind in given.kinds.items()
        if compared and len(nearest) > 1
    }
    return SetScores(
        name=item.name,
        role=item.role,
        pictures=len(generated),
        label_maps=len(set(generated.ids.tolist())),
        labels={
            protocol.name: LabelScores.of(generated, real, given.segmenter.classes, protocol)
            for protocol in given.protocols
        },
        segmenter=segmenter,
        inception=inception,
        networks=networks,
        lpips=Diversity.of(generated),
        texture=TextureScores.of(generated, real, given.synthesized.space.classes),
        source=_source(item.pictures),
    )


def _source(pictures: PictureSet) -> dict[str, Any]:
    """Where a set came from, as its files say."""
    preprocessing = pictures.info.preprocessing
    files = [{"name": file.name, "rows": file.rows, "footer_sha256": file.fingerprint} for file in pictures.plan.files]
    return {"path": pictures.location, "files": files, "made": preprocessing.get("synthesis", preprocessing)}


def _title(pictures: PictureSet, reference: str | Path) -> str:
    recipe = _source(pictures)["made"].get("recipe")
    what = f"{recipe.capitalize()}: synthesized pictures" if recipe else base_name(pictures.location)
    return f"{what} against {'real photographs' if recipe else base_name(reference)}"


def _settings(order: ScorerSpec, given: Inputs, reference: object, fid_reference: object) -> dict[str, Any]:
    network = given.segmenter
    return {
        "segmenter": {"name": order.segmenter, "weights_sha256": order.weights_sha256, **network.describe()},
        "segmenter_frechet": f"Fréchet distance on {network.feature_name}; not FID",
        "inception_sha256": order.inception_sha256,
        "lpips": given.lpips_title,
        "lpips_sha256": order.lpips_sha256,
        "features": {
            part.name: {
                "title": given.kinds[part.name].title,
                "network": given.kinds[part.name].description,
                "sha256": part.sha256,
            }
            for part in order.networks
        },
        "photographs": f"those of {reference}, resized (Lanczos) to the size of the synthesized pictures",
        "fid_reference": None if fid_reference is None else str(fid_reference),
        "batch_size": order.batch_size,
        "device": order.device,
        "data_classes": list(given.synthesized.space.classes),
    }


def _warnings(given: Inputs, scored: Sequence[_Scored], independent: Mapping[str, Independence]) -> tuple[str, ...]:
    found = [
        f"{name}: {SENTENCES[verdict]}; {REMEDY}"
        for name, verdict in independent.items()
        if verdict == "not independent"
    ]
    found += [
        f"{len(names)} {what} have no partner and were left out: {', '.join(names[:5])}{', ...' if names[5:] else ''}"
        for what, names in given.unpaired.items()
        if names
    ]
    found += given.pairs.warnings
    sizes = _sizes(scored[0].results)
    for item in scored[1:-1]:
        others = _sizes(item.results)
        if others.keys() != sizes.keys():
            found.append(f"{item.name} has pictures of {_named(others)}, the synthesized ones are of {_named(sizes)}")
    count = min(len(item.results) for item in scored)
    if count < 2:
        found.append(f"distances between sets take two pictures or more; there is {count}")
    elif given.inception is not None and count < FEW_PICTURES:
        found.append(f"FID of {count} pictures is biased upwards; compare it only with FIDs of as many")
    return tuple(found)


def _named(sizes: Counter[tuple[int, int]]) -> str:
    return ", ".join(f"{width}x{height}" for (height, width), _ in sizes.most_common(3))
