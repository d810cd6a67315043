"""The gallery of a report: up to 500 scored pictures as small files, with all that they are sorted and filtered by."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from evaluation.scoring.image_results import ImageResults
from evaluation.scoring.picture_sets import Key
from pipeline.data.schema import PICTURE
from pipeline.pages.pictures import reduce_classes, reduce_image, reduced_size
from pipeline.pages.render import data_uri

FILE_NAME = "pictures.parquet"
"""The pictures of the gallery, beside the report: `compare` shows them."""
MOST, EXTREME = 500, 50
"""Pictures in a gallery; of more, so many of the best and of the worst are in it, and others spread evenly."""
LARGEST_BYTES = 6 * 2**20
"""Of all files of a gallery; in the page they take a third more."""
SIDES = (160, 128, 96, 64, 48)
"""The longest side of its pictures, in pixels: the first with which they take no more than `LARGEST_BYTES`."""
QUALITY = 80
"""Of WebP."""
SMALLEST_ERROR = 0.01
"""Of the known pixels of a picture: fewer that are taken for another class are no error to filter by."""
FILES = ("image", "photograph", "label", "predicted")
SCORES = {
    "rank": ("overall rank (0% is best)", True, True),
    "accuracy": ("pixels that agree", False, True),
    "mean_iou": ("mean IoU", False, True),
    "feature_distance": ("distance of features", True, False),
    "texture_distance": ("distance of texture", True, False),
}
"""What pictures are sorted by: the title, whether less is better, and whether it is a share of 1."""


@dataclass(frozen=True)
class GalleryPicture:
    """A scored picture, reduced to `SIDES[0]`."""

    id: str
    sample: int
    image: np.ndarray
    """uint8 `[H, W, 3]`, synthesized."""
    photograph: np.ndarray
    """uint8 `[H, W, 3]`, real, of the same label map."""
    label: np.ndarray
    """int16 `[h, w]`: classes, -1 for void."""
    predicted: np.ndarray
    """int16 `[h, w]`: classes that the segmenter sees."""
    scores: dict[str, float | None]
    """By the names of `SCORES`."""
    class_iou: dict[int, float]
    """Of the classes that the label map has."""
    errors: tuple[tuple[int, int, float], ...]
    """True class, class that is seen, and the share of the picture's known pixels, the largest first."""


@dataclass(frozen=True)
class Gallery:
    """Pictures as files of bounded size."""

    pictures: tuple[GalleryPicture, ...]
    files: tuple[dict[str, bytes], ...]
    """Of each picture by the names of `FILES`: WebP of pictures, PNG of label maps."""
    side: int
    """The longest side in the files."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(content) for files in self.files for content in files.values())


def gallery_keys(generated: ImageResults, ranks: np.ndarray) -> list[Key]:
    """At most `MOST` pictures, in the order of ids and samples: all, or the best and worst by `ranks` (float `[N]`, NaN
    if unknown) and others spread evenly over the ids, which are the same for all sets of the same label maps."""
    keys: list[Key] = list(zip(generated.ids.tolist(), generated.samples.tolist(), strict=True))
    if len(keys) <= MOST:
        return sorted(keys)
    order = [index for index in np.argsort(ranks, kind="stable").tolist() if not np.isnan(ranks[index])]
    extreme = {keys[index] for index in (*order[:EXTREME], *order[-EXTREME:])}
    every = sorted(keys)
    spread = np.linspace(0, len(every) - 1, MOST - 2 * EXTREME).round().astype(int).tolist()
    return sorted(extreme | {every[place] for place in spread})


def gallery_errors(counts: np.ndarray) -> tuple[tuple[int, int, float], ...]:
    """What is taken for what in a picture, by its confusion matrix (int `[classes + 1, classes + 1]`, void last).

    >>> gallery_errors(np.array([[90, 6, 0], [4, 0, 0], [50, 0, 0]]))
    ((0, 1, 0.06), (1, 0, 0.04))
    """
    known = counts[:-1].sum()
    wrong = counts[:-1, :-1].astype(float)
    np.fill_diagonal(wrong, 0)
    found = [(int(true), int(seen), round(float(wrong[true, seen] / known), 4)) for true, seen in np.argwhere(wrong)]
    return tuple(sorted((error for error in found if error[2] >= SMALLEST_ERROR), key=lambda error: -error[2]))


def encode_gallery(pictures: Sequence[GalleryPicture], colours: np.ndarray) -> Gallery:
    """The pictures as files, as large as `LARGEST_BYTES` allow; `colours` uint8 `[classes + 1, 3]`, void last."""
    gallery = Gallery((), (), SIDES[0])
    for side in SIDES:
        files = tuple(_encode(picture, side, colours) for picture in pictures)
        gallery = Gallery(tuple(pictures), files, side)
        if gallery.size <= LARGEST_BYTES:
            break
    while gallery.size > LARGEST_BYTES:  # label maps of noise
        half = slice(None, None, 2)
        gallery = replace(gallery, pictures=gallery.pictures[half], files=gallery.files[half])
    return gallery


def gallery_fields(gallery: Gallery, classes: Sequence[str]) -> dict[str, Any]:
    """All that the page's script is told, as JSON values."""
    pictures = []
    for picture, files in zip(gallery.pictures, gallery.files, strict=True):
        kinds = {name: "image/webp" if name in ("image", "photograph") else "image/png" for name in FILES}
        pictures.append(
            {
                "id": picture.id,
                "sample": picture.sample,
                "size": reduced_size(picture.image, gallery.side)[::-1],
                "scores": {key: None if value is None else round(value, 5) for key, value in picture.scores.items()},
                "ious": {str(index): round(iou, 3) for index, iou in picture.class_iou.items()},
                "errors": picture.errors,
                **{name: data_uri(content, kinds[name]) for name, content in files.items()},
            }
        )
    scores = [
        {"key": key, "title": title, "lower": lower, "share": share} for key, (title, lower, share) in SCORES.items()
    ]
    return {"classes": list(classes), "scores": scores, "pictures": pictures}


def gallery_table(gallery: Gallery) -> pa.Table:
    """A row a picture: id, sample, accuracy, and its files as `datasets` shows pictures."""
    rows = [
        {
            "id": picture.id,
            "sample": picture.sample,
            "accuracy": picture.scores["accuracy"],
            **{name: {"bytes": content, "path": None} for name, content in files.items()},
        }
        for picture, files in zip(gallery.pictures, gallery.files, strict=True)
    ]
    fields = [pa.field("id", pa.string()), pa.field("sample", pa.int32()), pa.field("accuracy", pa.float64())]
    return pa.Table.from_pylist(rows, schema=pa.schema([*fields, *(pa.field(name, PICTURE) for name in FILES)]))


def _encode(picture: GalleryPicture, side: int, colours: np.ndarray) -> dict[str, bytes]:
    return {
        "image": _webp(reduce_image(picture.image, side)),
        "photograph": _webp(reduce_image(picture.photograph, side)),
        "label": _indexed_png(reduce_classes(picture.label, side), colours),
        "predicted": _indexed_png(reduce_classes(picture.predicted, side), colours),
    }


def _webp(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def _indexed_png(classes: np.ndarray, colours: np.ndarray) -> bytes:
    """Classes in their colours, -1 as the last of these: a byte a pixel where there are no more than 256."""
    content = io.BytesIO()
    if len(colours) > 256:
        picture = Image.fromarray(colours[classes])
    else:
        picture = Image.fromarray(np.where(classes < 0, len(colours) - 1, classes).astype(np.uint8), "P")
        picture.putpalette(colours.tobytes())
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
