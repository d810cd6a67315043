"""[Ray] A pool of actors that work through shards, and how many of them a machine or cluster carries."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from pipeline.data.shards import Shard
from pipeline.errors import InputError
from pipeline.runtime.device import default_device
from pipeline.runtime.ray_metrics import JobMetrics
from pipeline.runtime.ray_session import ray_session
from pipeline.synthesis.worker import Report, ShardWorker, TooManyRejects, WorkOrder

STANDSTILL_SECONDS = 900
"""Workers report every few images; without any report for so long, the job is dead. Loading may take minutes."""


def run_in_pool(
    order: WorkOrder, token: str, shards: Sequence[Shard], workers: int, *, gpus_per_worker: float = 1.0
) -> Generator[Report, None, None]:
    """The shards through a pool of actors; reports come as they are made.

    An `InputError` or a full disk in an actor ends it, and is raised here.
    """
    with ray_session(num_cpus=max(4, workers + 2)):
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        saved = context.target_max_block_size, context.target_min_block_size, context.execution_no_progress_timeout_s
        # Every report becomes a block of its own, so that it arrives at once and not with the end of its shard.
        context.target_max_block_size = context.target_min_block_size = 1
        context.execution_no_progress_timeout_s = STANDSTILL_SECONDS
        try:
            shard_items = ray.data.from_items(
                [{"shard": pickle.dumps(shard)} for shard in shards], override_num_blocks=len(shards)
            )
            messages = shard_items.map_batches(
                _Actor,
                fn_constructor_args=(order, token),
                batch_size=1,
                batch_format="pyarrow",
                # One shard ahead: without it an actor idles for a quarter of a second at the end of each.
                compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
                num_cpus=_logical_cpus(order, workers),
                num_gpus=gpus_per_worker if order.device.startswith("cuda") else 0,
            )
            metrics, left = JobMetrics("synthesize"), len(shards)
            metrics.set_queue(left)
            for row in messages.iter_rows():
                message = pickle.loads(row["message"])
                if isinstance(message, InputError | OSError):
                    raise message
                if message.record is not None:
                    left -= 1
                    metrics.set_queue(left)
                yield message
        finally:
            context.target_max_block_size, context.target_min_block_size = saved[:2]
            context.execution_no_progress_timeout_s = saved[2]


def run_here(order: WorkOrder, token: str, shards: Iterable[Shard]) -> Generator[Report, None, None]:
    """The shards one after another in this process, without Ray."""
    import torch

    threads = torch.get_num_threads()
    try:
        worker = ShardWorker(order, token)
        for shard in shards:
            yield from worker.run(shard)
    finally:
        torch.set_num_threads(threads)


def pool_size(device: str, *, threads: int, gpus_per_worker: float) -> int:
    """As many actors as the GPUs, or the cores, carry."""
    if device.startswith("cuda"):
        return max(1, int(_count_gpus() / gpus_per_worker))
    if joins_cluster():
        with ray_session():
            import ray

            return max(1, int(ray.cluster_resources().get("CPU", 1) / threads))
    return max(1, len(os.sched_getaffinity(0)) // threads)


def choose_device(actors: int | None) -> str:
    """`cuda` where the workers will find a GPU, else `cpu`."""
    if actors != 0 and joins_cluster():
        return "cuda" if _count_gpus() else "cpu"
    return default_device()


def codec_threads(device: str, gpus_per_worker: float) -> int:
    """Decoders, and encoders, of an actor: a GPU synthesizes faster than two threads compress."""
    if not device.startswith("cuda"):
        return 2
    import torch

    actors = max(1, torch.cuda.device_count()) / min(gpus_per_worker, 1)
    return max(2, min(16, int((os.cpu_count() or 1) / actors)))


def joins_cluster() -> bool:
    """Whether a running cluster is joined, rather than an instance started on this machine."""
    return "RAY_ADDRESS" in os.environ


class _Actor:
    """A shard worker as Ray Data wants one: tables in, tables out."""

    def __init__(self, order: WorkOrder, token: str) -> None:
        self._order, self._token = order, token
        self._worker: ShardWorker | None = None
        self._metrics = JobMetrics("synthesize")

    def __call__(self, batch: Any) -> Iterator[dict[str, list[bytes]]]:
        for shard in batch["shard"].to_pylist():
            try:
                # Not in __init__, whose mistakes Ray would tell as the actor's death.
                self._worker = self._worker or ShardWorker(self._order, self._token)
                for report in counted(self._worker.run(pickle.loads(shard)), self._metrics):
                    yield {"message": [pickle.dumps(report)]}
            except TooManyRejects:
                continue  # The driver counts the rejects reported so far, and ends the job.
            # A mistake, or a full disk. As a message: Ray would wrap it into pages of traceback.
            except (InputError, OSError) as error:
                yield {"message": [pickle.dumps(error)]}


def counted(reports: Iterable[Report], metrics: JobMetrics) -> Iterator[Report]:
    """The reports of one shard, each added to Ray's metrics on its way."""
    images, seconds = 0, dict[str, float]()
    for report in reports:
        metrics.count(
            images=report.images - images,
            rejects=len(report.rejects),
            seconds={stage: spent - seconds.get(stage, 0.0) for stage, spent in report.seconds.items()},
        )
        images, seconds = report.images, dict(report.seconds)
        yield report


def _logical_cpus(order: WorkOrder, workers: int) -> float:
    """Of each actor. On one machine they are bookkeeping, and must only leave some for Ray's own tasks."""
    import ray

    if joins_cluster():
        return order.threads or 1
    return min(1.0, ray.cluster_resources().get("CPU", 1) / (workers + 1))


def _count_gpus() -> float:
    if not joins_cluster():
        import torch

        return torch.cuda.device_count()
    with ray_session():
        import ray

        return ray.cluster_resources().get("GPU", 0)
