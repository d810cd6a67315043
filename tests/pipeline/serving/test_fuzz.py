"""Whatever JSON or bytes come, every answer is as described: a success, or one sentence, and never a 5xx."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipeline.serving.operations import OPERATIONS, Operation

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SIDE = st.integers(-1, 40)
RUNS = st.fixed_dictionaries(
    {
        "width": SIDE,
        "height": SIDE,
        "runs": st.lists(st.tuples(st.integers(-1, 300), st.integers(-1, 2000)), max_size=4),
    }
)
FILLED = st.builds(
    lambda width, height, number: {"width": width, "height": height, "runs": [[number, width * height]]},
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 5),
)  # fmt: skip
TEXT = st.text(max_size=30)
STYLE = st.recursive(
    st.fixed_dictionaries({"seed": st.integers(-1, 2**64)})
    | st.fixed_dictionaries({"z": st.lists(st.floats(-120, 120), min_size=3, max_size=5)})
    | st.fixed_dictionaries({"saved": TEXT})
    | st.fixed_dictionaries({"photograph": TEXT})
    | JSON,
    lambda inner: st.fixed_dictionaries({"blend": st.lists(inner, min_size=2, max_size=2), "t": st.floats(0, 1)}),
    max_leaves=4,
)
LABEL_MAP = FILLED | RUNS | st.fixed_dictionaries({"png": TEXT}) | JSON
FIELDS: dict[str, Any] = {
    "checkpoint": st.sampled_from(["styled", "plain", "other"]) | JSON,
    "label_map": LABEL_MAP,
    "instance_map": LABEL_MAP,
    "style": STYLE,
    "seed": st.integers(-1, 2**64) | JSON,
    "id": TEXT | JSON,
    "sample": st.integers(-1, 80) | JSON,
    "format": st.sampled_from(["png", "webp", "jpeg", "gif"]) | JSON,
    "mark": st.sampled_from(["bad", "good", "ugly"]),
    "note": TEXT | JSON,
    "name": TEXT | JSON,
    "record_id": TEXT | JSON,
    "photograph": TEXT | JSON,
    "z": st.lists(st.floats(), max_size=5) | JSON,
}


def body_of(operation: Operation) -> st.SearchStrategy[bytes]:
    """Bodies that are nearly as the document describes them, and others that are not."""
    if operation.body is None:
        return st.binary(max_size=300)
    known = list(operation.body.model_fields)
    required = {name: FIELDS[name] for name in known if operation.body.model_fields[name].is_required()}
    optional = {name: FIELDS[name] for name in known if name not in required}
    near = st.fixed_dictionaries(required, optional=optional)
    return (near | JSON).map(lambda value: json.dumps(value).encode())


REQUESTS = st.sampled_from(OPERATIONS).flatmap(
    lambda operation: st.tuples(
        st.just(operation),
        body_of(operation) if operation.method == "POST" else st.just(b""),
        st.fixed_dictionaries({}, optional=dict.fromkeys(operation.query, TEXT)),
    )
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(request=REQUESTS)
def test_any_request(client: TestClient, request: tuple[Operation, bytes, dict[str, str]]) -> None:
    operation, body, query = request
    answer = client.request(
        operation.method, operation.path, content=body, params=query, headers={"content-type": "application/json"}
    )
    if answer.status_code == 200:
        return
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    (sentence,) = answer.json().values()
    assert sentence and "\n" not in sentence and "Traceback" not in sentence and len(sentence) < 600
