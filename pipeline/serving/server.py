"""The service as one process: uvicorn before the application."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from pipeline.errors import InputError
from pipeline.precision import Precision
from pipeline.runtime.memory import keep_freed_memory
from pipeline.serving.app import make_app
from pipeline.serving.connections import impatient
from pipeline.serving.guard import Access
from pipeline.serving.limits import Limits
from pipeline.serving.model import Model
from pipeline.serving.service import Service
from pipeline.serving.templates import Templates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceOrder:
    """All that a process of the service needs to know; it pickles."""

    checkpoints: tuple[str, ...]
    """As `resolve_checkpoint` gives them."""
    engines: tuple[str, ...] = ()
    folder: str = "served"
    templates: str | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)


def build_service(order: ServiceOrder) -> Service:
    """Load the checkpoints; raises `InputError` for what cannot be loaded or does not fit together."""
    keep_freed_memory()
    engines = _engines(order.engines)
    models: list[Model] = []
    for source, name in zip(order.checkpoints, checkpoint_names(order.checkpoints), strict=True):
        engine = engines.pop(_weights(source), None) if engines else None
        models.append(
            Model(
                name,
                source,
                device=engine.device if engine else order.device,
                precision=engine.precision if engine else order.precision,
                engine=engine.folder if engine else None,
                threads=order.threads,
            )
        )
    if engines:
        folder = next(iter(engines.values())).folder
        raise InputError(f"engine {folder} was made of none of the checkpoints; give its own, or leave it out")
    templates = Templates(order.templates)
    templates.check([model.space for model in models])
    return Service(models, folder=Path(order.folder), templates=templates, limits=order.limits)


def checkpoint_names(sources: Sequence[str]) -> list[str]:
    """Short names: a run directory's, or a file's without the extension; numbers tell equal ones apart.

    >>> checkpoint_names(["/runs/sea/generator.safetensors", "/weights/sea.safetensors", "untrained:/a/b.yaml"])
    ['sea', 'sea-2', 'untrained-b']
    """
    names: list[str] = []
    for source in sources:
        prefix = "untrained-" if source.startswith("untrained:") else ""
        path = Path(source.removeprefix("untrained:"))
        name = prefix + (path.parent.name if path.stem == "generator" and path.parent.name else path.stem)
        name = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name).lstrip(".") or "model"
        number = 2
        while (unique := name if name not in names else f"{name}-{number}") in names:
            number += 1
        names.append(unique)
    return names


@dataclass(frozen=True)
class _Engine:
    folder: Path
    device: str
    precision: Precision


def _engines(folders: Sequence[str]) -> dict[str, _Engine]:
    """Engines by the sha256 of the weights that they were made of."""
    if not folders:
        return {}
    from pipeline.engines.cache import find_engine
    from pipeline.engines.manifest import Manifest

    found: dict[str, _Engine] = {}
    for given in folders:
        folder = find_engine(Path(given))
        spec = Manifest.read(folder).spec
        if spec.weights in found:
            raise InputError(f"engines {found[spec.weights].folder} and {folder} are of the same weights; give one")
        found[spec.weights] = _Engine(folder, spec.device["type"], spec.precision)
    return found


def _weights(source: str) -> str:
    from pipeline.checkpoints.file import load_checkpoint

    return load_checkpoint(source).sha256


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; `InputError` where the address cannot be had."""
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        return socket.create_server((name, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen on {host}, port {port} ({told}); give another --port or --host") from None


def address(host: str, port: int) -> str:
    """Where a browser finds the service."""
    return f"http://{'localhost' if host in ('127.0.0.1', '::1') else host}:{port}/"


def server_config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        http=impatient(limits.head_seconds),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        limit_concurrency=4 * limits.max_requests,
    )


def run_here(order: ServiceOrder, host: str, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve until the process is told to stop; `ready` is told the address. Raises `InputError` as `build_service`."""
    listening = listen(host, port)
    service = build_service(order)
    config = server_config(make_app(service, order.access), order.limits)
    ready(address(host, listening.getsockname()[1]))
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # which uvicorn raises again when it has shut down
        log.info("stopped")
    finally:
        listening.close()
