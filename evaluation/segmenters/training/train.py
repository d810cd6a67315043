"""Training the segmenter that scores pictures: on the real photographs of a recipe's data, resumable, deterministic."""

from __future__ import annotations

import json
import logging
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.segmenters.base import Segmenter, TrainableSegmenter, class_map
from evaluation.segmenters.deeplab import FILE_NAME, DeepLab, DeepLabSettings, load_deeplab, save_deeplab
from evaluation.segmenters.training.augment import augment
from evaluation.segmenters.training.photographs import VOID, Photographs, load_photographs
from pipeline.config import Recipe
from pipeline.data.atomic import atomic_path
from pipeline.data.parquet import ParquetDataset
from pipeline.data.storage import first_line
from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import sha256_of
from pipeline.runtime.device import default_device
from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.stop_signals import stop_signals

log = logging.getLogger(__name__)

STATE_NAME = "training.pt"
"""What an interrupted training continues from; gone once it is done."""
SAVE_EVERY = 250
"""Steps between such states."""
WARM_UP = 0.05
"""The share of the steps over which the learning rate rises."""
WEIGHT_DECAY = 1e-2
BATCH_NORM_MOMENTUM = 0.1
WEIGHT_RANGE = (0.25, 4.0)
"""Of the weights of classes in the loss."""


def train_segmenter(
    recipe: Recipe,
    out: Path,
    *,
    weights: Path | None = None,
    device: torch.device | str | None = None,
) -> DeepLab:
    """Train DeepLabV3 on `recipe.data.train`, score it on `recipe.data.validation`, write `out/segmenter.safetensors`.

    `weights` is a local file of pretrained weights to start from. The same call continues an interrupted training,
    to the same result bit for bit on a CPU, and returns the segmenter of a finished one. Raises `InputError` for bad
    data or weights, and where `out` holds a training of other settings.
    """
    device = torch.device(device or default_device())
    plan = _plan(recipe, weights)
    if (done := _finished(out, plan)) is not None:
        log.info("%s is trained already", out / FILE_NAME)
        return done.to(device)
    state = find_state(out, plan)
    out.mkdir(parents=True, exist_ok=True)
    training = load_photographs(recipe.data.train, recipe, scratch=out, what="photographs")
    validation = load_photographs(recipe.data.validation, recipe, scratch=out, what="validation")
    segmenter = new_deeplab(recipe, weights)
    fit(segmenter.to(device), training, recipe, out=out, plan=plan, state=state)

    matrix = score_photographs(segmenter.eval(), validation, batch_size=recipe.segmenter.batch_size)
    scores = {
        "photographs": len(training),
        "validation_photographs": len(validation),
        "validation_mean_iou": matrix.mean_iou(),
        "validation_accuracy": matrix.accuracy(),
        "validation_class_iou": dict(zip(recipe.labels.classes, _finite(matrix.class_iou()), strict=True)),
    }
    segmenter.settings = segmenter.settings.model_copy(update={"training": {**plan, **scores}})
    save_deeplab(out / FILE_NAME, segmenter)
    (out / STATE_NAME).unlink(missing_ok=True)
    segmenter.sha256 = sha256_of(out / FILE_NAME)
    return segmenter


def new_deeplab(recipe: Recipe, weights: Path | None) -> DeepLab:
    """A network for the recipe's classes and size, initialised by the recipe's seed, or in part from `weights`."""
    torch.manual_seed(recipe.segmenter.seed)
    segmenter = DeepLab(_settings(recipe))
    if weights is not None:
        log.info("segmenter starts from %s", segmenter.load_pretrained(weights))
    return segmenter


def score_photographs(segmenter: Segmenter, photographs: Photographs, *, batch_size: int) -> ConfusionMatrix:
    """The confusion matrix of a segmenter (in evaluation mode) over photographs, at their size."""
    matrix = ConfusionMatrix(len(segmenter.classes))
    for target, predicted in predict(segmenter, photographs, batch_size=batch_size):
        matrix.update(target, predicted)
    return matrix


def predict(
    segmenter: Segmenter, photographs: Photographs, *, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What a segmenter (in evaluation mode) sees in each photograph, in order: true and predicted classes `[H, W]`."""
    for start in range(0, len(photographs), batch_size):
        images = torch.from_numpy(photographs.images[start : start + batch_size]).to(segmenter.device)
        images = images.permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            predicted = class_map(segmenter(images).scores, *images.shape[-2:])
        yield from zip(photographs.labels[start : start + batch_size], predicted.cpu().numpy(), strict=True)


def fit(
    segmenter: TrainableSegmenter,
    photographs: Photographs,
    recipe: Recipe,
    *,
    out: Path,
    plan: dict[str, Any],
    state: dict[str, Any] | None,
    last_steps: int = 0,
) -> None:
    """Train a segmenter on photographs, on its own device; `state` (of `find_state`) continues an interrupted training.

    States go to `out` every so often, with the `plan` by which they are known again. The `last_steps` see the
    first source and no other; classes weigh as in the mixture all the same.
    """
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            # MobileNet's 0.01 is for days of training: after a few hundred steps its averages still remember the start.
            module.momentum = BATCH_NORM_MOMENTUM
    segmenter.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(segmenter.parameters(), recipe.segmenter.learning_rate, weight_decay=WEIGHT_DECAY)
    start = 0
    if state is not None:
        segmenter.network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        log.info("segmenter resumes at step %d of %d", start, recipe.segmenter.steps)

    def save(step: int) -> None:
        _save_state(out, plan=plan, step=step, network=segmenter.network, optimiser=optimiser)

    settings = recipe.segmenter
    alone_from = settings.steps - last_steps if last_steps else None
    batches = photographs.batches(settings.batch_size, seed=settings.seed, start=start, first_alone_from=alone_from)
    _optimise(segmenter, optimiser, photographs, recipe, batches=batches, start=start, save=save)


def _optimise(
    segmenter: Segmenter,
    optimiser: torch.optim.Optimizer,
    photographs: Photographs,
    recipe: Recipe,
    *,
    batches: Iterator[np.ndarray],
    start: int,
    save: Callable[[int], None],
) -> None:
    """AdamW with a cosine learning rate; `save` is called with the number of steps done, after Ctrl-C too."""
    settings = recipe.segmenter
    weights = class_weights(photographs.class_pixels(len(segmenter.classes))).to(segmenter.device)
    segmenter.train()
    interrupted = stop_signals(signals=[signal.SIGINT], what="state")  # SIGTERM stays as it is: Ray ends workers by it.
    with interrupted as stopped, ProgressBar(total=settings.steps, initial=start, desc="segmenter", unit="step") as bar:
        for step in range(start, settings.steps):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
            loss = _loss(segmenter, photographs, next(batches), weights, seed=settings.seed * 1_000_003 + step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            bar.update()
            if step % 10 == 9:
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            if stopped.is_set():
                save(step + 1)
                raise KeyboardInterrupt
            if step % SAVE_EVERY == SAVE_EVERY - 1 and step + 1 < settings.steps:
                save(step + 1)


def _loss(
    segmenter: Segmenter, photographs: Photographs, batch: np.ndarray, weights: torch.Tensor, *, seed: int
) -> torch.Tensor:
    """Cross entropy over the pixels of known class, on a random view of each picture of the batch."""
    device = segmenter.device
    images = torch.from_numpy(photographs.images[batch]).to(device).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(photographs.labels[batch]).to(device).long()
    # All randomness of a step follows from its number, so an interrupted training continues as if it had not been.
    torch.manual_seed(seed)
    images, labels = augment(images, labels, torch.Generator().manual_seed(seed))
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        scores = segmenter(images).scores
    scores = F.interpolate(scores.float(), size=labels.shape[-2:], mode="bilinear")  # [N, classes, H, W]
    total = F.cross_entropy(scores, labels, weights, ignore_index=VOID, reduction="sum")
    # The weighted mean over known pixels, by hand: it stays finite where a batch has none.
    return total / torch.where(labels == VOID, 0, weights[labels.clamp(min=0)]).sum().clamp(min=1)


def class_weights(pixels: np.ndarray) -> torch.Tensor:
    """float32 `[classes]`: rarer classes weigh more, by the root of their frequency against the median one.

    The root is between no balancing, which gives small classes up, and SegNet's full balancing, which sees them
    everywhere. `pixels` are those of each class, `[classes]`.
    """
    median = np.median(pixels[pixels > 0]) if pixels.any() else 1.0
    weights = np.sqrt(median / np.maximum(pixels, 1))
    return torch.from_numpy(weights.clip(*WEIGHT_RANGE)).float()


def _schedule(step: int, steps: int) -> float:
    """The share of the peak learning rate at a step: a short linear rise, then half a cosine down to 0."""
    rise = max(1.0, WARM_UP * steps)
    return min(1.0, (step + 1) / rise) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _settings(recipe: Recipe) -> DeepLabSettings:
    return DeepLabSettings(
        backbone=recipe.segmenter.backbone,
        labels=recipe.labels,
        height=recipe.data.height,
        width=recipe.data.width,
        trunk=recipe.segmenter.trunk,
        enlarge=recipe.segmenter.enlarge,
    )


def _plan(recipe: Recipe, weights: Path | None) -> dict[str, Any]:
    """What a training depends on, as JSON values: equal plans give equal segmenters."""
    if recipe.segmenter.batch_size < 2:
        raise InputError("segmenter.batch_size is 1; batch normalisation takes 2 or more")
    if weights is not None and not weights.is_file():
        raise InputError(f"weights file {weights} does not exist")
    plan = {
        "recipe": recipe.name,
        **recipe.segmenter.model_dump(mode="json"),
        "size": [recipe.data.height, recipe.data.width],
        "data": _data(recipe),
        "pretrained": None if weights is None else sha256_of(weights),
    }
    return json.loads(json.dumps(plan))


def _data(recipe: Recipe) -> list[Any]:
    """Names and sizes of the files to train on; of each source, where there are several, with what is taken of it."""
    sources = [
        (source, [[file.name, file.size] for file in ParquetDataset.open(source.path).files])
        for source in recipe.data.sources
    ]
    if isinstance(recipe.data.train, str):  # As plans of earlier versions have it.
        return sources[0][1]
    return [{**source.model_dump(exclude={"path"}), "files": files} for source, files in sources]


def _finished(out: Path, plan: dict[str, Any]) -> DeepLab | None:
    """The segmenter in `out`, if there is one; `InputError` if it is of another plan."""
    if not (out / FILE_NAME).is_file():
        return None
    segmenter = load_deeplab(out)
    made = {key: segmenter.settings.training.get(key) for key in plan}
    _refuse_other(made, plan, out)
    return segmenter


def find_state(out: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The state of an unfinished training in `out`, if there is one; `InputError` if it is of another plan."""
    if not (out / STATE_NAME).is_file():
        return None
    try:
        state = torch.load(out / STATE_NAME, map_location="cpu", weights_only=True)
        made, *_ = (state[name] for name in ("plan", "step", "network", "optimiser"))
    except Exception as error:  # noqa: BLE001 - whatever a broken file makes the reader raise, it is the file
        raise InputError(f"{out / STATE_NAME} is damaged ({first_line(error)}); remove it to begin anew") from None
    _refuse_other(made, plan, out)
    return state


def _refuse_other(made: dict[str, Any], plan: dict[str, Any], out: Path) -> None:
    differing = [key for key in plan if made.get(key) != plan[key]]
    if differing:
        key = differing[0]
        raise InputError(
            f"{out} holds a segmenter of other settings ({key} is {made.get(key)} there, {plan[key]} now); "
            "choose another --out, or remove that folder"
        )


def _save_state(
    out: Path, *, plan: dict[str, Any], step: int, network: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    state = {"plan": plan, "step": step, "network": network.state_dict(), "optimiser": optimiser.state_dict()}
    with atomic_path(out / STATE_NAME) as temporary:
        torch.save(state, temporary)


def _finite(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN."""
    return [None if math.isnan(value) else float(value) for value in values]
