"""Training a recipe into a run's folder, in this process or on Ray workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.config import Recipe, Source
from pipeline.config.baselines import NOTHING_TO_LEARN_BY, REGRESSION_KINDS
from pipeline.data.fingerprint import fingerprint_data
from pipeline.data.frames import to_table
from pipeline.data.parquet import ParquetDataset
from pipeline.data.records import read_keys
from pipeline.data.sources import open_sources
from pipeline.data.storage import base_name, first_line
from pipeline.errors import InputError
from pipeline.pretrained.registry import find_or_fetched
from pipeline.runtime.device import default_device
from pipeline.runtime.progress import ProgressBar
from pipeline.runtime.stop_signals import stop_signals
from pipeline.segments.bank import MemoryBank
from training.data.dataset import check_shares
from training.job import TrainingJob
from training.run_folder import RunFolder
from training.summary import write_summary

if TYPE_CHECKING:
    from training.loop import Progress
    from training.samples import Validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What a call of `train` came to."""

    folder: Path
    """Of the run; also a checkpoint."""
    step: int
    """Steps done in all, those of earlier calls included."""
    finished: bool
    """Whether these are all steps of the recipe; if not, the same call resumes it."""
    stopped: bool = False
    """Whether Ctrl-C or SIGTERM ended the call before."""

    def to_table(self) -> pa.Table:
        """A row for each entry of `stats.jsonl`: `step`, losses, scores of the discriminator, speed, and where the run
        was validated `validation.mean_iou` and its like. Numbers that an entry lacks are null."""
        return to_table(RunFolder(self.folder).read_stats())


def train(
    recipe: Recipe,
    out: Path,
    *,
    workers: int = 1,
    decoders: int = 0,
    vgg_weights: Path | None = None,
    trunk_weights: Path | None = None,
    validate: Validate | None = None,
    max_minutes: float | None = None,
) -> Training:
    """Train until the recipe's steps are done, `max_minutes` are over, or Ctrl-C; in each case a checkpoint is left.

    In a folder in which the same recipe was trained it resumes. `workers` processes train on Ray, each on a GPU if
    the machine has any; 0 trains in this process, without Ray. The batches, and up to rounding the weights, are
    the same for any number. With `decoders` so many Ray Data actors make the batches of each worker, on any machine of
    the cluster, instead of threads of its own. `vgg_weights` are a file for the perceptual loss; `trunk_weights` one
    of a frozen backbone, for the perceptual loss where there is no VGG and for `discriminator.kind: projected`.
    `validate` scores the generator every few epochs, in the process of the leading worker. Raises `InputError` before
    any work where the data, the folder or the batch size do not fit, and where a loss is NaN or infinite.
    """
    data = [
        *open_sources(recipe.data.sources, recipe.labels, seed=recipe.training.seed),
        *open_sources([Source(path=recipe.data.validation)], recipe.labels, seed=recipe.training.seed),
    ]
    if recipe.generator.kind == "sims" and recipe.generator.order_network:
        for source in data[:-1]:
            if "disparity" not in source.dataset.files[0].schema.names:
                raise InputError(
                    f"{source.source.path} has no column disparity, which generator.order_network learns from; prepare "
                    "the data with --disparity, or leave the network out"
                )
    perceptual = recipe.losses.perceptual_segmenter
    if perceptual is None:
        vgg_weights = find_or_fetched(vgg_weights, "VGG")
    elif vgg_weights is not None:
        raise InputError("--vgg-weights and losses.perceptual_network both name a perceptual network; give one of them")
    elif not Path(perceptual).exists():
        raise InputError(
            f"losses.perceptual_network: {perceptual} does not exist; `spadework train-segmenter` makes one"
        )
    if trunk_weights and not trunk_weights.exists():
        raise InputError(f"trunk weights {trunk_weights} do not exist")
    if recipe.generator.kind in REGRESSION_KINDS and not (vgg_weights or trunk_weights or perceptual):
        raise InputError(NOTHING_TO_LEARN_BY)
    check_shares(recipe, max(1, workers))
    if workers > 1 and recipe.generator.kind == "pix2pixhd" and recipe.generator.image_pool:
        raise InputError("generator.image_pool is of one worker; make it 0, or give --workers 1")
    if decoders and not workers:
        raise InputError("--decoders are actors on Ray, and --workers 0 trains without it; give --workers 1 or more")
    job = TrainingJob(
        recipe,
        Path(out).absolute(),
        decoders=decoders,
        vgg_weights=vgg_weights.absolute() if vgg_weights else None,
        trunk_weights=trunk_weights.absolute() if trunk_weights else None,
        validate=validate,
    )
    folder = job.folder
    used = {source.source.path: fingerprint_data(source.dataset) for source in data}
    if job.bank:
        used["generator.bank"] = check_bank(job.bank, recipe)
    new = folder.claim(recipe)
    folder.check_data(used)
    folder.read_stats()  # A damaged line is told before any work.
    begin, begun = time.monotonic(), folder.step()

    def should_stop() -> bool:
        return stopped.is_set() or (max_minutes is not None and time.monotonic() - begin > 60 * max_minutes)

    try:
        if workers:
            from training.distributed import ray_for_training, train_on_ray

            # The signals after Ray, which takes them for itself when it starts.
            with ray_for_training(workers, decoders), stop_signals() as stopped, ProgressLine(recipe, begun) as line:
                step = train_on_ray(job, workers=workers, should_stop=should_stop, watch=line.show)
        else:
            with stop_signals() as stopped, ProgressLine(recipe, begun) as line:
                step = _train_here(job, should_stop, line.show)
    except Exception as failure:
        if new:
            folder.give_up()
        _sum_up(folder, recipe, failure)
        raise
    write_summary(folder, recipe)
    latest = folder.latest_stats()
    if latest:
        log.info("%d steps, lately %s; summary: %s", step, describe_speed(latest), folder.summary)
    finished = step == recipe.training.steps
    return Training(folder.path, step, finished, stopped=stopped.is_set() and not finished)


def check_bank(bank: str, recipe: Recipe) -> dict[str, str]:
    """A hash of SIMS's memory bank, by the name of its file.

    Raises `InputError` where it is missing or of other classes, and where it holds pictures that are validated on.
    """
    opened = MemoryBank(bank)
    opened.check_space(recipe.labels)
    validation = read_keys(ParquetDataset.open(recipe.data.validation))
    if shared := [key for key in validation if opened.picture_number(key) is not None]:
        raise InputError(
            f"memory bank {bank} holds {len(shared)} pictures of {recipe.data.validation}, such as '{shared[0]}', "
            "which would be pasted back; make the bank of the training set"
        )
    return {base_name(bank): opened.digest}


def _sum_up(folder: RunFolder, recipe: Recipe, failure: Exception) -> None:
    """The summary of a run that failed: it hides no failure by one of its own, and leaves other runs' folders alone."""
    if not folder.stats.exists():
        return
    said = str(failure) if isinstance(failure, InputError) else f"{type(failure).__name__}: {first_line(failure)}"
    try:
        with folder.locked(0):
            write_summary(folder, recipe, failure=said)
    except Exception as error:  # noqa: BLE001 - whatever it is, the failure is worth more
        log.warning("no summary was written: %s", first_line(error))


def _train_here(job: TrainingJob, should_stop: Callable[[], bool], progress: Progress) -> int:
    import torch

    from training.loop import train_worker
    from training.worker import Worker

    worker = Worker(device=torch.device(default_device()))
    return train_worker(job, worker, should_stop=should_stop, progress=progress)


class ProgressLine:
    """Steps done, images per second and the time left, on the terminal's error stream."""

    def __init__(self, recipe: Recipe, begun: int) -> None:
        """Of a run that has done `begun` steps before."""
        self.total, self.begun = recipe.training.steps, begun
        self.bar: ProgressBar | None = None
        self.started = False

    def __enter__(self) -> ProgressLine:
        # At once: until the first step is done, torch, Ray and the networks can take a minute.
        self.bar = ProgressBar(desc="train", total=self.total, initial=self.begun, unit="step", dynamic_ncols=True)
        return self

    def show(self, step: int, entry: Mapping[str, Any] | None) -> None:
        """Move on to `step`; `entry` is the latest line of `stats.jsonl`."""
        assert self.bar is not None
        if not self.started and step == self.begun:
            return
        if not self.started:
            # The clock runs from here, or the start would be in the rate and the time left.
            self.bar.start_clock(step)
            self.bar.refresh()
            self.started = True
        if entry:
            self.bar.set_postfix_str(describe_speed(entry), refresh=False)
        self.bar.update(step - self.bar.n)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def describe_speed(entry: Mapping[str, Any]) -> str:
    """How fast the steps before a line of `stats.jsonl` were, and what part of the time they waited for data."""
    return f"{entry['images_per_second']:.1f} images/s, {entry['data_wait']:.1%} waiting for data"
