"""How many threads, workers or processes anyone may ask for."""

from __future__ import annotations

from pipeline.errors import InputError

MOST_PROCESSES = 1024
"""Beyond what any machine or cluster of this project has, and few enough that a slip of the hand does no harm."""


def check_processes(name: str, count: int, *, least: int = 1) -> None:
    """`InputError` unless `count`, which `name` asks for, is from `least` to `MOST_PROCESSES`."""
    if not least <= count <= MOST_PROCESSES:
        raise InputError(f"{name} is {count}; give {least} to {MOST_PROCESSES}")
