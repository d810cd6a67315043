"""Sums over the workers that train together, and how long this process has waited for them."""

# No postponed annotations here: `DistributedDataParallel` reads those of a hook, and not as strings.
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_seconds = 0.0


def all_reduce(values: Tensor, operation: Any = dist.ReduceOp.SUM) -> None:
    """Replace `values`, `[...]` and of one shape on all workers, by their sum (or another reduction) over the workers.

    All of them must call this together.
    """
    start = time.perf_counter()
    dist.all_reduce(values, operation)
    _add(start)


def average_gradients(workers: int, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """A communication hook of `DistributedDataParallel`, with `workers` as its state; gives their mean, `[gradients]`.

    To the last bit what happens without a hook where gradients are cleared to None, as in this training. The time that
    counts is that of the last bucket of a backward pass, as the others travel while gradients are being computed.
    """
    start, last = time.perf_counter(), bucket.is_last()
    values = bucket.buffer().mul_(1 / workers)
    done: torch.futures.Future[list[Tensor]] = dist.all_reduce(values, async_op=True).get_future()

    def finish(future: torch.futures.Future[list[Tensor]]) -> Tensor:
        if last:
            _add(start)
        return future.value()[0]

    return done.then(finish)


def seconds_waited() -> float:
    """For other workers and for the sums themselves, since this process began.

    On CPUs; a GPU's sums are only queued by the calls that ask for them.
    """
    return _seconds


def _add(start: float) -> None:
    global _seconds
    _seconds += time.perf_counter() - start
