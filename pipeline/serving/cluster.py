"""The same application on Ray Serve: replicas that come and go with the load."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.runtime.ray_session import ray_session
from pipeline.serving.app import make_app
from pipeline.serving.server import ServiceOrder, address, build_service, listen

if TYPE_CHECKING:
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

APPLICATION = "spadework"

STARTS = 3
"""Of Serve, before its own time is thought to be enough and something else to be wrong."""

QUIET_SECONDS = 600.0
"""After which a replica without work is given up, down to one."""


class Replica:
    """One process of the service, as Ray Serve starts it."""

    def __init__(self, order: ServiceOrder) -> None:
        """Raises `InputError` as `build_service`."""
        self._order, self._service = order, build_service(order)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return make_app(self._service, self._order.access)

    def check_health(self) -> None:
        """Raise where pictures cannot be made any more: Serve then starts another replica in its place."""
        if not self._service.queue.alive:
            raise RuntimeError("the generator's thread has ended")


def run_on_cluster(order: ServiceOrder, host: str, port: int, *, workers: int, ready: Callable[[str], None]) -> None:
    """Serve with at most so many replicas until the process is told to stop; `ready` is told the address.

    Raises `InputError` where Ray Serve is not installed, the port is taken, Ray does not start, or a replica cannot be
    built.
    """
    _refuse_without_serve()
    # Serve tells a port that is taken in its logs only, and knows no port 0. On a running cluster the head listens, and
    # may be another machine: there the port is as given.
    if "RAY_ADDRESS" not in os.environ:
        with listen(host, port) as held:
            port = held.getsockname()[1]
    elif port == 0:
        raise InputError("on a running cluster (RAY_ADDRESS) port 0 is none; give --port")
    with ray_session(num_cpus=max(4, workers * order.threads + 1)):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # which importing it has set
        others = bool(serve.status().applications)  # of a running cluster, which are not ours to end
        try:
            _start(host, port, timeout=2 * order.limits.answer_seconds)
            serve.run(application(order, workers), name=APPLICATION, route_prefix="/")
            ready(address(host, port))
            with _told_to_stop() as stop:
                stop.wait()
        except (RuntimeError, TimeoutError) as error:
            told = (str(error).strip().splitlines() or ["no reason"])[-1]
            raise InputError(f"no replica could be started on Ray Serve ({told[:200]}); try --workers 0") from error
        finally:
            if others:
                serve.delete(APPLICATION)
            else:
                serve.shutdown()


def _start(host: str, port: int, *, timeout: float) -> None:
    """Start Serve on the head, again if it was too slow: it gives itself a minute, which a busy machine may need more
    than once. What a first try has begun, a second one finds. Raises `TimeoutError` after the last."""
    from ray import serve

    for start in range(1, STARTS + 1):
        try:
            serve.start(
                proxy_location="HeadOnly", http_options={"host": host, "port": port, "request_timeout_s": timeout}
            )
            return
        except TimeoutError:
            if start == STARTS:
                raise
            log.warning("Ray Serve did not start within its time on this busy machine; trying again")


def _refuse_without_serve() -> None:
    """`InputError` where Ray comes without Serve: told before Ray is started, which takes a while."""
    try:
        import fastapi  # noqa: F401 - what `ray.serve` imports first, and `ray` alone does not bring
    except ImportError as error:
        raise InputError(
            f"Ray Serve is not installed (no module {error.name}); pip install 'spadework[cluster]', or give "
            "--workers 0"
        ) from None


def application(order: ServiceOrder, workers: int) -> Any:
    """What Ray Serve runs: our own bounds are the narrower ones, so that it is our sentences that clients read."""
    import ray
    from ray import serve

    gpus = ray.cluster_resources().get("GPU", 0)
    options = {"num_cpus": order.threads, **({"num_gpus": 1} if gpus else {})}
    deployment = serve.deployment(
        name="replica",
        ray_actor_options=options,
        max_ongoing_requests=order.limits.max_requests,
        max_queued_requests=order.limits.max_requests,
        backpressure_config={"retry_after_s": 1},
        autoscaling_config={
            "min_replicas": 1,
            "initial_replicas": workers,
            "max_replicas": workers,
            "target_ongoing_requests": 4,
            "downscale_delay_s": QUIET_SECONDS,
        },
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=10,
    )
    wrapped = deployment(serve.ingress()(Replica))
    return wrapped.bind(replace(order, device="cuda" if gpus else "cpu"))


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by Ctrl-C and by SIGTERM."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
