"""What the service does, apart from HTTP: requests to pictures, by way of threads that decode and one that computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.data.encoders import ENCODERS, PictureFormat
from pipeline.data.images import decode_image
from pipeline.data.provenance import Provenance
from pipeline.errors import InputError
from pipeline.serving.label_maps import check_pixels, read_instance_map, read_label_map, told
from pipeline.serving.limits import Limits
from pipeline.serving.messages import (
    MAX_DEPTH,
    BlendStyle,
    PhotographStyle,
    SavedStyle,
    Scene,
    SeedStyle,
    Style,
    VectorStyle,
)
from pipeline.serving.metrics import Metrics
from pipeline.serving.model import Codes, Draw, KnownStyle, Model
from pipeline.serving.moods import mood_photographs
from pipeline.serving.painted import Marks, Painted
from pipeline.serving.queue import Task, WorkQueue
from pipeline.serving.refusal import Refusal
from pipeline.serving.saved_styles import SavedStyles
from pipeline.serving.templates import Templates

T = TypeVar("T")

DECODERS = 2
"""Threads that decode and encode: Pillow and numpy release the interpreter's lock."""


@dataclass
class Timing:
    """Milliseconds of each stage of an answer, for the header Server-Timing."""

    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds of a stage."""
        self.stages[stage] = self.stages.get(stage, 0.0) + 1000 * seconds

    def header(self) -> str:
        """As Server-Timing has it."""
        return ", ".join(f"{stage};dur={milliseconds:.2f}" for stage, milliseconds in self.stages.items())


@dataclass(frozen=True)
class Decoded:
    """A scene whose pictures are ids, and whose style is known to fit."""

    model: Model
    label: np.ndarray
    """Integers `[H, W]`, of the model's size."""
    instance: np.ndarray | None
    codes: Codes
    draw: Draw

    @property
    def seed(self) -> int:
        """Of the style, where it is drawn from one, and of everything else that is drawn."""
        return self.draw.style.seed if isinstance(self.draw.style, SeedStyle) else self.draw.seed

    @property
    def provenance(self) -> Provenance:
        """What the picture says about itself."""
        return Provenance(self.model.sha256, self.seed)


class Service:
    """Several models behind one queue. Its coroutines are of one event loop."""

    def __init__(
        self,
        models: Sequence[Model],
        *,
        folder: Path,
        templates: Templates | None = None,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`folder` keeps what clients save; it is made when they do."""
        self.limits, self.metrics = limits or Limits(), metrics or Metrics()
        self.models = {model.name: model for model in models}
        self.folder = folder
        self.saved = SavedStyles(folder, most=self.limits.max_saved)
        self.marks = Marks(folder, most=self.limits.max_saved)
        self.templates = templates or Templates()
        self._moods: dict[str, dict[str, list[float]]] = {}
        self._threads = ThreadPoolExecutor(DECODERS, "codec")
        self.queue = WorkQueue(
            max_waiting=self.limits.max_queue, max_group=self.limits.max_group, watch=self.metrics.watch_queue
        )
        for model in models:
            model.check = self.queue.check

    def close(self) -> None:
        """End its threads."""
        self.queue.close()
        self._threads.shutdown(cancel_futures=True)

    def model(self, name: str | None) -> Model:
        """A checkpoint by name, the first for None; `Refusal` (404) for others."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal(404, f"there is no checkpoint '{name[:80]}'; there are {', '.join(self.models)}")
        return self.models[name]

    async def in_thread(self, work: Callable[..., T], *given: Any) -> T:
        """What `work` returns, which a decoder thread runs."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def decode(self, scene: Scene) -> Decoded:
        """A scene, checked; for a decoder thread. Raises `InputError` and `Refusal`."""
        model = self.model(scene.checkpoint)
        if scene.sample >= self.limits.max_samples:
            raise InputError(f"sample is {scene.sample}; take 0 to {self.limits.max_samples - 1}")
        style = self.known_style(model, scene.style or SeedStyle(seed=scene.seed))
        most = self.limits.max_pixels
        label = read_label_map(scene.label_map, model.space, max_pixels=most)
        instance = None if scene.instance_map is None else read_instance_map(scene.instance_map, max_pixels=most)
        label, instance = model.fit(label, instance)
        draw = Draw(style, scene.id, scene.sample, scene.seed)
        return Decoded(model, label, instance, model.encode(label, instance), draw)

    def known_style(self, model: Model, style: Style, depth: int = 0) -> KnownStyle:
        """A style with the saved ones in it looked up, checked against a model; raises `InputError` and `Refusal`."""
        if isinstance(style, SavedStyle):
            z = self._named_style(model, style.saved)
            if z is None:
                raise Refusal(404, f"checkpoint '{model.name}' has no saved style '{style.saved}'")
            known: KnownStyle = VectorStyle.model_construct(z=z)
        elif isinstance(style, BlendStyle):
            if depth == MAX_DEPTH:
                raise InputError(f"style: blends are nested more than {MAX_DEPTH} deep; give vectors")
            parts = [self.known_style(model, part, depth + 1) for part in style.blend]
            known = BlendStyle.model_construct(blend=parts, t=style.t)
        else:
            known = style
        if isinstance(known, PhotographStyle):
            self.check_photograph(known.photograph)
        model.check_style(known)
        return known

    def check_photograph(self, data: bytes) -> None:
        """Raise `InputError` and `Refusal` for bytes that are no photograph, or one that is too large."""
        check_pixels(data, "photograph", max_pixels=self.limits.max_pixels)
        told("photograph", lambda: decode_image(data))

    async def paint(self, scene: Decoded, timing: Timing) -> np.ndarray:
        """The picture of a scene, uint8 `[*size, 3]`. Raises `Refusal` (503) where too many wait, and `InputError`."""
        return (await self._paint(scene, timing))[0]

    async def paint_record(self, scene: Decoded) -> Painted:
        """The picture of a scene with all that it was made of. Raises as `paint`."""
        pixels, z = await self._paint(scene, Timing())
        draw = scene.draw
        style = {"seed": scene.seed} if z is None or isinstance(draw.style, SeedStyle) else {"z": z}
        return Painted(
            draw.id, scene.label, scene.instance, pixels, style, scene.seed, draw.sample, checkpoint=scene.model.sha256
        )

    async def _paint(self, scene: Decoded, timing: Timing) -> tuple[np.ndarray, list[Any] | None]:
        model, codes = scene.model, scene.codes
        task = Task((model.name, codes.digest), scene.draw, partial(model.paint_with_styles, codes))
        picture: tuple[np.ndarray, list[Any] | None] = await self._result(task)
        timing.add("queue", task.started - task.submitted)
        timing.add("paint", task.finished - task.started)
        return picture

    async def encode(self, scene: Decoded, pixels: np.ndarray, picture_format: PictureFormat, timing: Timing) -> bytes:
        """The picture of a scene, uint8 `[H, W, 3]`, as a file, with the bytes that `synthesize` writes."""
        began = time.perf_counter()
        data = await self.in_thread(partial(ENCODERS[picture_format], pixels, xmp=scene.provenance.packet()))
        timing.add("encode", time.perf_counter() - began)
        return data

    async def style_of(self, model: Model, photograph: bytes) -> np.ndarray:
        """The mean style of a photograph that was checked, float32 `[style_dim]`. Raises as `paint`."""
        task = Task(object(), photograph, lambda photographs: [model.style_of(each) for each in photographs])
        z: np.ndarray = await self._result(task)
        return z

    async def prepare(self, scene: Scene) -> None:
        """Have at hand what `decode` of this scene looks up. Raises as `paint`."""
        if scene.style is not None and _names_any(scene.style):
            await self.learn_moods(self.model(scene.checkpoint))

    async def learn_moods(self, model: Model) -> None:
        """Compute the styles that a checkpoint has by name of its own, unless that was done. Raises as `paint`."""
        if model.name in self._moods:
            return
        moods: dict[str, list[float]] = {}
        if model.photographs:
            photographs = await self.in_thread(mood_photographs, model.space, model.size)

            def compute(asked: Sequence[None]) -> list[dict[str, list[float]]]:
                return [{name: model.style_of(data).tolist() for name, data in photographs.items()}] * len(asked)

            # Of one group, so that all who ask at first are answered by one computation.
            moods = await self._result(Task((model.name, "moods"), None, compute)) if photographs else {}
        self._moods[model.name] = moods

    async def styles(self, model: Model) -> dict[str, list[float]]:
        """The vectors of all styles that a checkpoint has by name: its own, then the saved ones."""
        if not model.style_dim:
            return {}
        await self.learn_moods(model)
        saved = await self.in_thread(self.saved.all, model.key)
        return {**self._moods[model.name], **{name: z for name, z in saved.items() if len(z) == model.style_dim}}

    def _named_style(self, model: Model, name: str) -> list[float] | None:
        z = self.saved.find(model.key, name)
        return self._moods.get(model.name, {}).get(name) if z is None else z

    async def _result(self, task: Task) -> Any:
        """What a task comes to; where the client goes meanwhile, it is not begun, or ended between two layers."""
        self.queue.submit(task)
        try:
            return await asyncio.wrap_future(task.future)
        except asyncio.CancelledError:
            task.abandoned = True
            self.metrics.abandoned.inc()
            current = asyncio.current_task()
            if task.future.cancelled() and not (current and current.cancelling()):  # the queue was closed
                raise Refusal(503, "the service is shutting down; try again later", retry_after=5) from None
            raise


def _names_any(style: Style) -> bool:
    """Whether a style is one by name, or blended of such."""
    if isinstance(style, BlendStyle):
        return any(_names_any(part) for part in style.blend)
    return isinstance(style, SavedStyle)
