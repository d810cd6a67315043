"""[Ray] A worker's batches from Ray Data: read, decoded and augmented by actors on any machine of the cluster.

For when decoding needs more cores than the machines of the workers have. They are the batches of the threads in
`training.data.dataset`, byte for byte: a batch is a function of the step, the worker and the recipe, whoever makes it.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from pipeline.config import Recipe, Source
from pipeline.errors import InputError
from pipeline.runtime.ray_session import configure_data
from training.data.batch import Batch
from training.data.dataset import CACHE_BYTES, PREFETCHED, BatchLoader, RecordDataset, stack, to_batch

if TYPE_CHECKING:
    from ray.data import DataContext

Arrays = dict[str, np.ndarray]

AHEAD = 8
"""Batches for each decoder that may be waiting in Ray's memory."""
START_SECONDS = 300
"""How long a worker waits for its decoders to be placed and to start."""
SPAN = 1024
"""Steps that are listed at once; Ray Data would take milliseconds for each of them before the first."""
JOB = 1 << 15
"""Steps of a Ray Data job, which keeps some 3 KB of each until it ends; the next one has actors of its own."""


class Decoder:
    """An actor that makes a worker's batches, each from the number of its step."""

    def __init__(
        self, sources: Sequence[Source], recipe: Recipe, bank: str | None, rank: int, workers: int, decoders: int
    ) -> None:
        torch.set_num_threads(1)
        self.sources, self.recipe, self.bank = sources, recipe, bank
        self.part = {"rank": rank, "workers": workers, "cache_bytes": CACHE_BYTES // decoders}

    @cached_property
    def data(self) -> BatchLoader:
        """The worker's batches, made on first use; `InputError` names the machine where the data cannot be read."""
        try:
            return BatchLoader(RecordDataset(self.sources, self.recipe), bank=self.bank, **self.part)
        except InputError as error:
            raise InputError(f"a decoder on {socket.gethostname()} cannot read the data: {error}") from None

    def __call__(self, steps: Arrays) -> Arrays:
        """The arrays of a step in one row, or in the column `error` why there are none.

        Not an exception, which Ray would log at length and pass on before the batches that come first.
        """
        (step,) = steps["step"].tolist()
        try:
            self.data.read_ahead(step)
            examples, noise, seeds = zip(*(self.data.example(*place) for place in self.data.records(step)), strict=True)
        except InputError as error:
            return {"error": np.array([str(error)])}
        arrays = {**stack(examples), "noise": torch.stack(noise, 1).numpy(), "seeds": np.array(seeds)}
        # Ray cannot send the noise of a style without dimensions, of which there is nothing to send.
        return {name: array[None] for name, array in arrays.items() if array.size}


def stream_batches(data: BatchLoader, first_step: int, /, *, steps: int, pin: bool, decoders: int) -> Generator[Batch]:
    """A worker's batches of so many steps from one on, made by `decoders` actors of one logical CPU each.

    Closing the generator ends the actors. Raises `InputError` for a broken record when its step comes, and where the
    cluster has no room for the actors.
    """
    stop = first_step + steps
    for first in range(first_step, stop, JOB):
        yield from _run_job(data, first, min(stop, first + JOB), pin, decoders)


def _run_job(data: BatchLoader, start: int, stop: int, pin: bool, decoders: int) -> Generator[Batch]:
    """The batches of steps `start .. stop - 1`."""
    import ray
    from ray.data.collate_fn import NumpyBatchCollateFn

    class Collate(NumpyBatchCollateFn):
        """Puts batches together ahead of the step, in threads of this process."""

        def __call__(self, arrays: Arrays) -> Any:
            if "error" in arrays:
                return InputError(str(arrays["error"][0]))
            tensors = {name: torch.tensor(array[0]) for name, array in arrays.items()}  # Ray's own are read-only
            batch = to_batch(**{"noise": torch.zeros(2, data.share, 0), **tensors})
            return batch.pin_memory() if pin else batch

    def list_steps(firsts: Arrays) -> Iterator[Arrays]:
        (first,) = firsts["item"].tolist()
        for step in range(first, min(stop, first + SPAN)):
            yield {"step": np.array([step])}

    sources = [source.source for source in data.examples.sources]
    with ray.data.DataContext.current(_context(data, decoders)):
        spans = ray.data.from_items(list(range(start, stop, SPAN)))
        decoded = spans.map_batches(list_steps, batch_size=1, num_cpus=0, concurrency=1).map_batches(
            Decoder,
            fn_constructor_args=(sources, data.recipe, data.bank, data.rank, data.workers, decoders),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=decoders, max_tasks_in_flight_per_actor=2),
        )
    found = decoded.iter_torch_batches(batch_size=None, prefetch_batches=PREFETCHED, collate_fn=Collate(), device="cpu")
    batches = cast(Generator[Batch | InputError], iter(found))
    try:
        for batch in batches:
            if isinstance(batch, InputError):
                raise batch
            yield batch
    except ray.exceptions.GetTimeoutError:
        raise InputError(
            f"there was no room for {decoders} decoders of worker {data.rank} within {START_SECONDS} seconds; "
            "lower --decoders, or add machines to the cluster"
        ) from None
    finally:
        batches.close()


def _context(data: BatchLoader, decoders: int) -> DataContext:
    """The settings of Ray Data for a stream of batches."""
    import ray

    configure_data()
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    # Ray would fill half of the cluster's shared memory for each worker.
    batch_bytes = data.share * data.recipe.data.height * data.recipe.data.width * (4 + 3)
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=AHEAD * decoders * batch_bytes
    )
    context.target_max_block_size = 1  # no two rows are put together: each is a batch, or the number of a step
    context.wait_for_min_actors_s = START_SECONDS
    # Steps may take as long as they like, and so may validation between two of them.
    context.execution_no_progress_timeout_s = -1
    return context
