"""The bodies that clients send, as types: what is checked on the way in, and what the OpenAPI document says of it."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    EncodedBytes,
    FailFast,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from pipeline.errors import InputError
from pipeline.serving.refusal import Refusal

MAX_DEPTH = 4
"""Of blends within blends."""

Sent = TypeVar("Sent", bound="Message")


class _Base64:
    """Base64 and nothing else, but for ends of lines: a decoder that passes over other characters makes a broken file
    of whatever text comes, and the error then speaks of that."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        """The bytes; `PydanticCustomError` where there is anything else."""
        try:
            return base64.b64decode(data.translate(None, b"\r\n"), validate=True)
        except ValueError as error:
            raise PydanticCustomError("base64", "this is no base64 ({told})", {"told": str(error)}) from None

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """As text of ASCII."""
        return base64.b64encode(value)

    @classmethod
    def get_json_format(cls) -> Literal["base64"]:
        """As the OpenAPI document says it."""
        return "base64"


Base64Bytes = Annotated[bytes, EncodedBytes(encoder=_Base64)]


class Message(BaseModel):
    """A JSON object whose fields are all known, of the right types, never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Side = Annotated[int, Field(ge=1, le=1 << 16)]
Run = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=2, max_length=2)]
NAME_BYTES = 200
"""Of a style's name: with what is added while it is written, no file's name may have more than 255."""


def _fits_a_file(name: str) -> str:
    if len(name.encode()) > NAME_BYTES:
        raise PydanticCustomError("name_bytes", "the name has more than {most} bytes", {"most": NAME_BYTES})
    return name


Name = Annotated[str, Field(pattern=r"^\w[\w .()+-]{0,63}$"), AfterValidator(_fits_a_file)]
Number = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]


class Runs(Message):
    """A label map as runs of equal ids, row after row."""

    width: Side
    height: Side
    runs: Annotated[list[Run], Field(min_length=1), FailFast()]  # one wrong run is told; a million would fill memory
    """`[id, count]` each; the counts add up to width times height."""


class Picture(Message):
    """A label map as a PNG: of ids (grey, or indices), or of the palette's colours."""

    png: Base64Bytes


class SeedStyle(Message):
    """The random style of a seed, the request's id and its sample number, as `synthesize --seed` draws it."""

    seed: Seed


class VectorStyle(Message):
    """A style vector, as long as the checkpoint's `style_dim`."""

    z: Annotated[list[Number], Field(min_length=1, max_length=4096)]


class PhotographStyle(Message):
    """The mean style of a photograph, in any usual format."""

    photograph: Base64Bytes


class SavedStyle(Message):
    """A style of `GET /api/v1/styles`, by its name."""

    saved: Name


class BlendStyle(Message):
    """Between two styles: `(1 - t)` of the first and `t` of the second."""

    blend: Annotated[list[Style], Field(min_length=2, max_length=2)]
    t: Annotated[float, Field(ge=0, le=1)] = 0.5


def _kind(*names: str) -> Discriminator:
    """Tells the forms of an object apart by the one field that only it has, so that errors speak of that form."""

    def find(value: Any) -> str:
        has = value if isinstance(value, dict) else dir(value)
        return next((name for name in names if name in has), names[0])

    return Discriminator(find)


LabelMap = Annotated[Annotated[Runs, Tag("runs")] | Annotated[Picture, Tag("png")], _kind("runs", "png")]
Style = Annotated[
    Annotated[SeedStyle, Tag("seed")]
    | Annotated[VectorStyle, Tag("z")]
    | Annotated[PhotographStyle, Tag("photograph")]
    | Annotated[SavedStyle, Tag("saved")]
    | Annotated[BlendStyle, Tag("blend")],
    _kind("seed", "z", "photograph", "saved", "blend"),
]


class Scene(Message):
    """What a picture is made of."""

    checkpoint: Annotated[str, Field(max_length=200)] | None = None
    """None: the first of the service."""
    label_map: LabelMap
    instance_map: LabelMap | None = None
    """A number for each object, of the label map's size, for checkpoints with `instances`; None: no objects."""
    style: Style | None = None
    """None: that of `seed`."""
    seed: Seed = 0
    """Of the style where none is given, and of the noise that some generators add."""
    id: Annotated[str, Field(min_length=1, max_length=200)] = "painter"
    sample: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Which of the pictures of this label map, as `synthesize --samples` numbers them."""


class SynthesisMessage(Scene):
    """The body of `POST /api/v1/synthesize`."""

    format: Literal["png", "webp", "jpeg"] = "png"


class RecordMessage(Scene):
    """The body of `POST /api/v1/records`."""

    record_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The record's; None: `id`, which goes on deciding the picture."""


class MarkMessage(Scene):
    """The body of `POST /api/v1/marks`."""

    mark: Literal["bad", "good"]
    note: Annotated[str, Field(max_length=2000)] = ""


class StyleMessage(Message):
    """The body of `POST /api/v1/styles`: the style of a photograph, or one given, saved where it has a name."""

    checkpoint: Annotated[str, Field(max_length=200)] | None = None
    photograph: Base64Bytes | None = None
    z: Annotated[list[Number], Field(min_length=1, max_length=4096)] | None = None
    name: Name | None = None


def parse(kind: type[Sent], body: bytes, *, max_values: int) -> Sent:
    """A body as a message; `InputError` in one sentence for what it is not, `Refusal` (413) for too many values."""
    # A value of two bytes, such as "0,", becomes an object of a hundred, so they are counted before there are any.
    # Every value but the first of a list or an object has a comma before it, and base64 has none.
    if body.count(b",") > max_values:
        raise Refusal(
            413, f"the body has more than {max_values} numbers; send label maps of many runs as PNG",
            reason="too many values",
        )  # fmt: skip
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = " ".join(first["msg"].split())
        raise InputError(f"{place}: {said}" if place else f"the body is not as described: {said}") from None
