"""A stand-in for `ray.util.metrics` that adds up, and refuses what Ray refuses."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

Counts = dict[tuple[str, ...], float]
"""By name and the values of the tags, in the order of their keys."""


class _Metric:
    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description and isinstance(tag_keys, tuple)
        self.name, self.keys, self.counts = name, tag_keys, Metrics.counts

    def key(self, tags: dict[str, str]) -> tuple[str, ...]:
        assert set(tags) == set(self.keys)
        return (self.name, *(tags[key] for key in self.keys))


class _Counter(_Metric):
    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        self.counts[self.key(tags)] = self.counts.get(self.key(tags), 0.0) + value


class _Gauge(_Metric):
    def set(self, value: float, tags: dict[str, str]) -> None:
        self.counts[self.key(tags)] = value


class Metrics(ModuleType):
    """In the place of Ray's module."""

    Counter, Gauge = _Counter, _Gauge
    counts: Counts


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """What is counted from now on."""
    Metrics.counts = {}
    monkeypatch.setitem(sys.modules, "ray.util.metrics", Metrics("ray.util.metrics"))
    return Metrics.counts
