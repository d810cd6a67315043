"""[Ray] The one place that starts a local Ray or joins a running cluster, quietly and without known traps."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.runtime.waiting import bound_spinning

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

log = logging.getLogger(__name__)

ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # A local instance listens on this machine only; a token file under $HOME is no use.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # We draw our own.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # The behaviour that Ray announces as its future default, unwarned.
    "RAY_DEDUP_LOGS": "0",
    # Ray Data's actor pools make the core log an error that is none, on the terminal, at every start.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Set where the user has not set them; Ray reads them at import."""

CLUSTERS_OWN = ("RAY_AUTH_MODE", "RAY_BACKEND_LOG_LEVEL")
"""Of those, what a running cluster decides for itself."""

STARTS = 3
"""Ray gives its own start 30 seconds, which a busy machine may need more than once."""

JOIN_SECONDS = 10.0
"""For a first answer of a cluster; Ray itself would keep asking for minutes."""

WATCH_SECONDS = 0.2
"""Between two looks at the processes of a local instance."""

AGAIN = "run the same command again, which resumes where it stopped, or with --workers 0, which needs no Ray"

NO_PROGRESS_SECONDS = 120
"""A Ray Data job that stands still for so long is a deadlock of logical resources (Ray's default: 30 minutes)."""


_dashboard = False


class RayStartError(InputError):
    """An instance on this machine did not start; what was to be done on it has not begun."""


def show_dashboard(asked: bool) -> None:
    """Whether Ray, wherever this process starts or joins it from now on, is to have its dashboard and say where."""
    global _dashboard
    _dashboard = asked


def prepare_environment() -> None:
    """Set Ray's environment variables; called by `ensure_ray`, and before any other import of ray."""
    joins = "RAY_ADDRESS" in os.environ
    for name, value in ENVIRONMENT.items():
        if not (joins and name in CLUSTERS_OWN):
            os.environ.setdefault(name, value)
    bound_spinning()  # of the workers, which have the environment of the instance that starts them
    # A worker that starts unpickles our classes before it knows the driver's sys.path; a checkout that is not
    # installed is found through this.
    root = str(Path(__file__).resolve().parents[2])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if root not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, root])


def ensure_ray(*, num_cpus: int | None = None) -> bool:
    """Connect to Ray unless that is done already; True if this call did it (and so should shut it down).

    With `RAY_ADDRESS` set, joins that cluster. Otherwise starts an instance on this machine with at least four
    logical CPUs: they are bookkeeping, and with as many as cores a pool of actors can wait for one another forever.
    Raises `InputError` where the cluster cannot be reached, or the instance does not start.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        return False
    for name in ("ray", "ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if "RAY_ADDRESS" in os.environ:
        _join(os.environ["RAY_ADDRESS"])
    else:
        _start(num_cpus or max(4, os.cpu_count() or 1))
    configure_data()
    return True


def _join(address: str) -> None:
    """Connect to the cluster that `RAY_ADDRESS` names."""
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():  # Else `auto` or `local`.
            socket.create_connection((host, int(port)), timeout=JOIN_SECONDS).close()
        with _quiet_stderr():
            context = ray.init(logging_level=logging.ERROR, log_to_driver=False)
        _tell_dashboard(context)
    except Exception as error:  # Ray raises no class of its own here.
        raise InputError(
            f"the Ray cluster of RAY_ADDRESS={address} cannot be joined ({_reason(error)}); start it, unset "
            "RAY_ADDRESS, or give --workers 0, which needs no Ray"
        ) from error


def _start(num_cpus: int) -> None:
    """Start an instance on this machine, again if it was too slow."""
    import ray

    for start in range(1, STARTS + 1):
        try:
            with _quiet_stderr():
                context = ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=_dashboard,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
            _tell_dashboard(context)
            return
        except Exception as error:  # Ray raises no class of its own here.
            ray.shutdown()
            if "dashboard with missing packages" in str(error):
                raise InputError(
                    "Ray's dashboard is not installed; pip install 'spadework[cluster]', or leave out --dashboard"
                ) from None
            if start == STARTS or "timed out" not in str(error):
                raise RayStartError(f"Ray did not start ({_reason(error)}); {AGAIN}") from error
            log.warning("Ray did not start within its time on this busy machine; trying again")


def _tell_dashboard(context: BaseContext) -> None:
    """Say where the dashboard is, if it was asked for."""
    if _dashboard:
        address = context.dashboard_url
        log.warning("Ray's dashboard: %s", f"http://{address}" if address else "this cluster has none")


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what is written to the error stream, by Ray's core too: Ray keeps it in its logs."""
    sys.stderr.flush()
    stream = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(stream, 2)
        os.close(stream)


def configure_data() -> None:
    """Settings of Ray Data: the plain Parquet reader, and an early end of a job that stands still."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray's own defaults set deprecated fields.
        from ray.data import DataContext

        context = DataContext.get_current()
    # The new data source starts dozens of footer readers (10 to 31 s for 3 MB) and ignores the number of blocks.
    for name, value in {
        "use_datasource_v2": False,
        "execution_no_progress_timeout_s": NO_PROGRESS_SECONDS,
        "enable_progress_bars": False,
    }.items():
        if hasattr(context, name):
            setattr(context, name, value)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


@contextmanager
def ray_session(*, num_cpus: int | None = None) -> Iterator[None]:
    """Ray for the length of a `with` block: joined if it runs already, else started and shut down again.

    After a block that ended well, the folder of logs that a local instance leaves in the temporary directory is
    removed; after an error it stays, for whoever looks for the reason. Raises `InputError` where Ray does not start, or
    fails: where the code of a task fails, what the block raises. Where a local instance dies, the program ends with
    exit code 2.
    """
    started = ensure_ray(num_cpus=num_cpus)
    local = started and "RAY_ADDRESS" not in os.environ
    logs = _logs_folder() if local else None
    failed = True
    try:
        with _watched_processes() if local else nullcontext():
            yield
        failed = False
    except Exception as error:
        if is_failure_of_ray(error):
            where = f"; its logs are in {logs}" if logs else ""
            raise InputError(f"Ray failed ({_reason(error)}){where}; {AGAIN}") from error
        raise
    finally:
        if started:
            import ray

            ray.shutdown()
            if logs and not failed:
                shutil.rmtree(logs, ignore_errors=True)


def is_failure_of_ray(error: BaseException) -> bool:
    """Whether Ray, or one of its processes or machines, failed, and not the code of a task."""
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import RayError, RayTaskError, UserCodeException

    own = isinstance(error, RayError) and not isinstance(error, RayTaskError | UserCodeException)
    return own or isinstance(error, ExecutionTimeoutError)


def _reason(error: BaseException) -> str:
    """The first sentence of an error of Ray, which may go on for pages."""
    line = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
    return f"{type(error).__name__}: {line[:200]}".removesuffix(": ")


@contextmanager
def _watched_processes() -> Iterator[None]:
    """End the program in one line when a process of the local instance dies.

    Ray's core ends it too, some seconds later, wherever it is, after lines of its own and without another word.
    """
    import ray

    node = ray._private.worker._global_node
    over = threading.Event()

    def watch() -> None:
        while node is not None and not over.wait(WATCH_SECONDS):
            if dead := {name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"}:
                sys.stderr.write(f"\nError: Ray has died (its {dead.pop()} ended); {AGAIN}\n")
                sys.stderr.flush()
                node.kill_all_processes(check_alive=False, allow_graceful=False)
                os._exit(2)

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _logs_folder() -> Path | None:
    """The folder in the temporary directory that belongs to the local instance just started."""
    import ray

    node = getattr(ray._private.worker, "_global_node", None)
    return Path(node.get_session_dir_path()) if node else None
