from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial

import pytest

from pipeline.errors import InputError
from pipeline.runtime.ray_tasks import _Actor, map_in_order


def divider(number: int) -> Callable[[int], float]:
    def divide(by: int) -> float:
        if not by:
            raise InputError("nothing divides by 0")
        return number / by

    return divide


def check(workers: int) -> None:
    prepare = partial(divider, 12)
    assert list(map_in_order(prepare, [1, 2, 3, 4, 6, 12, 5], workers=workers)) == [12, 6, 4, 3, 2, 1, 2.4]
    results = map_in_order(prepare, [3, 0, 2], workers=workers)
    assert next(results) == 4
    with pytest.raises(InputError, match="nothing divides by 0"):
        next(results)


def test_results_come_in_order_and_mistakes_in_their_turn() -> None:
    check(0)


@pytest.mark.ray
def test_on_actors_too(ray_session: None) -> None:
    check(2)


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(1, 9):
            taken.append(number)
            yield number

    results = map_in_order(partial(divider, 1), items(), workers=0)
    assert next(results) == 1 and taken == [1]


def test_what_goes_to_an_actor_and_back_pickles() -> None:
    actor = _Actor(pickle.dumps(partial(divider, 12)))
    assert [actor.run(pickle.dumps(by)) for by in (4, 3)] == [3, 4]
    mistake = pickle.loads(pickle.dumps(actor.run(pickle.dumps(0))))
    assert isinstance(mistake, InputError) and str(mistake) == "nothing divides by 0"
