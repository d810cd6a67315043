"""The OpenAPI 3.1 document of the API, made from the table of operations and the types of what goes to and fro."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pipeline.serving.answers import ErrorAnswer
from pipeline.serving.handlers import FORM_FIELDS, FORM_FILES
from pipeline.serving.operations import OPERATIONS, Operation

QUERY = {
    "checkpoint": ({"type": "string"}, "Name of the checkpoint; without it, the first of the service."),
    "row": ({"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0}, "Number of the row, from 0."),
}
TIMING = {
    "Server-Timing": {
        "description": "Milliseconds of the stages: queue, decode, paint, encode.",
        "schema": {"type": "string"},
    }
}
STATUSES = {
    "400": "What was sent cannot be used; the sentence says why.",
    "401": "The service wants its token.",
    "403": "A page of another site, or a name of the service that is not its own.",
    "404": "There is no such checkpoint or style.",
    "408": "The body did not come in time.",
    "409": "The service's folder is full.",
    "413": "Too many bytes or pixels.",
    "415": "The body is of another kind.",
    "500": "A defect of the service.",
    "503": "Too much is being asked at once; come again after Retry-After seconds.",
}


def describe() -> dict[str, Any]:
    """The document, as JSON has it."""
    types = {each.body for each in OPERATIONS if each.body} | {each.answer for each in OPERATIONS if each.answer}
    ordered = sorted(types | {ErrorAnswer}, key=lambda kind: kind.__name__)
    mode: JsonSchemaMode = "validation"
    _, schemas = models_json_schema([(kind, mode) for kind in ordered], ref_template="#/components/schemas/{model}")
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spadework",
            "version": _version(),
            "description": "Label maps and styles to pictures. Errors are JSON: `error` is one sentence.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.handler.__name__, "summary": operation.summary}
    if operation.query:
        described["parameters"] = [
            {"name": name, "in": "query", "required": False, "schema": QUERY[name][0], "description": QUERY[name][1]}
            for name in operation.query
        ]
    content: dict[str, Any] = {}
    if operation.body:
        content["application/json"] = {"schema": _ref(operation.body)}
    if operation.form:
        content["multipart/form-data"] = {"schema": _form()}
    for media in operation.files:
        content[media] = {"schema": {"type": "string", "contentMediaType": media}}
    if content:
        described["requestBody"] = {"required": True, "content": content}
    answer: dict[str, Any] = {"application/json": {"schema": _ref(operation.answer)}} if operation.answer else {}
    for media in operation.media:
        answer[media] = {"schema": {"type": "string", "contentMediaType": media}}
    good: dict[str, Any] = {"description": "Done.", "content": answer}
    if operation.form:
        good["headers"] = TIMING
    error = {"application/json": {"schema": _ref(ErrorAnswer)}}
    described["responses"] = {
        "200": good,
        **{status: {"description": said, "content": error} for status, said in STATUSES.items()},
    }
    return described


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _form() -> dict[str, Any]:
    """The fields of `SynthesisMessage` as a form has them."""
    texts = {
        "sample": {"type": "integer", "minimum": 0},
        "seed": {"type": "integer", "minimum": 0},
        "format": {"enum": ["png", "webp", "jpeg"]},
        "style": {"type": "string", "description": "A style as JSON."},
    }
    files = {name: {"type": "string", "contentMediaType": "application/octet-stream"} for name in FORM_FILES}
    fields = {name: texts.get(name, {"type": "string"}) for name in FORM_FIELDS}
    return {"type": "object", "properties": {**files, **fields}, "required": ["label_map"]}


def _version() -> str:
    try:
        return version("spadework")
    except PackageNotFoundError:
        return "0"
