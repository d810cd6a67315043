"""What the verb `serve` does: checks its options, and serves here or on Ray Serve."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.checkpoints.file import LANDSCAPE, resolve_checkpoint
from pipeline.errors import InputError
from pipeline.precision import Precision
from pipeline.runtime.device import default_device
from pipeline.runtime.limits import check_processes
from pipeline.serving.guard import Access
from pipeline.serving.limits import Limits
from pipeline.serving.server import ServiceOrder, run_here

CLUSTER_WORKERS = 2
"""Replicas at most on a running cluster, where nobody says how many."""


def serve(
    checkpoints: Sequence[str] = (),
    *,
    engines: Sequence[Path] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    precision: Precision = "fp32",
    templates: str | None = None,
    folder: Path = Path("served"),
    ready: Callable[[str], None],
) -> None:
    """Serve until told to stop; `ready` is told the address.

    Raises `InputError` for what cannot be loaded, a host beyond loopback without a token, and a port that is taken.
    """
    access = Access.of(host, token)
    if workers is None:
        workers = CLUSTER_WORKERS if "RAY_ADDRESS" in os.environ else 0
    check_processes("--workers", workers, least=0)
    device = default_device()
    if precision == "fp16" and device == "cpu":
        raise InputError("--precision fp16 needs a GPU, and there is none; take bf16 or fp32")
    order = make_order(
        checkpoints,
        engines=engines,
        folder=folder,
        templates=templates,
        device=device,
        precision=precision,
        threads=threads,
        access=access,
    )
    if workers == 0:
        run_here(order, host, port, ready=ready)
        return
    from pipeline.serving.cluster import run_on_cluster

    run_on_cluster(order, host, port, workers=workers, ready=ready)


def make_order(
    checkpoints: Sequence[str],
    *,
    engines: Sequence[Path] = (),
    folder: Path,
    templates: str | None,
    device: str,
    precision: Precision,
    threads: int,
    access: Access,
) -> ServiceOrder:
    """What each process of the service is told; without checkpoints, the landscapes that come with spadework.

    Raises `InputError` for a checkpoint that is not there.
    """
    return ServiceOrder(
        checkpoints=tuple(resolve_checkpoint(source) for source in checkpoints or (LANDSCAPE,)),
        engines=tuple(str(engine.absolute()) for engine in engines),
        folder=str(folder.absolute()),
        templates=templates,
        device=device,
        precision=precision,
        threads=threads,
        limits=Limits(),
        access=access,
    )
