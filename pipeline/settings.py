"""What all sections of a recipe have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(gt=0, le=1024)]
"""Channels; the bound is wider than anything that was ever trained, and tells a mistake before it takes memory."""


class Settings(BaseModel):
    """A section of a recipe: unknown keys and wrong types are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
