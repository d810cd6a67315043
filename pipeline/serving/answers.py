"""The JSON that clients get, as types: what the OpenAPI document says of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.serving.messages import Runs


class Answer(BaseModel):
    """A JSON object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorAnswer(Answer):
    """Of every answer of 4xx and 5xx."""

    error: str
    """One sentence."""


class HealthAnswer(Answer):
    """Of a service that can make pictures."""

    status: Literal["ok"]


class LabelClass(Answer):
    """A class of a label space."""

    id: int
    name: str
    color: list[int]
    """Red, green and blue, 0 to 255."""


class CheckpointAnswer(Answer):
    """A generator, and what it takes."""

    name: str
    height: int
    width: int
    classes: list[LabelClass]
    dont_care_id: int | None
    instances: bool
    """Whether it tells objects apart, and so looks at the instance map."""
    style_dim: int
    """Numbers of a style vector; 0: no style."""
    photographs: bool
    """Whether a photograph can give the style."""
    formats: list[str]
    max_pixels: int
    """Of a label map that is sent, which is resized to height and width."""
    sha256: str
    """Of the weights."""


class LimitsAnswer(Answer):
    """What is taken at most."""

    max_body_bytes: int
    max_samples: int


class CheckpointsAnswer(Answer):
    """All checkpoints; the first is the default."""

    checkpoints: list[CheckpointAnswer]
    limits: LimitsAnswer


class StyleAnswer(Answer):
    """A style vector."""

    z: list[float]


class NamedStyle(StyleAnswer):
    """A style with a name."""

    name: str


class StylesAnswer(Answer):
    """The styles of a checkpoint."""

    styles: list[NamedStyle]


class TemplateAnswer(Answer):
    """A label map to start from, of the checkpoint's size."""

    name: str
    label_map: Runs
    instance_map: Runs | None


class TemplatesAnswer(Answer):
    """All templates of a checkpoint."""

    templates: list[TemplateAnswer]


class LabelMapAnswer(Answer):
    """A label map, of the checkpoint's size."""

    label_map: Runs


class RowAnswer(Answer):
    """A row of a Parquet file."""

    rows: int
    """Of the file."""
    row: int
    id: str
    label_map: Runs
    instance_map: Runs | None


class CountAnswer(Answer):
    """How many marks there are."""

    count: int
