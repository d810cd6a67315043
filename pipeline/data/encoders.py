"""How synthesized pictures are stored: PNG, lossless WebP, or JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.data.images import encode_png

PictureFormat = Literal["png", "webp", "jpeg"]


def encode_webp(pixels: np.ndarray) -> bytes:
    """uint8 RGB `[H, W, 3]` as lossless WebP: about a quarter smaller than PNG, and slower to make."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=60, method=4, exact=True)
    return buffer.getvalue()


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """uint8 RGB `[H, W, 3]` as JPEG of quality 95 without chroma subsampling. It loses detail, which moves FID."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


ENCODERS: dict[PictureFormat, Callable[[np.ndarray], bytes]] = {
    "png": partial(encode_png, compress_level=1),  # encoding shares the processors with the generator
    "webp": encode_webp,
    "jpeg": encode_jpeg,
}
EXTENSIONS: dict[PictureFormat, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
