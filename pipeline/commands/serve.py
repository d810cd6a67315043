"""The verb `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.command_line import CHECKPOINT, OUT, PROCESSES_OR_NONE, WORKER_THREADS, Existing, Location
from pipeline.command_output import show_log, tell


@click.command()
@click.option(
    "--checkpoint",
    "checkpoints",
    type=CHECKPOINT,
    multiple=True,
    help="As for synthesize; several may be given  [default: the landscapes that come with spadework]",
)
@click.option(
    "--engine",
    "engines",
    type=Existing("engine", "`spadework compile` makes engines"),
    multiple=True,
    help="Folder that compile made of one of the checkpoints, to draw with.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; beyond this machine it wants --token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option(
    "--token",
    envvar="SPADEWORK_TOKEN",
    help="What every client must bring; better in SPADEWORK_TOKEN, since others see a command's options.",
)
@click.option(
    "--workers",
    type=PROCESSES_OR_NONE,
    help="Replicas on Ray Serve, at most; 0: this process, without Ray  [default: 0; with RAY_ADDRESS 2]",
)
@WORKER_THREADS
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Arithmetic without an engine; fp16 on GPUs only.",
)
@click.option("--templates", type=Location("label maps"), help="Parquet of label maps to start from.")
@click.option(
    "--folder", type=OUT, default=Path("served"), show_default=True, help="Where saved styles and marks are kept."
)
def serve(checkpoints: tuple[str, ...], workers: int | None, **options: Any) -> None:
    """Serve a page to paint label maps on, and an API: label maps and styles to pictures.

    \b
    Example:
      spadework serve --checkpoint runs/x --port 8000
    """
    from pipeline.serving.serve import serve as run

    show_log("pipeline.serving")
    run(
        checkpoints,
        workers=workers,
        ready=lambda address: tell(f"Serving at {address}; Ctrl-C ends it", address=address),
        **options,
    )
