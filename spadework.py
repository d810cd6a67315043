"""spadework for notebooks and programs: a generator that paints label maps, and the verbs of the command line.

    import spadework

    synthesizer = spadework.load()
    picture = synthesizer.synthesize("label.png", "instance.png", seed=3)

`load` gives a `Synthesizer`, which paints one label map at a time. A mistake in what is given (a missing file, an id
beyond the classes, a checkpoint of other classes ...) is an `InputError`, one line that names the thing and the fix.
docs/python.md has examples.
"""

from __future__ import annotations

import io
import operator
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from pipeline.errors import InputError

# torch, ray and pyarrow are imported inside the functions, so that `import spadework` takes no time.

if TYPE_CHECKING:
    import torch

    from pipeline.labels import LabelSpace
    from pipeline.precision import Precision
    from pipeline.synthesis.synthesizer import Painter

__all__ = ["InputError", "Synthesizer", "load"]

PathLike: TypeAlias = "str | os.PathLike[str]"
"""The name of a file or a folder."""
Map: TypeAlias = "np.ndarray | Image.Image | PathLike"
"""A label or instance map: integers `[H, W]`, a Pillow image, or a file."""
Style: TypeAlias = "Image.Image | PathLike | np.ndarray | Sequence[float]"
"""A photograph (Pillow image, file, or uint8 `[H, W, 3]`), or a style vector `[style_dim]`."""

DEFAULT_ID = "0"
"""The id of a label map that is no file, where none is given."""

_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
"""Formats in which ids may have changed."""

_THREADS = threading.Lock()
"""Held while torch has a number of threads that is ours, which is one number for the whole process."""


def load(
    checkpoint: PathLike | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    engine: PathLike | None = None,
    threads: int = 1,
) -> Synthesizer:
    """A generator, ready to paint.

    `checkpoint` is what `--checkpoint` takes: a run directory of `train`, a `.safetensors` file, or `untrained:` and a
    recipe. None: the landscapes that come with spadework (14 classes, 128x128, a style of 16 numbers).

    `device` is "cpu" or "cuda" (or "cuda:1" ...); `precision` "fp32", "bf16" or, on GPUs, "fp16". An `engine`, which is
    a folder that `compile` made of the checkpoint, has a device and a precision of its own: leave both out. `threads`
    compute a picture on a CPU; another number rounds in another way, in the last bits, and more are faster.

    Raises `InputError` for a checkpoint or an engine that is missing, damaged or of something else, and for a device
    that is not there.
    """
    return Synthesizer(
        _landscape() if checkpoint is None else checkpoint,
        device=device,
        precision=precision,
        engine=engine,
        threads=threads,
    )


class Synthesizer:
    """A generator that turns label maps into pictures; made by `load`. Safe to call from several threads, in turn."""

    def __init__(
        self,
        checkpoint: PathLike,
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        engine: PathLike | None = None,
        threads: int = 1,
    ) -> None:
        """The arguments and errors of `load`, which fills in the checkpoint."""
        from pipeline.checkpoints.source import resolve_source
        from pipeline.synthesis.synthesizer import Painter

        _at_least(1, threads=threads)
        self._threads = threads
        # A checkpoint's text may begin with `untrained:`, and Path("untrained:x") would keep it.
        source = resolve_source(os.fspath(checkpoint))
        folder: Path | None = None
        if engine is None:
            _check_device(device, precision)
        else:
            folder, device, precision = _open_engine(Path(engine), device, precision)
        with self._computing():
            self._painter: Painter = Painter(source, device=device, precision=precision, engine=folder)
        self._precision = precision

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; the position is the id in a label map."""
        return self._space.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """An RGB colour (0 to 255) for each class, to show label maps in."""
        return self._space.palette

    @property
    def dont_care(self) -> int | None:
        """The id that means "unknown", beyond those of the classes; None where there is none."""
        return self._space.dont_care

    @property
    def needs_instances(self) -> bool:
        """Whether the generator sees the borders of objects, so that `synthesize` must be given an instance map."""
        return self._space.instance_edges

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures, as of arrays; label maps of another size are resized to it."""
        return self._painter.size

    @property
    def style_dim(self) -> int:
        """The length of a style vector; 0 for a generator without style, which has one picture for a label map."""
        return self._painter.style_dim

    @property
    def _space(self) -> LabelSpace:
        return self._painter.recipe.labels

    def __repr__(self) -> str:
        height, width = self.size
        style = f"a style of {self.style_dim} numbers" if self.style_dim else "no style"
        recipe, where = self._painter.recipe.name, f"{self._precision} on {self._painter.device}"
        return f"<Synthesizer '{recipe}': {len(self.classes)} classes, {width}x{height}, {style}, {where}>"

    def synthesize(
        self,
        label_map: Map,
        instance_map: Map | None = None,
        style: Style | None = None,
        seed: int = 0,
        *,
        id: str | None = None,
    ) -> Image.Image:
        """Paint a label map: an RGB picture of the generator's `size`.

        `label_map` holds **ids**: the position of each pixel's class in `classes`, or `dont_care`. It is an array
        `[H, W]` of integers; a Pillow image of mode 1, L, P, I or I;16, whose values (of P, indices) are the ids; or a
        file, which is read as `prepare folder` reads it (Pillow stretches grey of 2 and 4 bits: give such as files).
        Ids are taken as they are, never shifted. A map of another size is resized by nearest neighbour, as the verb
        `synthesize` does unless told to keep sizes.

        `instance_map`, of the label map's size, has a number for each object; where no object is, any one number. Only
        the borders between different numbers count. A generator that `needs_instances` must have one.

        `style` is None for a random style; a photograph (a Pillow image, a file, or uint8 `[H, W, 3]`), whose mean
        style is taken; or a style vector `[style_dim]`, such as `style_of` gives. The random one is drawn from `seed`
        (0 to 2^63 - 1) and `id`. Without `id`, a file has its name without the extension, as `prepare folder` calls it,
        and everything else "0".

        The pixels are those of the verb `synthesize` (first sample, one thread, same device and precision) for the same
        label map, instance map and seed in a row of that id.

        Raises `InputError` for ids beyond the classes (looked for in the whole map, before it is resized), arrays of
        another shape or type, maps of different sizes, broken files, and a style that the generator cannot take.
        """
        label = _read_ids(label_map, "label map")
        self._refuse_unknown(label)
        instance = None if instance_map is None else _read_ids(instance_map, "instance map")
        if id is None:
            id = Path(label_map).stem if isinstance(label_map, (str, os.PathLike)) else DEFAULT_ID
        if not id:
            raise InputError("the id is empty; give a text, or leave it out")
        return Image.fromarray(self._paint(label, instance, style, _read_seed(seed), id))

    def style_of(self, photograph: Image.Image | PathLike | np.ndarray) -> np.ndarray:
        """The mean style of a photograph, float32 `[style_dim]`: a `style` for `synthesize`.

        Vectors between two of them are styles as well. Raises `InputError` where the generator has no style encoder.
        """
        with self._computing():
            return self._painter.style_of(_read_photograph(photograph))[0].numpy()

    def _paint(
        self, label: np.ndarray, instance: np.ndarray | None, style: Style | None, seed: int, name: str
    ) -> np.ndarray:
        """uint8 `[height, width, 3]`."""
        from pipeline.data.images import resize_ids
        from pipeline.labels import encode

        if self.needs_instances and instance is None:
            raise InputError(
                "the generator sees the borders of objects, and got no instance map; give instance_map, "
                "numpy.zeros_like(label_map) where there are no objects"
            )
        if instance is not None and instance.shape != label.shape:
            raise InputError(
                f"the instance map is {_size_of(instance)} but its label map {_size_of(label)}; make them the same size"
            )
        label = resize_ids(label, *self.size)
        instance = None if instance is None else resize_ids(instance, *self.size)
        with self._computing():
            z = self._style_vector(style, seed, name)
            semantics = self._painter.prepare(encode(label, instance, self._space))
            (pixels,) = self._painter.paint(semantics, [z], self.size)
        return pixels

    def _style_vector(self, style: Style | None, seed: int, name: str) -> torch.Tensor | None:
        """z, float32 `[style_dim]`; None for a generator without style."""
        from pipeline.synthesis.styles import StyleChoice, StyleSource

        if style is not None and not self.style_dim:
            raise InputError(
                "the generator takes no style (style_dim is 0), so each label map has one picture; leave out style"
            )
        vector = None if style is None else _read_vector(style, self.style_dim)
        if vector is not None:
            import torch

            return torch.from_numpy(vector)
        choice = StyleChoice() if style is None else StyleChoice("photograph", (_read_photograph(style),), 0.0)
        return StyleSource(choice, self._painter, seed=seed, samples=1).styles(name, None)[0]

    def _refuse_unknown(self, label: np.ndarray) -> None:
        """Raise `InputError` for an id that is neither a class nor don't-care."""
        count = len(self.classes)
        beyond = np.unique(label[(label < 0) | (label >= count)]).tolist()
        wrong = [value for value in beyond if value != self.dont_care]
        if wrong:
            listed = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            other = "there is no don't-care id" if self.dont_care is None else f"don't-care is {self.dont_care}"
            raise InputError(
                f"the label map has id {listed}, but the classes are 0 to {count - 1} and {other}; give each pixel the "
                "position of its class in `classes`"
            )

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Torch with our number of threads, on which its rounding depends; afterwards with as many as before."""
        import torch

        with _THREADS:
            before = torch.get_num_threads()
            torch.set_num_threads(self._threads)
            try:
                yield
            finally:
                torch.set_num_threads(before)


def _landscape() -> Path:
    from pipeline.checkpoints.file import LANDSCAPE

    return LANDSCAPE


def _check_device(device: str, precision: Precision) -> None:
    """Refuse what torch would refuse later and with many words (`InputError`)."""
    import torch

    from pipeline.precision import DTYPES

    if precision not in DTYPES:
        raise InputError(f"precision is '{precision}'; take {', '.join(DTYPES)}")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise InputError(f"device is '{device}'; take 'cpu' or 'cuda'")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise InputError(f"device is '{device}', and torch finds {torch.cuda.device_count()} GPUs here; take 'cpu'")
    if precision == "fp16" and kind == "cpu":
        raise InputError("precision fp16 needs a GPU; take bf16 or fp32")


def _open_engine(engine: Path, device: str, precision: Precision) -> tuple[Path, str, Precision]:
    """An engine's folder, device and precision; `InputError` where others were asked for."""
    from pipeline.engines.cache import find_engine
    from pipeline.engines.manifest import Manifest

    folder = find_engine(engine)
    spec = Manifest.read(folder).spec
    for name, wanted, default, own in (
        ("device", device, "cpu", spec.device["type"]),
        ("precision", precision, "fp32", spec.precision),
    ):
        if wanted not in (default, own):
            raise InputError(f"engine {folder} has {name} {own}; leave out {name} '{wanted}'")
    return folder, spec.device["type"], spec.precision


def _read_ids(given: Map, what: str) -> np.ndarray:
    """Integers `[H, W]`, of whatever width; `InputError` names what is wrong with the map."""
    from pipeline.data.images import decode_instance, decode_label

    decode = decode_instance if what == "instance map" else decode_label
    if isinstance(given, Image.Image):
        lazy = isinstance(given, ImageFile.ImageFile) and given.tile and given.filename
        # Pillow stretches 2- and 4-bit grey; what it has not read yet, we read as it stands in the file.
        if lazy:
            return _read_ids(Path(os.fsdecode(given.filename)), what)  # type: ignore[attr-defined]
        return _image_ids(given, what, decode)
    if isinstance(given, (str, os.PathLike)):
        try:
            return decode(_read_file(given, what))
        except InputError as error:
            raise InputError(f"{what} {os.fspath(given)} {error}") from None
    ids = np.asarray(given)
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iu":
        found = f"{ids.dtype} {list(ids.shape)}" if ids.dtype != object else type(given).__name__
        raise InputError(f"the {what} is {found}; give integers [height, width], a Pillow image or a file")
    return ids


def _image_ids(image: Image.Image, what: str, decode: Any) -> np.ndarray:
    """The ids that a Pillow image holds."""
    if image.format in _LOSSY:
        raise InputError(f"the {what} is a {image.format} image, a format that may change ids; save it as PNG")
    if image.mode in ("L", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in ("1", "P") or (image.mode == "RGB" and what == "instance map"):
        # What palettes mean is decided in one place, from the file.
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        try:
            return decode(buffer.getvalue())
        except InputError as error:
            raise InputError(f"the {what} {error}") from None
    raise InputError(
        f"the {what} is a Pillow image of mode {image.mode}; give one whose values are ids: mode 1, L, P, I or I;16"
    )


def _read_photograph(given: Any) -> bytes:
    """A photograph as the bytes of a picture, which is what style encoders of checkpoints take."""
    from pipeline.data.images import decode_image, encode_png

    if isinstance(given, Image.Image):
        if given.mode.startswith(("I", "F")):
            raise InputError(f"the photograph is a Pillow image of mode {given.mode}; give 8 bits a channel")
        given = np.asarray(given.convert("RGB"))
    if isinstance(given, (str, os.PathLike)):
        data = _read_file(given, "photograph")
        try:
            decode_image(data)
        except InputError as error:
            raise InputError(f"photograph {os.fspath(given)} {error}") from None
        return data
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(
            f"the photograph is {pixels.dtype} {list(pixels.shape)}; give uint8 [height, width, 3], a Pillow image or "
            "a file"
        )
    return encode_png(pixels, compress_level=1)


def _read_vector(style: Style, length: int) -> np.ndarray | None:
    """A style that is a vector as float32 `[length]`; None for photographs."""
    if isinstance(style, (Image.Image, str, os.PathLike)):
        return None
    try:
        vector = np.array(style, np.float32) if np.ndim(style) == 1 else None
    except (TypeError, ValueError):
        raise InputError("the style is neither a photograph nor a vector of numbers") from None
    if vector is None:
        return None
    if vector.shape != (length,) or not np.isfinite(vector).all():
        what = f"{vector.size} numbers" if vector.shape != (length,) else "a vector with NaN or infinite numbers"
        raise InputError(f"the style is {what}; the generator takes {length} finite numbers")
    return vector


def _read_seed(seed: SupportsIndex) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        raise InputError(f"seed is {seed!r}; give a whole number") from None
    if not 0 <= number < 2**63:
        raise InputError(f"seed is {number}; take 0 to {2**63 - 1}")
    return number


def _read_file(path: PathLike, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {os.fspath(path)} does not exist") from None
    except OSError as error:
        raise InputError(f"{what} {os.fspath(path)} cannot be read: {error.strerror}") from None


def _at_least(least: int, **values: int) -> None:
    """Refuse smaller arguments, by their names (`InputError`)."""
    for name, value in values.items():
        if value < least:
            raise InputError(f"{name} is {value}; give {least} or more")


def _size_of(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
