"""One label map at a time: the `Synthesizer` of `import spadework`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.errors import InputError
from pipeline.runtime.limits import check_processes
from pipeline.synthesis.given import (
    Map,
    PathLike,
    Style,
    read_ids,
    read_photograph,
    read_seed,
    read_vector,
    refuse_unknown,
)

# torch and our networks are imported inside the functions, so that `import spadework` takes no time.

if TYPE_CHECKING:
    from pipeline.labels import LabelSpace
    from pipeline.precision import Precision
    from pipeline.synthesis.styles import Sample
    from pipeline.synthesis.synthesizer import Synthesizer as BatchSynthesizer

DEFAULT_ID = "0"
"""The id of a label map that is no file, where none is given."""

_THREADS = threading.Lock()
"""Held while torch has a number of threads that is ours, which is one number for the whole process."""


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
        bank: PathLike | None = None,
    ) -> None:
        """The arguments of `load`, which fills in the checkpoint; raises `InputError` as that does."""
        from pipeline.checkpoints.file import resolve_checkpoint
        from pipeline.synthesis.synthesizer import Synthesizer as BatchSynthesizer

        check_processes("threads", threads)
        self._threads = threads
        source = resolve_checkpoint(os.fspath(checkpoint))
        folder: Path | None = None
        if engine is None:
            _check_device(device, precision)
        else:
            folder, device, precision = _open_engine(Path(engine), device, precision)
        with self._computing():
            self._inner: BatchSynthesizer = BatchSynthesizer(
                source,
                device=device,
                precision=precision,
                engine=folder,
                bank=None if bank is None else os.fspath(bank),
            )
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
        """Whether the generator tells objects of a class apart, so that `synthesize` must be given an instance map."""
        return self._space.instance_edges or self._inner.recipe.generator.region_styles == "instance"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures, as of arrays; label maps of another size are resized to it."""
        return self._inner.size

    @property
    def style_dim(self) -> int:
        """The length of a style vector; 0 for a generator without style, which has one picture for a label map."""
        return self._inner.style_dim

    @property
    def _space(self) -> LabelSpace:
        return self._inner.recipe.labels

    def __repr__(self) -> str:
        height, width = self.size
        style = f"a style of {self.style_dim} numbers" if self.style_dim else "no style"
        recipe, where = self._inner.recipe.name, f"{self._precision} on {self._inner.device}"
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
        """A picture of a label map: RGB, of the generator's `size`.

        `label_map` holds **ids**: the position of each pixel's class in `classes`, or `dont_care`. It is an array
        `[H, W]` of integers; a Pillow image of mode 1, L, P, I or I;16, whose values (of P, indices) are the ids; or a
        file, which is read as `prepare folder` reads it (Pillow stretches grey of 2 and 4 bits: give such as files).
        Ids are taken as they are, never shifted. A map of another size is resized by nearest neighbour, as the verb
        `synthesize` does unless told to keep sizes.

        `instance_map`, of the label map's size, has a number for each object; where no object is, any one number. Only
        the borders between different numbers count, and where each instance has a style, their order. A generator that
        `needs_instances` must have one.

        `style` is None for a random style; a photograph (a Pillow image, a file, or uint8 `[H, W, 3]`), whose mean
        style is taken; or a style vector `[style_dim]`, such as `style_of` gives. The random one is drawn from `seed`
        (0 to 2^63 - 1) and `id`. Without `id`, a file has its name without the extension, as `prepare folder` calls it,
        and everything else "0".

        The pixels are those of the verb `synthesize` (first sample, one thread, same device and precision) for the same
        label map, instance map and seed in a row of that id.

        Raises `InputError` for ids beyond the classes (looked for in the whole map, before it is resized), arrays of
        another shape or type, maps of different sizes, broken files, and a style that the generator cannot take.
        """
        label = read_ids(label_map, "label map")
        refuse_unknown(label, self._space)
        instance = None if instance_map is None else read_ids(instance_map, "instance map")
        if id is None:
            id = Path(label_map).stem if isinstance(label_map, (str, os.PathLike)) else DEFAULT_ID
        if not id:
            raise InputError("the id is empty; give a text, or leave it out")
        return Image.fromarray(self._synthesize(label, instance, style, read_seed(seed), id))

    def style_of(self, photograph: Image.Image | PathLike | np.ndarray) -> np.ndarray:
        """The mean style of a photograph, float32 `[style_dim]`: a `style` for `synthesize`.

        Vectors between two of them are styles as well. Raises `InputError` where the generator has no style encoder.
        """
        with self._computing():
            return self._inner.style_of(read_photograph(photograph))[0].numpy()

    def _synthesize(
        self, label: np.ndarray, instance: np.ndarray | None, style: Style | None, seed: int, name: str
    ) -> np.ndarray:
        """uint8 `[height, width, 3]`."""
        from pipeline.data.images import resize_ids

        if self.needs_instances and instance is None:
            raise InputError(
                "the generator tells objects apart, and got no instance map; give instance_map, "
                "numpy.zeros_like(label_map) where there are no objects"
            )
        if instance is not None and instance.shape != label.shape:
            raise InputError(
                f"the instance map is {_size_of(instance)} but its label map {_size_of(label)}; make them the same size"
            )
        label = resize_ids(label, *self.size)
        instance = None if instance is None else resize_ids(instance, *self.size)
        with self._computing():
            canvas: np.ndarray | None = None
            if self._inner.paster is not None:
                from pipeline.segments.pasting import paste_record

                pasted = paste_record(self._inner.paster, label, instance, record=name, seed=seed)
                label, instance, canvas = pasted.label, pasted.instance, pasted.canvas
            label_input = self._inner.prepare(self._inner.recipe.encode(label, instance), canvas)
            sample = self._sample(style, seed, name, label_input.region_count)
            (pixels,) = self._inner.synthesize(label_input, [sample], self.size)
        return pixels

    def _sample(self, style: Style | None, seed: int, name: str, regions: int) -> Sample:
        """The style and the seed of the noise, as in the first sample of a record of that name."""
        from pipeline.synthesis.styles import StyleChoice, StyleSource

        if style is not None and not self.style_dim:
            raise InputError("the generator takes no style (style_dim is 0); leave out style")
        vector = None if style is None else read_vector(style, self.style_dim)
        choice = StyleChoice()
        if style is not None and vector is None:
            choice = StyleChoice("photograph", (read_photograph(style),), 0.0)
        (sample,) = StyleSource(choice, self._inner, seed=seed).samples(name, None, 1, regions)
        if vector is None:
            return sample
        import torch

        return replace(sample, z=torch.from_numpy(vector))

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


def _check_device(device: str, precision: Precision) -> None:
    """Refuse what torch would refuse later and with many words (`InputError`)."""
    import torch

    from pipeline.precision import DTYPES
    from pipeline.synthesis.checks import CALIBRATED

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
    if precision == "int8":
        raise InputError(f"precision int8 {CALIBRATED}")
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


def _size_of(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
