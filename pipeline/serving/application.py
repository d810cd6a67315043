"""The service for Ray Serve's own tools, `serve run` and KubeRay's RayService: `pipeline.serving.application:build`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError
from pipeline.runtime.limits import MOST_PROCESSES
from pipeline.serving.cluster import application
from pipeline.serving.guard import Access
from pipeline.serving.serve import CLUSTER_WORKERS, make_order

TOKEN = "SPADEWORK_TOKEN"
"""The environment variable of the token, in every pod: arguments of applications can be read in Ray's dashboard."""


class ServiceArguments(BaseModel):
    """`args` of the application: options of the verb `serve`, by its names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoints: tuple[str, ...] = ()
    """Paths or URIs that mean the same on every node; none: the landscapes that come with spadework."""
    engines: tuple[Path, ...] = ()
    folder: Path = Path("served")
    """Of saved styles and marks; the same on every node."""
    workers: int = Field(default=CLUSTER_WORKERS, ge=1, le=MOST_PROCESSES)
    """Replicas to begin with, and at most."""
    threads: int = Field(default=1, ge=1, le=MOST_PROCESSES)
    """Of each replica's arithmetic."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Without an engine; int8 is of engines only."""
    templates: str | None = None


def build(args: Mapping[str, Any]) -> Any:
    """The application that Ray Serve runs, from `args` of its configuration (`ServiceArguments`).

    Raises `InputError` for arguments that are unknown or out of range, where no token is in the environment, and for a
    checkpoint that is not there.
    """
    try:
        given = ServiceArguments.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"args.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    token = os.environ.get(TOKEN)
    if not token:
        raise InputError(
            f"the service can be reached from other machines; set {TOKEN} in the environment of every node"
        )
    order = make_order(
        given.checkpoints,
        engines=given.engines,
        folder=given.folder,
        templates=given.templates,
        device="cpu",  # or the GPU, where the cluster has any: see `application`
        precision=given.precision,
        threads=given.threads,
        access=Access.of("0.0.0.0", token),
    )
    return application(order, given.workers)
