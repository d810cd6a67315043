"""What the sections of a recipe are made of: their base, and types of fields that several have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(gt=0, le=1024)]
"""Channels; the bound is wider than anything that was ever trained, and tells a mistake before it takes memory."""
BatchSize = Annotated[int, Field(gt=0, le=65536)]
"""Pictures a step; the bound is far beyond what any machine holds, and tells a mistake before it takes memory."""
NonNegativeInt = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
RegionStyles = Literal["none", "class", "instance"]
"""What has a style of its own in a picture: nothing but the picture, each class, or each instance."""
Enlargement = Literal["nearest", "bilinear", "blur"]
"""How feature maps are doubled (`pipeline.networks.resampling.enlarge`)."""


class Settings(BaseModel):
    """A section of a recipe: unknown keys and wrong types are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
