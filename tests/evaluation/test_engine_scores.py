"""Engines whose scores are not those of float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import evaluation.engine_scores as module
from evaluation.engine_scores import ScorePair, check_engine, score_pairs
from pipeline.engines.compile import compile_generator
from pipeline.engines.manifest import Manifest, unusable
from pipeline.errors import InputError
from tests.pipeline.synthesis import cases


def scores(mean_iou: float, frechet: float, *, intervals: bool = True) -> SimpleNamespace:
    within = {"mean_iou": (0.4, 0.6)} if intervals else {}
    features = SimpleNamespace(intervals={"frechet": (1.0, 3.0)} if intervals else {})
    labels = SimpleNamespace(mean_iou=mean_iou, intervals=within)
    return SimpleNamespace(labels={"native": labels}, segmenter=features, segmenter_frechet=frechet)


def test_a_score_moves_when_it_leaves_the_exact_ones_interval() -> None:
    assert not ScorePair("mean IoU", 0.41, 0.5, (0.4, 0.6)).moved
    assert ScorePair("mean IoU", 0.39, 0.5, (0.4, 0.6)).moved
    assert str(ScorePair("mean IoU", 0.39, 0.5, (0.4, 0.6))) == "mean IoU 0.39, float32 0.5 (0.4 to 0.6)"
    same, far = score_pairs(scores(0.45, 3.5), scores(0.5, 2.0), "native")
    assert (same.name, same.moved, far.name, far.moved) == ("mean IoU", False, "Frechet distance", True)
    assert score_pairs(scores(0.45, 3.5), scores(0.5, 2.0, intervals=False), "native") == []


def test_an_engine_is_rejected_for_its_scores_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = cases.write_checkpoint(tmp_path / "run")
    maps = cases.write_maps(tmp_path / "maps.parquet", 2)
    drawn: list[dict] = []
    monkeypatch.setattr(module, "synthesize", lambda *_, **options: drawn.append(options))
    found = SimpleNamespace(main_protocol=SimpleNamespace(name="native"))
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: found)
    options = {"backend": "eager", "precision": "fp32", "source": maps, "maps": 1}
    folder, manifest = compile_generator(checkpoint, tmp_path / "engines", **options)

    found.sets = (scores(0.45, 2.5), scores(0.5, 2.0), None)
    kept = check_engine(folder, manifest, checkpoint, str(maps))
    assert kept == Manifest.read(folder) and unusable(kept) is None
    assert kept.scores == ("mean IoU 0.45, float32 0.5 (0.4 to 0.6)", "Frechet distance 2.5, float32 2 (1 to 3)")
    assert [options.get("engine") for options in drawn] == [folder, None]
    # As in the parity check: `compile` has no option that would let such label maps through.
    assert {options["own_pictures"] for options in drawn} == {"exclude"}

    found.sets = (scores(0.45, 3.5), scores(0.5, 2.0), None)
    told = r"is rejected: its scores are not float32's: Frechet distance 3.5, float32 2.*; take another --backend"
    with pytest.raises(InputError, match=told):
        check_engine(folder, manifest, checkpoint, str(maps))
    assert "its scores are not float32's" in (unusable(Manifest.read(folder)) or "")
    with pytest.raises(InputError, match="no engine is within tolerance"):
        compile_generator(checkpoint, tmp_path / "engines", **options)

    found.sets = (scores(0.45, 3.5), scores(0.5, 2.0, intervals=False), None)
    with pytest.raises(InputError, match="too few label maps"):
        check_engine(folder, manifest, checkpoint, str(maps))

    # Float32 draws in the recipe's size, whose scores say nothing about those of another.
    recipe = manifest.spec.recipe
    data = {**recipe["data"], "height": 2 * recipe["data"]["height"]}
    larger = replace(manifest, spec=replace(manifest.spec, recipe={**recipe, "data": data}))
    with pytest.raises(InputError, match=r"whose scores are others; leave out --reference, or --size"):
        check_engine(folder, larger, checkpoint, str(maps))
