"""How threads of a pass wait for one another: briefly, so that none keeps a core from those it waits for."""

from __future__ import annotations

import os

SPINS = 2_000
"""Of a waiting thread, before it sleeps: 35 microseconds where it was measured. To sleep at once costs a call to the
kernel at the end of every region, also where nobody else wants the core."""


def bound_spinning() -> None:
    """Let threads that wait at the end of a parallel region sleep soon; before torch is imported, or without effect.

    GNU's OpenMP, which torch's wheels for Linux come with, spins 300,000 times by default, 5 milliseconds. On a machine
    with a core for every thread that saves calls to the kernel. On a busy one two threads of a pass can meet on one
    core, where the one that spins keeps the one that it waits for from running: for a time slice, in each of the
    hundreds of regions of a pass. Variables that the user has set stay.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
