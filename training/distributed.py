"""[Ray] The training loop on Ray Train's workers: gloo between CPUs, NCCL between GPUs.

The workers write checkpoints into the run's folder and resume from there, so the folder must be on storage that all
machines share (as Ray Train's own would have to be), and restarts need nothing that Ray keeps.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.runtime.ray_session import AGAIN, is_failure_of_ray, prepare_environment, ray_session
from training.job import TrainingJob

if TYPE_CHECKING:
    from training.loop import Progress

log = logging.getLogger(__name__)

RESTARTS = 3
"""How often workers that died are started again, from the last checkpoint."""
POLL_SECONDS = 0.2
ENVIRONMENT = {
    # Ray Train looks after its workers every 2 s otherwise, and every start and end waits for that.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_SECONDS),
    # Importing torch on a busy machine can take longer than the 60 s after which Ray Train starts all over.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}
"""Set where the user has not set them."""
TIMEOUT_SECONDS = 1800
"""How long workers wait for one another in a reduction: longer than the leading one needs to validate, draw and save.
One that died is noticed at once, by its connections."""


@contextmanager
def ray_for_training(workers: int, decoders: int) -> Iterator[None]:
    """Ray with Ray Train, for the length of a `with` block; `InputError` where it has no room for so many actors."""
    prepare_environment()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    needed = workers * (1 + decoders)
    # Logical CPUs are bookkeeping on this machine, but those of a running cluster are what it has.
    with ray_session(num_cpus=max(4, os.cpu_count() or 1, needed)):
        import ray

        found = int(ray.cluster_resources().get("CPU", 0))
        if decoders and found < needed:
            raise InputError(
                f"--workers {workers} with --decoders {decoders} for each need {needed} CPUs, "
                f"but Ray has {found}; lower --decoders, or add machines to the cluster"
            )
        yield


def train_on_ray(job: TrainingJob, *, workers: int, should_stop: Callable[[], bool], watch: Progress) -> int:
    """Train with `workers` processes inside `ray_for_training`; returns the steps done. `watch` is told of steps and of
    what the workers have last reported.

    Workers that die are started again from the last checkpoint; an `InputError` in one of them is raised here, and one
    where they die too often, or Ray Train cannot start them.
    """
    from ray.train import TrainingFailedError

    for attempt in range(RESTARTS + 1):
        try:
            _fit(job, workers, should_stop, watch)
            break
        except TrainingFailedError as failure:
            for cause in _causes(failure):
                if isinstance(cause, InputError):
                    raise InputError(str(cause)) from None
            if attempt == RESTARTS or should_stop():
                if hasattr(failure, "controller_failure") or any(map(is_failure_of_ray, _causes(failure))):
                    raise InputError(f"Ray ended the training ({_reason(failure)}); {AGAIN}") from failure
                raise
            log.warning("a worker failed (%s); resuming from step %d", _reason(failure), job.folder.step())
    return job.folder.step()


def _fit(job: TrainingJob, workers: int, should_stop: Callable[[], bool], watch: Progress) -> None:
    """One life of a group of workers, watched from this thread."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    gpus = ray.cluster_resources().get("GPU", 0) >= workers
    folder = job.folder
    storage = folder.path / ".ray"
    folder.stop_file.unlink(missing_ok=True)
    trainer = TorchTrainer(
        _run_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1}),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=TIMEOUT_SECONDS),
        # Not Ray's own restarts: they would try a broken record again and again.
        run_config=RunConfig(storage_path=str(storage), failure_config=FailureConfig(max_failures=0)),
    )
    outcome: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            outcome.append(error)

    # Not in the main thread, where Ray would take Ctrl-C for itself and abort without a checkpoint.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            if should_stop():
                folder.stop_file.touch()
            latest = folder.latest_stats()
            if latest:
                watch(latest["step"], latest)
    finally:
        folder.stop_file.unlink(missing_ok=True)
        shutil.rmtree(storage, ignore_errors=True)
    if outcome:
        raise outcome[0]


def _run_worker(config: dict[str, Any]) -> None:
    """What each worker runs."""
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    from training.data.ray_loader import stream_batches
    from training.loop import train_worker
    from training.ray_metrics import TrainingMetrics
    from training.worker import Worker

    context = get_context()
    # Ray gives a worker as many threads as logical CPUs, which are bookkeeping.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    job: TrainingJob = config["job"]
    train_worker(
        job,
        Worker(rank=context.get_world_rank(), count=context.get_world_size(), device=get_device()),
        source=partial(stream_batches, decoders=job.decoders) if job.decoders else None,
        should_stop=job.folder.stop_file.exists,
        count=TrainingMetrics(context.get_world_size()).add,
    )


def _causes(failure: BaseException) -> list[BaseException]:
    """What happened to each worker."""
    errors = getattr(failure, "worker_failures", {}).values()
    return [getattr(error, "cause", None) or error for error in errors]


def _reason(failure: BaseException) -> str:
    """The last line of the first worker's error, which says most."""
    errors = _causes(failure) or [failure]
    lines = str(errors[0]).strip().splitlines()
    return lines[-1].strip() if lines else type(errors[0]).__name__
