"""Whether the network that scores pictures is one that their generator learned by: such a score is not independent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pipeline.pretrained.backbones import backbone_sha256

Independence: TypeAlias = Literal["independent", "not independent", "unknown"]
"""`independent` says that the judge's backbone has other weights than every frozen network that the generator learned
by, or that there was none; `unknown` that the pictures do not say what made them learn."""

SENTENCES: dict[Independence, str] = {
    "independent": "The segmenter's weights are none that the generator learned by.",
    "not independent": (
        "NOT INDEPENDENT: the segmenter's weights are those of a frozen network that the generator learned by, which "
        "it can please without looking real"
    ),
    "unknown": "What the generator learned by is not known, and so not whether the segmenter judges independently.",
}
VERDICTS: tuple[Independence, ...] = ("not independent", "unknown", "independent")
"""The worst first."""
REMEDY = "train the judge apart, with another seed and backbone (train-segmenter)"


def judge_sha256(segmenter: str, weights: Path) -> str | None:
    """Of the backbone of the network that scores; None for kinds that no generator learns by here.

    Raises `InputError` where the file is unreadable.
    """
    return backbone_sha256(weights) if segmenter == "deeplab" else None


def independence(made: Mapping[str, Any], judge: str | None) -> Independence:
    """Of a judge's backbone, and pictures with the metadata that `synthesize` wrote (`made`)."""
    learned_by = made.get("learned_by")
    if not isinstance(learned_by, Mapping):
        return "unknown"
    return "not independent" if judge is not None and judge in learned_by.values() else "independent"
