"""The queue before the generator: bounded, by label map, and without what nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.serving.queue import Abandoned, Task, WorkQueue
from pipeline.serving.refusal import Refusal


class Worker:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, items: Sequence[Any]) -> list[Any]:
        self.calls.append(list(items))
        self.begun.release()
        assert self.go.acquire(timeout=60)
        return [f"done {item}" for item in items]

    def task(self, group: str, item: Any) -> Task:
        return Task(group, item, self.run)


def test_tasks_of_a_group_are_done_together() -> None:
    worker, told = Worker(), []
    queue = WorkQueue(max_waiting=10, max_group=2, watch=lambda name, value: told.append((name, value)))
    tasks = [worker.task(group, item) for item, group in enumerate("abaacab")]
    queue.submit(tasks[0])
    assert worker.begun.acquire(timeout=60)  # the first is at work; the others wait
    for task in tasks[1:]:
        queue.submit(task)
    for _ in tasks:
        worker.go.release()
    assert [task.future.result(60) for task in tasks] == [f"done {item}" for item in range(7)]
    assert worker.calls == [[0], [1, 6], [2, 3], [4], [5]]
    assert [value for name, value in told if name == "group"] == [1, 2, 2, 1, 1]
    assert max(value for name, value in told if name == "waiting") == 6
    queue.close()


def test_a_full_queue_refuses_and_forgets_the_cancelled() -> None:
    worker = Worker()
    queue = WorkQueue(max_waiting=2, max_group=4)
    first, *rest = (worker.task(str(item), item) for item in range(5))
    queue.submit(first)
    assert worker.begun.acquire(timeout=60)
    queue.submit(rest[0])
    queue.submit(rest[1])
    with pytest.raises(Refusal) as refused:
        queue.submit(rest[2])
    assert refused.value.status == 503 and refused.value.retry_after is not None and refused.value.retry_after >= 1
    rest[0].future.cancel()
    queue.submit(rest[3])  # has the place of the cancelled one
    for _ in range(4):
        worker.go.release()
    assert [task.future.result(60) for task in (first, rest[1], rest[3])] == ["done 0", "done 2", "done 4"]
    assert worker.calls == [[0], [2], [4]]
    queue.close()


def test_an_error_of_one_is_not_that_of_its_group() -> None:
    worker, calls = Worker(), []

    def run(items: Sequence[Any]) -> Sequence[Any]:
        calls.append(list(items))
        return [6 // item for item in items]

    queue = WorkQueue(max_waiting=10, max_group=4)
    first, *tasks = worker.task("a", 0), *(Task("b", item, run) for item in (1, 0, 2))
    queue.submit(first)
    assert worker.begun.acquire(timeout=60)  # the others are a group when it is done
    for task in tasks:
        queue.submit(task)
    worker.go.release()
    assert (tasks[0].future.result(60), tasks[2].future.result(60)) == (6, 3)
    assert isinstance(tasks[1].future.exception(60), ZeroDivisionError)
    assert calls == [[1, 0, 2], [1], [0], [2]]
    assert all(task.submitted <= task.started <= task.finished for task in tasks)
    assert queue.alive
    queue.close()


def test_an_error_is_the_groups_own() -> None:
    def fail(items: Sequence[Any]) -> Sequence[Any]:
        raise ValueError("no")

    queue = WorkQueue(max_waiting=4, max_group=4)
    bad, good = Task("a", 0, fail), Task("b", 1, list)
    queue.submit(bad)
    queue.submit(good)
    with pytest.raises(ValueError, match="no"):
        bad.future.result(60)
    assert good.future.result(60) == 1 and queue.alive
    queue.close()
    assert not queue.alive
    with pytest.raises(Refusal, match="shutting down"):
        queue.submit(Task("c", 2, list))


def test_work_that_nobody_waits_for_any_more_ends_at_its_next_check() -> None:
    worker = Worker()
    queue = WorkQueue(max_waiting=4, max_group=2)
    reached: list[str] = []

    def run(items: Sequence[str]) -> list[str]:
        done = worker.run(items)
        queue.check()
        reached.extend(items)
        return done

    queue.check()  # nothing is at hand
    tasks = {name: Task(name[0], name, run) for name in ("a", "b1", "b2", "c")}
    for task in tasks.values():
        queue.submit(task)
    tasks["a"].abandoned = tasks["b1"].abandoned = True
    for _ in tasks:
        worker.go.release()
    for name in ("b1", "b2", "c"):
        assert tasks[name].future.result(60) == f"done {name}"
    assert isinstance(tasks["a"].future.exception(60), Abandoned)
    assert reached == ["b1", "b2", "c"], "one of a group is waited for, so all of it is done"
    queue.close()
