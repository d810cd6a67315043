"""How much faster two gloo workers of one thread each are than one, and what they wait for each other.

python -m tests.training.two_workers configs/landscape.yaml --set data.train=data/landscape/train.parquet
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pipeline.config import Recipe
from pipeline.recipe_file import load_recipe
from pipeline.runtime.collectives import seconds_waited
from pipeline.runtime.memory import keep_freed_memory
from training.data.dataset import BatchLoader, RecordDataset
from training.state import TrainingState
from training.worker import Worker

WARM_UP = 5


def measure(rank: int, count: int, port: int, recipe: Recipe, steps: int, results: Any) -> None:
    """Run one worker's steps; the median seconds of a step, and of waiting in a step, go to `results`."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if count > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    training = recipe.training.model_copy(update={"batch_size": count * recipe.training.batch_size})
    recipe = recipe.model_copy(update={"training": training})
    worker = Worker(rank, count)
    state = TrainingState(recipe, worker, None)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe), rank=rank, workers=count).batches()
    took, waited = [], []
    for step in range(WARM_UP + steps):
        batch, start, before = next(batches), time.perf_counter(), seconds_waited()
        state.set_rates(step)
        state.step(batch, step)
        took.append(time.perf_counter() - start)
        waited.append(seconds_waited() - before)
    batches.close()
    if rank == 0:
        results.put((statistics.median(took[WARM_UP:]), statistics.median(waited[WARM_UP:])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of the recipe; the batch is a worker's")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--laps", type=int, default=3)
    given = parser.parse_args()
    recipe = load_recipe(given.recipe, given.set)
    os.environ["OMP_NUM_THREADS"] = "1"
    results = mp.get_context("spawn").SimpleQueue()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    waits = []
    for _ in range(given.laps):
        for count in (1, 2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            mp.spawn(measure, (count, port, recipe, given.steps, results), nprocs=count)
            took, waited = results.get()
            seconds[count].append(took)
            if count == 2:
                waits.append(waited / took)
    one, two = (statistics.median(seconds[count]) for count in (1, 2))
    waiting = statistics.median(waits)
    print(f"one worker {one:.3f} s a step, two {two:.3f} s: {2 * one / two:.2f} times, waiting {waiting:.1%} of it")


if __name__ == "__main__":
    main()
