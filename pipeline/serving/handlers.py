"""What answers each route: from HTTP to what the service does, and back."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from pipeline.data.encoders import ENCODERS
from pipeline.errors import InputError
from pipeline.serving.label_maps import decode_label_picture, to_runs
from pipeline.serving.messages import (
    MarkMessage,
    PhotographStyle,
    RecordMessage,
    Scene,
    Sent,
    StyleMessage,
    SynthesisMessage,
    VectorStyle,
    parse,
)
from pipeline.serving.painted import record_file
from pipeline.serving.parquet_rows import read_row
from pipeline.serving.refusal import Refusal
from pipeline.serving.service import Decoded, Service, Timing

T = TypeVar("T")
SceneMessage = TypeVar("SceneMessage", bound=Scene)

PARQUET = "application/vnd.apache.parquet"
NO_STORE = {"cache-control": "no-store"}
FORM_FIELDS = ("checkpoint", "id", "sample", "seed", "format", "style")
FORM_FILES = ("label_map", "instance_map", "photograph")


async def healthz(service: Service, request: Request) -> Response:
    """Whether pictures can be made."""
    if not service.queue.alive:
        raise Refusal(503, "the generator's thread has ended; start the service again", retry_after=30)
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def metrics(service: Service, request: Request) -> Response:
    """What was counted, in Prometheus' text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8", headers=NO_STORE)


async def checkpoints(service: Service, request: Request) -> Response:
    """The checkpoints, their classes and what they take; and the service's bounds."""
    described = []
    for model in service.models.values():
        classes = zip(model.space.classes, model.space.palette, strict=True)
        described.append(
            {
                "name": model.name,
                "height": model.size[0],
                "width": model.size[1],
                "classes": [
                    {"id": number, "name": name, "color": list(color)} for number, (name, color) in enumerate(classes)
                ],
                "dont_care_id": model.space.dont_care,
                "instances": model.instances,
                "style_dim": model.style_dim,
                "photographs": model.photographs,
                "formats": list(ENCODERS),
                "max_pixels": service.limits.max_pixels,
                "sha256": model.sha256,
            }
        )
    limits = {"max_body_bytes": service.limits.max_body_bytes, "max_samples": service.limits.max_samples}
    return JSONResponse({"checkpoints": described, "limits": limits})


async def synthesize(service: Service, request: Request) -> Response:
    """The picture of a label map."""
    timing = Timing()
    message, scene = await _scene(service, request, timing)
    pixels = await _unless_gone(request, service.paint(scene, timing))
    data = await service.encode(scene, pixels, message.format, timing)
    for stage, milliseconds in timing.stages.items():
        service.metrics.stages.labels(stage).observe(milliseconds / 1000)
    return Response(data, media_type=f"image/{message.format}", headers={**NO_STORE, "server-timing": timing.header()})


async def list_styles(service: Service, request: Request) -> Response:
    """The styles that a checkpoint has by name."""
    found = await service.styles(service.model(request.query_params.get("checkpoint")))
    return JSONResponse({"styles": [{"name": name, "z": z} for name, z in found.items()]}, headers=NO_STORE)


async def make_style(service: Service, request: Request) -> Response:
    """The style of a photograph, or one given; saved where it has a name."""
    message = await _read(service, await request.body(), StyleMessage)
    model = service.model(message.checkpoint)
    if (message.photograph is None) == (message.z is None):
        raise InputError("give either a photograph or z")
    if message.photograph is not None:
        photograph = PhotographStyle.model_construct(photograph=message.photograph)
        await service.in_thread(service.known_style, model, photograph)
        z = await _unless_gone(request, service.style_of(model, message.photograph))
    else:
        vector = VectorStyle.model_construct(z=message.z)
        model.check_style(vector)
        z = np.array(vector.z, np.float32)
    if message.name is not None:
        await service.in_thread(service.saved.save, model.key, message.name, z)
    return JSONResponse({"z": z.tolist()}, headers=NO_STORE)


async def templates(service: Service, request: Request) -> Response:
    """Label maps to start from."""
    model = service.model(request.query_params.get("checkpoint"))
    found = await service.in_thread(service.templates.of, model.space, model.size)
    listed = []
    for each in found:
        label, instance = model.fit(each.label, each.instance)
        runs = {"label_map": to_runs(label), "instance_map": None if instance is None else to_runs(instance)}
        listed.append({"name": each.name, **runs})
    return JSONResponse({"templates": listed})


async def read_label_map(service: Service, request: Request) -> Response:
    """A picture of a label map as runs, of the checkpoint's size."""
    model = service.model(request.query_params.get("checkpoint"))
    body = await request.body()

    def decode() -> dict[str, Any]:
        label = decode_label_picture(body, model.space, max_pixels=service.limits.max_pixels)
        return to_runs(model.fit(label, None)[0])

    return JSONResponse({"label_map": await service.in_thread(decode)}, headers=NO_STORE)


async def read_parquet(service: Service, request: Request) -> Response:
    """A row of a Parquet file of label maps."""
    model = service.model(request.query_params.get("checkpoint"))
    row = request.query_params.get("row", "0")
    if not (row.isascii() and row.isdecimal() and len(row) < 10):
        raise InputError("row is no number from 0; give such as ?row=0")
    body = await request.body()

    def decode() -> dict[str, Any]:
        found = read_row(body, int(row), model.space, max_pixels=service.limits.max_pixels)
        label, instance = model.fit(found["label"], found["instance"])
        maps = {"label_map": to_runs(label), "instance_map": None if instance is None else to_runs(instance)}
        return {"rows": found["rows"], "row": int(row), "id": found["id"], **maps}

    return JSONResponse(await service.in_thread(decode), headers=NO_STORE)


async def make_record(service: Service, request: Request) -> Response:
    """A label map and its picture as a Parquet file of one record."""
    message, scene = await _read_scene(service, await request.body(), RecordMessage)
    painted = await _unless_gone(request, service.paint_record(scene))
    data = await service.in_thread(record_file, painted, scene.model.space, message.record_id or message.id)
    return Response(data, media_type=PARQUET, headers={**NO_STORE, **_as_file("record.parquet")})


async def make_mark(service: Service, request: Request) -> Response:
    """Keep what a user thinks of a picture."""
    message, scene = await _read_scene(service, await request.body(), MarkMessage)
    painted = await service.paint_record(scene)
    keep = partial(service.marks.add, scene.model.key, painted, scene.model.space)
    count = await service.in_thread(partial(keep, mark=message.mark, note=message.note))
    return JSONResponse({"count": count}, headers=NO_STORE)


async def export_marks(service: Service, request: Request) -> Response:
    """All marks of a checkpoint as one Parquet file."""
    model = service.model(request.query_params.get("checkpoint"))
    folder = tempfile.TemporaryDirectory(prefix="spadework-")
    path = Path(folder.name, "marks.parquet")
    await service.in_thread(service.marks.export, model.key, model.space, path)
    headers = {**NO_STORE, **_as_file("marks.parquet")}
    return FileResponse(path, media_type=PARQUET, headers=headers, background=BackgroundTask(folder.cleanup))


def _as_file(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


async def _scene(service: Service, request: Request, timing: Timing) -> tuple[SynthesisMessage, Decoded]:
    """The body of a synthesis, JSON or a form, read and decoded."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = await _form(request)
    elif kind == "application/json":
        body = await request.body()
    else:
        raise Refusal(415, "the body is neither application/json nor multipart/form-data; send one of these")

    began = time.perf_counter()
    message, scene = await _read_scene(service, body, SynthesisMessage)
    timing.add("decode", time.perf_counter() - began)
    return message, scene


async def _read(service: Service, body: bytes, kind: type[Sent]) -> Sent:
    """A body as a message, read by a thread."""
    return await service.in_thread(partial(parse, kind, body, max_values=service.limits.max_values))


async def _read_scene(service: Service, body: bytes, kind: type[SceneMessage]) -> tuple[SceneMessage, Decoded]:
    """A message about a picture, and what it means."""
    message = await _read(service, body, kind)
    await service.prepare(message)
    return message, await service.in_thread(service.decode, message)


async def _form(request: Request) -> bytes:
    """A form as the JSON that says the same."""
    fields: dict[str, Any] = {}
    async with request.form(max_files=len(FORM_FILES), max_fields=len(FORM_FIELDS)) as form:
        for name, value in form.multi_items():
            if name in FORM_FILES:
                data = await value.read() if isinstance(value, UploadFile) else b""
                if not data:
                    raise InputError(f"{name} is no file, or an empty one; send a picture")
                key = "photograph" if name == "photograph" else "png"
                fields["style" if name == "photograph" else name] = {key: base64.b64encode(data).decode()}
            elif name in FORM_FIELDS and isinstance(value, str):
                fields[name] = value
            else:
                raise InputError(f"the form has a field '{name[:40]}'; there are {', '.join(FORM_FILES + FORM_FIELDS)}")
    for name in ("sample", "seed"):
        if name in fields:
            fields[name] = int(fields[name]) if fields[name].isdecimal() and len(fields[name]) < 20 else fields[name]
    if isinstance(fields.get("style"), str):
        try:
            fields["style"] = json.loads(fields["style"])
        except (ValueError, RecursionError):
            raise InputError('the field style is no JSON; send such as {"seed": 3}') from None
    return json.dumps(fields).encode()


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; `ClientDisconnect` where the client goes before, and the work is dropped."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        task.cancel()


async def _disconnect(request: Request) -> None:
    """Return when the client is gone; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
