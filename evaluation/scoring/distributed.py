"""[Ray] Sets of pictures scored shard by shard, here or by a pool of actors, and never twice: results are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.picture_sets import PictureSet, Selection, digest_shard, read_shard
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.scorer import ImageScorer
from evaluation.segmenters import load_segmenter
from pipeline.data.shards import Shard
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.runtime.progress import ProgressBar

log = logging.getLogger(__name__)

VERSION = 5
"""Of the scoring; raise it when the same inputs give other image results, so that kept ones are not used."""


@dataclass(frozen=True)
class NetworkFile:
    """A network of distances: a file or folder that `FeatureNetwork` loads."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class ScorerSpec:
    """All that makes a scorer; it pickles."""

    segmenter: str
    weights: Path
    weights_sha256: str | None
    space: LabelSpace
    protocols: tuple[Protocol, ...]
    inception: Path | None = None
    inception_sha256: str | None = None
    lpips: Path | None = None
    lpips_sha256: str | None = None
    networks: tuple[NetworkFile, ...] = ()
    batch_size: int = 16
    device: str = "cpu"
    threads: int | None = None
    """Of torch in each process; None: one worker as torch has it, several share the cores."""
    cache: Path | None = None
    """Folder in which image results are kept, by the content of what was scored."""

    def build(self) -> ImageScorer:
        """Load the networks."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        inception = lpips = None
        if self.inception is not None:
            from evaluation.metrics.inception import Inception

            inception = Inception.load(self.inception, device=self.device)
        if self.lpips is not None:
            from evaluation.metrics.lpips import LPIPS

            lpips = LPIPS.load(self.lpips, device=self.device)
        networks = {}
        if self.networks:
            from evaluation.metrics.feature_networks import FeatureNetwork

            networks = {part.name: FeatureNetwork.load(part.path, device=self.device) for part in self.networks}
        return ImageScorer(
            load_segmenter(self.segmenter, self.weights, device=self.device),
            self.space,
            self.protocols,
            inception=inception,
            lpips=lpips,
            networks=networks,
            batch_size=self.batch_size,
            device=self.device,
        )

    def place(self, task: ShardTask) -> Path | None:
        """Where the image results of a shard are kept."""
        if self.cache is None:
            return None
        parts: dict[str, Any] = {
            "version": VERSION,
            "segmenter": [self.segmenter, self.weights_sha256],
            "space": self.space.model_dump(mode="json"),
            "protocols": [protocol.model_dump(mode="json") for protocol in self.protocols],
            "inception": self.inception_sha256,
            "lpips": self.lpips_sha256,
            "batch_size": self.batch_size,
            "device": self.device.split(":")[0],
            "pictures": digest_shard(task.shard, task.selection),
        }
        if self.networks:  # Not before: results that were kept without any stay of use.
            parts["networks"] = [[part.name, part.path.name, part.sha256] for part in self.networks]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.cache / digest[:2] / f"{digest}.npz"


@dataclass(frozen=True)
class ShardTask:
    """Some pictures of a shard to be scored."""

    index: int
    shard: Shard
    selection: Selection


class ShardScorer:
    """A worker: a scorer that reads shards and keeps its results."""

    def __init__(self, order: ScorerSpec) -> None:
        self.order = order
        self._scorer: ImageScorer | None = None

    def run(self, task: ShardTask) -> ImageResults | None:
        """The results of a shard, kept ones where there are; None if none of its pictures is selected."""
        place = self.order.place(task)
        if place is not None and place.is_file():
            try:
                return ImageResults.load(place)
            except InputError as error:  # of a full disk or a lost machine; it is written anew
                log.warning("%s: scored again", error)
        if self._scorer is None:  # Not before it is needed: with kept results it never is.
            self._scorer = self.order.build()
        generated = self._scorer.score(read_shard(task.shard, task.selection))
        if place is not None and generated is not None:
            generated.save(place)
        return generated


class ScorerPool:
    """One worker in this process, or a pool of Ray actors, for the sets of an evaluation; a context manager.

    The shards do not depend on the number of workers, and neither do the results.
    """

    def __init__(self, order: ScorerSpec, *, workers: int = 0) -> None:
        """`workers` actors; 0 or 1: this process, without Ray."""
        self.order = order
        self.workers = workers
        self._stack = ExitStack()
        self._actors: list[Any] = []
        self._here = ShardScorer(order)

    def __enter__(self) -> ScorerPool:
        if self.workers > 1:
            from pipeline.runtime.ray_session import ray_session

            self._stack.enter_context(ray_session(num_cpus=max(4, self.workers + 1)))
            self._actors = _start_actors(self.order, self.workers)
        return self

    def __exit__(self, *error: object) -> None:
        self._actors = []
        self._stack.close()

    def score(self, pictures: PictureSet, selection: Selection, *, what: str = "pictures") -> ImageResults:
        """Score the selected pictures of a set, in order; `what` names them in the progress bar."""
        tasks = [ShardTask(index, shard, selection) for index, shard in enumerate(pictures.shards)]
        total = sum(1 for name, _ in pictures.keys if selection.ids is None or name in selection.ids)
        results = self._spread(tasks) if self._actors else ((task.index, self._here.run(task)) for task in tasks)
        parts: dict[int, ImageResults] = {}
        with ProgressBar(total=total, desc=what, unit="image") as bar:
            for index, part in results:
                if part is not None:
                    parts[index] = part
                    bar.update(len(part))
        return ImageResults.joined([parts[index] for index in sorted(parts)])

    def _spread(self, tasks: Sequence[ShardTask]) -> Iterator[tuple[int, ImageResults | None]]:
        import ray

        # Each actor twice: it has its next shard at hand when it is done with one.
        idle, waiting = [*self._actors, *self._actors], list(reversed(tasks))
        running: dict[Any, tuple[Any, ShardTask]] = {}
        while waiting or running:
            while waiting and idle:
                actor, task = idle.pop(), waiting.pop()
                running[actor.run.remote(task)] = (actor, task)
            done, _ = ray.wait(list(running), num_returns=1)
            actor, task = running.pop(done[0])
            idle.append(actor)
            result = ray.get(done[0])
            if isinstance(result, InputError | OSError):
                raise result
            yield task.index, result


def _start_actors(order: ScorerSpec, count: int) -> list[Any]:
    import ray

    gpus = 1 if order.device.startswith("cuda") else 0
    # On one machine logical CPUs are bookkeeping; on a cluster they place the actors.
    cpus = order.threads or 1 if "RAY_ADDRESS" in os.environ else 0
    if order.threads is None:
        order = replace(order, threads=max(1, (os.cpu_count() or 1) // count))
    return [ray.remote(num_cpus=cpus, num_gpus=gpus)(_Actor).remote(order) for _ in range(count)]


class _Actor:
    """A worker as Ray wants one."""

    def __init__(self, order: ScorerSpec) -> None:
        self._worker = ShardScorer(order)

    def run(self, task: ShardTask) -> ImageResults | InputError | OSError | None:
        try:
            return self._worker.run(task)
        except (InputError, OSError) as error:  # As a value: Ray would wrap it into pages of traceback.
            return error
