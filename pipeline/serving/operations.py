"""The API's operations: the table that routes and their description are both made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving import answers, handlers, messages
from pipeline.serving.service import Service

Handler = Callable[[Service, Request], Awaitable[Response]]

PICTURES = ("image/png", "image/webp", "image/jpeg")


@dataclass(frozen=True)
class Operation:
    """A method of a path: what it takes, and what it gives."""

    method: str
    path: str
    handler: Handler
    body: type[messages.Message] | None = None
    """JSON that it takes."""
    form: bool = False
    """Whether the same may come as a form with files."""
    files: tuple[str, ...] = ()
    """Media types of a body that is a file."""
    query: tuple[str, ...] = ()
    answer: type[answers.Answer] | None = None
    """JSON that it gives."""
    media: tuple[str, ...] = field(default=())
    """Media types of an answer that is no JSON."""

    @property
    def summary(self) -> str:
        """The first paragraph of what the handler says of itself."""
        return " ".join((self.handler.__doc__ or "").partition("\n\n")[0].split())


V1 = "/api/v1"
PARQUET = (handlers.PARQUET,)
LABEL_MAP_FILES = ("image/png", "image/tiff", "image/bmp", "image/gif")

OPERATIONS = (
    Operation("GET", "/healthz", handlers.healthz, answer=answers.HealthAnswer),
    Operation("GET", "/metrics", handlers.metrics, media=("text/plain",)),
    Operation("GET", f"{V1}/checkpoints", handlers.checkpoints, answer=answers.CheckpointsAnswer),
    Operation(
        "POST", f"{V1}/synthesize", handlers.synthesize, body=messages.SynthesisMessage, form=True, media=PICTURES
    ),
    Operation("GET", f"{V1}/styles", handlers.list_styles, query=("checkpoint",), answer=answers.StylesAnswer),
    Operation("POST", f"{V1}/styles", handlers.make_style, body=messages.StyleMessage, answer=answers.StyleAnswer),
    Operation("GET", f"{V1}/templates", handlers.templates, query=("checkpoint",), answer=answers.TemplatesAnswer),
    Operation(
        "POST",
        f"{V1}/label-maps",
        handlers.read_label_map,
        files=LABEL_MAP_FILES,
        query=("checkpoint",),
        answer=answers.LabelMapAnswer,
    ),
    Operation(
        "POST",
        f"{V1}/parquet",
        handlers.read_parquet,
        files=PARQUET,
        query=("checkpoint", "row"),
        answer=answers.RowAnswer,
    ),
    Operation("POST", f"{V1}/records", handlers.make_record, body=messages.RecordMessage, media=PARQUET),
    Operation("POST", f"{V1}/marks", handlers.make_mark, body=messages.MarkMessage, answer=answers.CountAnswer),
    Operation("GET", f"{V1}/marks", handlers.export_marks, query=("checkpoint",), media=PARQUET),
)
