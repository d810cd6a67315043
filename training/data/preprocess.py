"""From a stored record to what a step sees of it: resized, cropped and mirrored, as in the public SPADE training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from pipeline.config import DataSettings
from pipeline.data.records import resize_record
from pipeline.data.schema import Record
from pipeline.errors import InputError


def resize(record: Record, settings: DataSettings) -> Record:
    """The record before it is cropped, by `settings.preprocess`; `InputError` where it is smaller than the crop."""
    height, width = record.label.shape
    size = settings.load_size or 0
    match settings.preprocess:
        case "fixed":
            height, width = settings.height, settings.width
        case "resize_and_crop":
            height, width = round(size * settings.height / settings.width), size
        case "scale_width":
            height, width = round(size * height / width), size
        case "scale_short_side":
            short = min(height, width)
            height, width = round(size * height / short), round(size * width / short)
    if height < settings.height or width < settings.width:
        stored = f"{record.label.shape[1]}x{record.label.shape[0]}"
        fix = "prepare it larger" if settings.preprocess == "none" else "raise data.load_size"
        raise InputError(
            f"record '{record.id}' of {stored} is {width}x{height} after data.preprocess '{settings.preprocess}', "
            f"smaller than the crop of {settings.width}x{settings.height}; {fix}, or take data.preprocess 'fixed'"
        )
    return resize_record(record, height, width, resample=settings.resample)


def crop_and_flip(record: Record, settings: DataSettings, *, flip: bool, random: torch.Generator) -> Record:
    """A part of a resized record, as large as pictures are in training, at a random place; mirrored on request."""
    spare = record.label.shape[0] - settings.height, record.label.shape[1] - settings.width
    top, left = (int(torch.randint(more + 1, (), generator=random)) if more else 0 for more in spare)
    rows, columns = slice(top, top + settings.height), slice(left, left + settings.width)
    step = -1 if flip else 1
    return _each(record, lambda array: np.ascontiguousarray(array[rows, columns][:, ::step]))


def _each(record: Record, function: Callable[[np.ndarray], np.ndarray]) -> Record:
    return replace(
        record,
        label=function(record.label),
        instance=None if record.instance is None else function(record.instance),
        image=None if record.image is None else function(record.image),
        disparity=None if record.disparity is None else function(record.disparity),
    )
