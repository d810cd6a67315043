"""Whether pictures of an engine score like those of float32, which a parity check of a few pictures cannot say."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.evaluate import evaluate
from evaluation.metrics.feature_metrics import Interval
from evaluation.scoring.scores import SetScores
from pipeline.checkpoints.file import load_checkpoint
from pipeline.engines.cache import reject
from pipeline.engines.manifest import Manifest
from pipeline.errors import InputError
from pipeline.precision import Precision
from pipeline.synthesis.synthesize import synthesize

log = logging.getLogger(__name__)

EXACT = "float32"
"""Name of the set that the engine's is compared with."""
INSTEAD: dict[Precision, str] = {
    "int8": "--precision bf16 or fp32",
    "bf16": "--precision fp32",
    "fp16": "--precision fp32",
    "fp32": "another --backend",
}
"""Of an engine that is rejected, by its precision."""


@dataclass(frozen=True)
class ScorePair:
    """One score of an engine's pictures, beside that of float32 pictures of the same label maps and seeds."""

    name: str
    engine: float
    exact: float
    interval: Interval
    """Of the exact one: 95% over label maps."""

    @property
    def moved(self) -> bool:
        """Whether the engine's is outside."""
        return not self.interval[0] <= self.engine <= self.interval[1]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.name} {self.engine:.4g}, {EXACT} {self.exact:.4g} ({low:.4g} to {high:.4g})"


def check_engine(
    folder: Path,
    manifest: Manifest,
    checkpoint: str | Path,
    reference: str,
    *,
    segmenter: str = "deeplab",
    weights: Path | None = None,
    bank: str | Path | None = None,
) -> Manifest:
    """Draw the label maps of `reference`, a data set with photographs, with the engine and in float32, and score both.
    `bank` is SIMS's, where it is not the recipe's; of each label map's own photograph nothing is pasted.

    Returns the manifest with the scores, which is written too. Raises `InputError`, with the engine rejected for good,
    where the mean IoU or the Frechet distance on the segmenter's features leaves float32's interval; where there are
    too few label maps for intervals; and for an engine of another size than the recipe's, in which float32 draws.
    """
    data, (height, width) = load_checkpoint(checkpoint).recipe.data, manifest.spec.signature.size
    if (height, width) != (data.height, data.width):
        raise InputError(
            f"engine {folder} makes pictures of {width}x{height}, and {EXACT} would of {data.width}x{data.height}, "
            "whose scores are others; leave out --reference, or --size"
        )
    with tempfile.TemporaryDirectory() as temporary:
        engine, exact = Path(temporary, "engine"), Path(temporary, "exact")
        log.info("scoring the engine beside %s on %s", EXACT, reference)
        synthesize(
            reference, checkpoint, engine, engine=folder, bank=bank, own_pictures="exclude", workers=0, quiet=True
        )
        synthesize(
            reference, checkpoint, exact, precision="fp32", bank=bank, own_pictures="exclude", workers=0, quiet=True
        )
        scores = evaluate(
            engine,
            reference,
            Path(temporary, "report"),
            segmenter=segmenter,
            segmenter_weights=weights,
            baselines={EXACT: exact},
            examples=0,
        )
    protocol = scores.main_protocol.name
    pairs = score_pairs(scores.sets[0], scores.sets[1], protocol)
    if not pairs:
        raise InputError(f"{reference} has too few label maps for intervals of scores; give more")
    moved = [pair for pair in pairs if pair.moved]
    manifest = replace(manifest, scores=tuple(map(str, pairs)))
    if moved:
        reason = f"its scores are not {EXACT}'s: {moved[0]}"
        reject(folder, manifest, reason)
        raise InputError(f"engine {folder} is rejected: {reason}; take {INSTEAD[manifest.spec.precision]}")
    manifest.write(folder)
    return manifest


def score_pairs(engine: SetScores, exact: SetScores, protocol: str) -> list[ScorePair]:
    """Mean IoU and Frechet distance of both sets, as far as there are intervals."""
    pairs = []
    labels = engine.labels[protocol].mean_iou, exact.labels[protocol].mean_iou
    features = engine.segmenter_frechet, exact.segmenter_frechet
    distances = {} if exact.segmenter is None else exact.segmenter.intervals
    for name, values, interval in (
        ("mean IoU", labels, exact.labels[protocol].intervals.get("mean_iou")),
        ("Frechet distance", features, distances.get("frechet")),
    ):
        if interval and values[0] is not None and values[1] is not None:
            pairs.append(ScorePair(name, values[0], values[1], interval))
    return pairs
