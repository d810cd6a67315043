"""Label maps of clients to ids, and ids to the runs that clients read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.data.images import Palette, decode_instance, decode_label, open_picture
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.serving.messages import Picture, Runs
from pipeline.serving.refusal import Refusal


def read_label_map(given: Runs | Picture, space: LabelSpace, *, max_pixels: int) -> np.ndarray:
    """Integers `[H, W]`: the ids of a label map, not yet compared with the classes.

    Raises `InputError` for runs that do not fill the map and for broken pictures, `Refusal` for too many pixels.
    """
    if isinstance(given, Runs):
        return from_runs(given, "label map", max_pixels=max_pixels)
    return decode_label_picture(given.png, space, max_pixels=max_pixels)


def read_instance_map(given: Runs | Picture, *, max_pixels: int) -> np.ndarray:
    """Integers `[H, W]`: a number for each object. Raises as `read_label_map`."""
    if isinstance(given, Runs):
        return from_runs(given, "instance map", max_pixels=max_pixels)
    check_pixels(given.png, "instance map", max_pixels=max_pixels)
    return told("instance map", lambda: decode_instance(given.png))


def from_runs(given: Runs, what: str, *, max_pixels: int) -> np.ndarray:
    """int32 `[H, W]`. Raises `InputError` and `Refusal` as `read_label_map`."""
    pixels = given.width * given.height
    _refuse_pixels(given.width, given.height, what, max_pixels)
    runs = np.array(given.runs, np.int64)
    total = int(runs[:, 1].sum())
    if total != pixels or len(runs) > pixels:
        raise InputError(
            f"the runs of the {what} have {total} pixels, but it is {given.width}x{given.height}; make the counts add "
            f"up to {pixels}"
        )
    return np.repeat(runs[:, 0].astype(np.int32), runs[:, 1]).reshape(given.height, given.width)


def to_runs(ids: np.ndarray) -> dict[str, Any]:
    """Ids `[H, W]` as JSON: width, height and runs `[id, count]`, row after row.

    >>> to_runs(np.array([[3, 3, 0], [0, 0, 3]]))
    {'width': 3, 'height': 2, 'runs': [[3, 2], [0, 3], [3, 1]]}
    """
    flat = ids.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    counts = np.diff(np.append(starts, flat.size))
    runs = np.stack([flat[starts].astype(np.int64), counts], axis=1)
    return {"width": ids.shape[1], "height": ids.shape[0], "runs": runs.tolist()}


def decode_label_picture(data: bytes, space: LabelSpace, *, max_pixels: int) -> np.ndarray:
    """Integers `[H, W]`: the ids of a picture of ids, or of one in the palette's colours.

    Grey pictures hold ids. RGB pictures hold colours, and so do palette pictures all of whose colours are classes';
    the indices of others are ids. Raises as `read_label_map`.
    """
    mode = check_pixels(data, "label map", max_pixels=max_pixels)
    if mode == "P":
        try:
            return decode_label(data, palette_of(space))
        except InputError:
            return told("label map", lambda: decode_label(data))
    if mode in ("RGB", "RGBA"):
        return told("label map", lambda: decode_label(data, palette_of(space)))
    return told("label map", lambda: decode_label(data))


def palette_of(space: LabelSpace) -> Palette:
    """The ids of the colours of a label space; black is don't-care where no class has it."""
    ids = {colour: number for number, colour in reversed(list(enumerate(space.palette)))}
    return ids if space.dont_care is None else {(0, 0, 0): space.dont_care, **ids}


def check_pixels(data: bytes, what: str, *, max_pixels: int) -> str:
    """The mode of a picture whose pixels are not decoded yet; `Refusal` where they are too many, and `InputError` where
    the bytes are no picture."""
    picture = told(what, lambda: open_picture(data))
    _refuse_pixels(picture.width, picture.height, what, max_pixels)
    return picture.mode


def told(what: str, decode: Callable[[], Any]) -> Any:
    """What `decode` returns; its `InputError`, which begins with a verb, gets a subject."""
    try:
        return decode()
    except InputError as error:
        raise InputError(f"the {what} {error}") from None


def _refuse_pixels(width: int, height: int, what: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Refusal(
            413, f"the {what} is {width}x{height}; at most {max_pixels} pixels are taken", reason="too many pixels"
        )
