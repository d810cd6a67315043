"""A hostile client that has read the description: whatever it sends, every answer is one that the OpenAPI document
lists for that operation, of its media type and its schema, and none is a 5xx.

`tests/pipeline/serving/schemathesis_run.py` has the same of schemathesis, which is not among our dependencies.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipeline.serving.openapi import describe

DOCUMENT = describe()
TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FILLED = st.builds(
    lambda width, height, number: {"width": width, "height": height, "runs": [[number, width * height]]},
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 5),
)  # fmt: skip
VECTOR = st.fixed_dictionaries({"z": st.lists(st.floats(-120, 120), min_size=3, max_size=5)})
KNOWN = {
    "checkpoint": st.sampled_from(["styled", "plain", "other"]),
    "label_map": FILLED,
    "z": st.lists(st.floats(-100, 100), min_size=4, max_size=4),
    "style": VECTOR,
    "sample": st.integers(-1, 70),
    "row": st.integers(-1, 3).map(str),
}
"""Values of fields that the description alone seldom hits, so that what comes after the checks is reached too."""


def from_schema(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that a schema of the document describes, as far as pydantic's schemas go; nested forms end somewhere."""
    if "$ref" in schema:
        return st.deferred(lambda: from_schema(_resolve(schema["$ref"]), depth + 1))
    for forms in ("anyOf", "oneOf"):
        if forms in schema:
            # Of the forms of a style the last one holds others: it ends where it is deep.
            several = schema[forms][: -1 if depth > 3 and len(schema[forms]) > 2 else None]
            return st.one_of([from_schema(each, depth) for each in several])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    kind = schema.get("type")
    if kind == "object":
        fields = {name: _field(name, each, depth) for name, each in schema.get("properties", {}).items()}
        required = {name: fields[name] for name in schema.get("required", ())}
        return st.fixed_dictionaries(required, optional={n: each for n, each in fields.items() if n not in required})
    if kind == "array":
        most = min(schema.get("maxItems", 4), 5)
        return st.lists(
            from_schema(schema["items"], depth), min_size=min(schema.get("minItems", 0), most), max_size=most
        )
    if kind == "string":
        length = {"min_size": schema.get("minLength", 0), "max_size": min(schema.get("maxLength", 40), 250)}
        if "pattern" in schema:
            return st.from_regex(schema["pattern"])
        return st.binary(max_size=60).map(lambda data: data.hex()) | st.text(**length)
    if kind in ("integer", "number"):
        least = schema.get("minimum", -(1 << 65))
        most = schema.get("maximum", schema.get("exclusiveMaximum", 1 << 65))
        return st.integers(least, most) if kind == "integer" else st.floats(least, most)
    return {"boolean": st.booleans(), "null": st.none()}.get(kind or "", JSON)


def _field(name: str, schema: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    described = from_schema(schema, depth)
    return described | KNOWN[name] if name in KNOWN else described


def _resolve(reference: str) -> dict[str, Any]:
    place: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        place = place[step]
    return place


@dataclass(frozen=True)
class Sent:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    options: dict[str, Any]


def bodies(content: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """What a body of one of its media types, or of none of them, is to the client."""
    found = [st.binary(max_size=300).map(lambda data: {"content": data})]
    for media, described in content.items():
        if media == "application/json":
            near = from_schema(described["schema"])
            found.append((near | near | JSON).map(lambda value: _typed(json.dumps(value).encode(), "application/json")))
        elif media == "multipart/form-data":
            found.append(_forms(described["schema"]))
        else:
            found.append(st.builds(_typed, st.binary(max_size=300), st.just(media)))
    return st.one_of(found)


def _typed(data: bytes, media: str) -> dict[str, Any]:
    return {"content": data, "headers": {"content-type": media}}


def _forms(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = schema["properties"]
    files = {name: st.binary(max_size=99) for name, each in fields.items() if "contentMediaType" in each}
    texts = {name: (TEXT | KNOWN.get(name, TEXT)).map(str) for name in fields if name not in files}
    send = {"files": st.fixed_dictionaries({}, optional=files), "data": st.fixed_dictionaries({}, optional=texts)}
    return st.fixed_dictionaries(send)


def requests() -> st.SearchStrategy[Sent]:
    """Any operation of the document, with parameters and a body."""
    every = []
    for path, methods in DOCUMENT["paths"].items():
        for method, described in methods.items():
            query = {each["name"]: TEXT | KNOWN[each["name"]] for each in described.get("parameters", ())}
            body = bodies(described["requestBody"]["content"]) if "requestBody" in described else st.just({})
            every.append(
                st.builds(Sent, st.just(method), st.just(path), st.fixed_dictionaries({}, optional=query), body)
            )
    return st.one_of(every)


@functools.cache
def answer_schema(path: str, method: str, status: str, media: str) -> jsonschema.Draft202012Validator:
    """Of what the document lists."""
    listed = DOCUMENT["paths"][path][method]["responses"]
    assert status in listed, f"{status} is no answer of {method} {path}"
    assert media in listed[status]["content"], f"{media} is none of {path}'s"
    return jsonschema.Draft202012Validator({**listed[status]["content"][media]["schema"], **DOCUMENT})


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(sent=requests())
def test_any_request(client: TestClient, sent: Sent) -> None:
    answer = client.request(sent.method.upper(), sent.path, params=sent.query, **sent.options)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    media = answer.headers["content-type"].partition(";")[0]
    schema = answer_schema(sent.path, sent.method, str(answer.status_code), media)
    if media != "application/json":
        return
    schema.validate(answer.json())
    if answer.status_code != 200:
        (sentence,) = answer.json().values()
        assert sentence and "\n" not in sentence and "Traceback" not in sentence and len(sentence) < 600
