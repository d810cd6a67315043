"""[Ray] A function over many items, in order: on actors that each prepare once, or in this process."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pipeline.errors import InputError
from pipeline.runtime.ray_session import ray_session

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items for each actor that are done, or being done, beyond the one that is asked for."""
RESTARTS = 3
"""Of an actor that dies, and of the item that it was at: the results are those of the item alone."""


def map_in_order(
    prepare: Callable[[], Callable[[Item], Result]], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """The results of what `prepare` returns, in the order of the items, few of them at a time.

    `workers` actors on Ray call `prepare` once each, so it must pickle; 0: this process, without Ray. An `InputError`
    of an item is raised here when its turn comes, and one where Ray does not start.
    """
    if not workers:
        function = prepare()
        for item in items:
            yield function(item)
        return
    with ray_session(num_cpus=max(4, workers + 2)):
        import ray

        cpus = min(1.0, ray.cluster_resources().get("CPU", 1) / (workers + 1))
        options = {"num_cpus": cpus, "max_restarts": RESTARTS, "max_task_retries": RESTARTS}
        actor_class: Any = ray.remote(**options)(_Actor)
        actors = [actor_class.remote(pickle.dumps(prepare)) for _ in range(workers)]
        pending: deque[Any] = deque()
        try:
            for number, item in enumerate(items):
                pending.append(actors[number % workers].run.remote(pickle.dumps(item)))
                if len(pending) > AHEAD * workers:
                    yield _result(ray.get(pending.popleft()))
            while pending:
                yield _result(ray.get(pending.popleft()))
        finally:
            for actor in actors:
                ray.kill(actor)


def _result(found: Any) -> Any:
    if isinstance(found, InputError):
        raise found
    return found


class _Actor:
    """Prepares when the first item comes, so that mistakes are told as those of an item."""

    def __init__(self, prepare: bytes) -> None:
        self._prepare = prepare
        self._function: Callable[[Any], Any] | None = None

    def run(self, item: bytes) -> Any:
        try:
            self._function = self._function or pickle.loads(self._prepare)()
            return self._function(pickle.loads(item))
        except InputError as error:  # Ray would wrap it into pages of traceback.
            return error
