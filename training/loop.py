"""The training loop of one worker: build, resume, then step, report, validate, sample, save. No Ray in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext

from pipeline.data.sources import as_sources
from pipeline.errors import InputError
from pipeline.runtime.memory import keep_freed_memory
from training.data.dataset import BatchLoader, BatchSource, RecordDataset
from training.instance_centres import InstanceCentres
from training.job import TrainingJob
from training.metrics import Entry, MetricLogger, NotFinite, Reporter
from training.objectives.perceptual import PerceptualLoss, load_perceptual_loss
from training.objectives.perceptual_regression import PerceptualRegression, load_regression
from training.objectives.trunk import Trunk, load_trunk
from training.run_folder import RunFolder
from training.samples import open_paster, sample_images
from training.state import TrainingState
from training.worker import Worker

log = logging.getLogger(__name__)

Progress = Callable[[int, Entry | None], None]
"""Called after a step by the leading worker: steps done, and the latest reading of the `MetricLogger`."""


def train_worker(
    job: TrainingJob,
    worker: Worker,
    *,
    source: BatchSource | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress = lambda step, entry: None,
    count: Callable[[Entry], None] = lambda entry: None,
) -> int:
    """Train until the recipe's steps are done or `should_stop` says so on any worker; returns the steps done.

    `source` makes the batches (None: threads of this process); `count` is told of each reading of the worker's
    `MetricLogger`. The worker leaves a checkpoint behind when it stops
    early, and resumes from the newest one when it starts. Raises `InputError` for data that do not fit, and where a
    loss is NaN or infinite and no more rolling back is allowed.
    """
    recipe, folder = job.recipe, job.folder
    settings, validate, source = recipe.training, job.validate, source or BatchLoader.batches
    keep_freed_memory()
    with folder.locked() if worker.leads else nullcontext():
        # Build: the same initial weights on every worker, because they have the same seed.
        examples = RecordDataset(as_sources(recipe.data.train, job.base), recipe)
        data = BatchLoader(examples, rank=worker.rank, workers=worker.count, bank=job.bank)
        trunk = load_trunk(job.trunk_weights).to(worker.device) if job.trunk_weights else None
        perceptual = _load_perceptual(job, trunk)
        state = TrainingState(recipe, worker, perceptual.to(worker.device) if perceptual else None, trunk)
        drawn = state.average.network
        paster = open_paster(data.canvases.bank, recipe, drawn) if data.canvases and worker.leads else None
        pin = worker.device.type == "cuda"

        # Resume, with what is written for people cut back to the same step.
        step, stopped, entry = state.resume(folder), False, None
        if step:
            log.info("going on from step %d of %d", step, settings.steps)
            # A kill may have come between the snapshot and the weights that go with it.
            if worker.leads and not state.is_published(folder.weights, step):
                log.warning("%s is missing, damaged or behind step %d; it is written again", folder.weights, step)
                state.publish(folder.weights, step)
        writer = Reporter(recipe, folder, worker, job.base, paster) if worker.leads else None
        if writer:
            writer.begin(step)
        metrics = MetricLogger(worker, step)
        batches = source(data, step + state.skipped, steps=settings.steps - step, pin=pin)
        centres: InstanceCentres | None = None
        if writer and recipe.generator.kind == "pix2pixhd" and recipe.generator.features:
            centres = InstanceCentres(as_sources(recipe.data.train, job.base), recipe, worker.device)

        while step < settings.steps and not stopped:
            # Step: on the records that belong to it, at the rate that belongs to it.
            with metrics.waiting():
                batch = next(batches).to(worker.device)
            state.set_rates(step)
            metrics.add(state.step(batch, step))
            state.average.update(state.step.bare_synthesis, step)
            step += 1
            # On GPUs not after every step: asking the other workers makes the device wait.
            if worker.device.type == "cpu" or step % settings.log_every == 0:
                stopped = worker.agree(should_stop())
            last = stopped or step == settings.steps
            saves = last or step % settings.checkpoint_every == 0
            validates = validate is not None and (
                step == settings.steps or data.ends_epoch(step, settings.validate_every)
            )

            # Report: losses are looked at only now and then, as looking makes the device wait.
            reads = saves or validates or step % settings.log_every == 0
            if reads:
                try:
                    entry = metrics.read(step, state)
                except NotFinite as failure:
                    # Roll back: on every worker, as all of them see the same means.
                    _refuse_to_roll_back(folder, state, str(failure))
                    step = state.roll_back(folder, step, str(failure))
                    log.warning("%s; going on from step %d with other batches", failure, step)
                    if writer:
                        writer.close()
                        writer.begin(step)
                    batches.close()
                    batches = source(data, step + state.skipped, steps=settings.steps - step, pin=pin)
                    metrics = MetricLogger(worker, step)
                    continue
                count(entry)
            if writer is None:
                continue

            samples = last or step % settings.sample_every == 0
            with metrics.pause():
                if centres and (validates or samples or saves):
                    state.find_styles(centres)
                # Validate: the averaged weights, which are published where they are the best so far.
                if entry and validates:
                    assert validate
                    entry["validation"] = scores = dict(
                        validate(sample_images(recipe, state.average.network, paster), worker.device)
                    )
                    if writer.is_best(scores, settings.best_by):
                        state.publish(folder.best, step)
                if entry and reads:
                    writer.report(entry)
                progress(step, entry)

                # Sample: the same label maps each time, with the averaged weights.
                if samples:
                    writer.sample(step, state.average.network)

                # Save.
                if saves:
                    state.save(folder, step)
        batches.close()
        if writer:
            writer.close()
    return step


def _load_perceptual(job: TrainingJob, trunk: Trunk | None) -> PerceptualLoss | PerceptualRegression | None:
    """What the recipe's generator learns by beside a discriminator, or in the place of one."""
    settings, losses = job.recipe.generator, job.recipe.losses
    regresses = settings.kind == "crn" or settings.kind == "sims"
    if losses.perceptual_segmenter and (losses.perceptual or regresses):
        trunk = load_trunk(job.base / losses.perceptual_segmenter)
    if regresses:
        several = settings.kind == "crn" and settings.pictures > 1
        return load_regression(losses.regression, several=several, vgg_weights=job.vgg_weights, trunk=trunk)
    # pix2pixHD shows VGG19 pictures as they are.
    normalise = settings.kind != "pix2pixhd"
    return load_perceptual_loss(job.vgg_weights, trunk, normalise=normalise) if losses.perceptual else None


def _refuse_to_roll_back(folder: RunFolder, state: TrainingState, failure: str) -> None:
    """Raise `InputError` where there is nothing to return to, or the run has returned often enough."""
    saved, allowed = folder.snapshots(), state.recipe.training.rollbacks
    if saved and len(state.failures) < allowed:
        return
    raise InputError(
        f"{failure}; "
        + (f"after {allowed} rollbacks " if saved and allowed else "")
        + (f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet")
        + "; lower training.learning_rate, use training.precision=fp32 or raise training.rollbacks in a new run"
    )
