"""Label codes and styles to pictures, each the same to the last bit whatever is synthesized beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import RegionStyles
from pipeline.data.images import decode_image
from pipeline.errors import InputError
from pipeline.networks.encoder import prepare_photograph
from pipeline.networks.generator import Generator
from pipeline.networks.generators import DrawsPictures
from pipeline.networks.inference.frozen import freeze
from pipeline.networks.label_input import LabelInput
from pipeline.precision import DTYPES, Precision
from pipeline.segments.paste import OwnPictures
from pipeline.segments.pasting import open_paster
from pipeline.synthesis.styles import Sample

GPU_BATCH = 8
"""Samples of a label map that are synthesized at once on a GPU."""

Rounding = Literal["nearest", "truncate"]
"""From a generator's output to whole grey levels: to the nearest one, or to the one below, as the public SPADE does
(`util/util.py`, `tensor2im`), so that half of all values are one lower."""


class Synthesizer:
    """A generator, or its engine, that takes codes and gives uint8 pictures.

    The rounding of a convolution depends on the shape of its batch and on the number of threads. So pictures are
    synthesized one by one (on a GPU: all samples of a label map in batches of a fixed size), with a number of threads
    that belongs to the job: then neighbours, the number of workers and the shard do not show in any bit. To fill a GPU,
    let several workers share it.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "fp32",
        engine: str | Path | None = None,
        region_styles: RegionStyles | None = None,
        one_by_one: bool = False,
        bank: str | None = None,
        own_pictures: OwnPictures = "refuse",
        rounding: Rounding = "nearest",
    ) -> None:
        """`threads` of this process for torch; None leaves them as they are. An `engine` has a precision of its own.
        `region_styles`: what has a style of its own; None: what had one in training.

        `bank` is the memory bank of a generator that pastes from one (None: that of its recipe), and `own_pictures`
        what happens to records whose pictures are in it.

        With `one_by_one` the samples of a label map share no batch on a GPU either: where their number is different
        from row to row, its size would show in the pictures.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.precision = precision
        self.rounding = rounding
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = False  # It would choose algorithms by stopwatch.
            torch.backends.cudnn.deterministic = True
        checkpoint = load_checkpoint(source, device=self.device if engine is None else "cpu")
        self.recipe, self.checkpoint_sha256 = checkpoint.recipe, checkpoint.sha256
        if region_styles is not None and isinstance(checkpoint.generator, Generator):
            settings = checkpoint.generator.settings.model_copy(update={"region_styles": region_styles})
            self.recipe = self.recipe.model_copy(update={"generator": settings})
            checkpoint.generator.settings = settings
        self.paster = open_paster(self.recipe, checkpoint.generator, bank, own_pictures)
        self._encoder = checkpoint.encoder.to(self.device) if checkpoint.encoder else None
        self._settings = self.recipe.generator
        self._multiple = self._settings.multiple
        self.style_dim = self._settings.style_dim
        self.engine: str | None = None
        self.size = self.recipe.data.height, self.recipe.data.width
        self._generator: DrawsPictures
        if engine is None:
            self._generator = freeze(checkpoint.generator, DTYPES[precision])
            several = (self.style_dim or self._settings.takes_seeds) and not one_by_one
            self._batch = GPU_BATCH if self.device.type == "cuda" and several else 1
        else:
            from pipeline.engines.engine import load_engine

            self._generator, manifest = load_engine(Path(engine), checkpoint)
            self._batch, self.engine = manifest.spec.batch, manifest.name
            self.size = manifest.spec.signature.size

    @property
    def takes_photographs(self) -> bool:
        """Whether `style_of` has an encoder."""
        return self._encoder is not None

    def between_layers(self, check: Callable[[], None]) -> None:
        """Have `check` called before each layer of every picture, in the thread that synthesizes; what it raises ends
        the picture. An engine is one call, in which nothing is asked."""
        if self.engine is None and isinstance(self._generator, torch.nn.Module):
            for module in self._generator.modules():
                module.register_forward_pre_hook(lambda *_: check())

    @torch.inference_mode()
    def prepare(self, codes: np.ndarray, canvas: np.ndarray | None = None) -> LabelInput:
        """Codes int32 `[H, W]` (`recipe.encode`) on the device, padded on the right and below to what the generator
        takes; with the canvas uint8 `[H, W, 4]` of `paster`, where there is one.

        The padding repeats the border, so that the picture continues; `synthesize` cuts it off. Runs in any thread.
        """
        height, width = codes.shape
        padding = ((0, -height % self._multiple), (0, -width % self._multiple))
        padded = np.pad(codes, padding, mode="edge") if any(after for _, after in padding) else codes
        label_input = self._generator.label_input(torch.from_numpy(padded).unsqueeze(0).to(self.device))
        if canvas is not None:
            planes = torch.from_numpy(np.pad(canvas, (*padding, (0, 0)))).permute(2, 0, 1).unsqueeze(0)
            label_input = label_input.with_canvas(planes.to(self.device).float() / 255)
        # Find the patterns, of every resolution, now: beside the synthesis of another picture.
        if self._settings.kind in ("spade", "pix2pixhd_plus"):
            label_input.patterns_at(padded.shape[0], padded.shape[1], self._settings.kernel_size)
        return label_input

    def synthesize(
        self, label_input: LabelInput, samples: Sequence[Sample], size: tuple[int, int]
    ) -> Iterator[np.ndarray]:
        """A picture for each sample: uint8 `[*size, 3]`; `InputError` where pixels are NaN or infinite."""
        # An engine has one batch for good; the eager generator one for all pictures of a job.
        batch = self._batch if self.engine else min(self._batch, len(samples))
        for start in range(0, len(samples), batch):
            part = list(samples[start : start + batch])
            # The last batch is filled up: another shape would be rounded in another way.
            yield from self._synthesize_batch(label_input, part + part[-1:] * (batch - len(part)), size)[: len(part)]

    @torch.inference_mode()
    def _synthesize_batch(self, label_input: LabelInput, samples: list[Sample], size: tuple[int, int]) -> np.ndarray:
        styles = [sample.z for sample in samples if sample.z is not None]
        z = torch.stack(styles).to(self.device) if styles else None
        takes = self._settings.takes_seeds
        seeds = torch.tensor([sample.seed for sample in samples], device=self.device) if takes else None
        pictures = self._generator(label_input, z, seeds)  # [N, 3, H, W]
        if not pictures.isfinite().all():
            # Weights are finite where they are loaded; half precision, and what a compiler made of it, can overflow.
            what = f"engine {self.engine}" if self.engine else f"the generator in {self.precision}"
            raise InputError(f"{what} gives NaN or infinite pixels; take --precision fp32, and no engine")
        pixels = grey_levels(pictures[:, :, : size[0], : size[1]], self.rounding)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    @torch.inference_mode()
    def style_of(self, photograph: bytes) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of a photograph's style, float32 `[style_dim]` each, on the CPU.

        Photographs of any size are resized to the recipe's as in training. Raises `InputError` for bytes that are no
        picture, and where the checkpoint has no style encoder.
        """
        if self._encoder is None:
            raise InputError("the checkpoint has no style encoder, so photographs cannot give the style")
        image = prepare_photograph(decode_image(photograph), self.recipe.data)
        mu, logvar = self._encoder(image.to(self.device))
        return mu[0].float().cpu(), torch.exp(0.5 * logvar[0]).float().cpu()


def grey_levels(pictures: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """float `[...]`, -1 to 1, to uint8 `[...]`, 0 to 255; what lies beyond is clamped.

    >>> values = torch.tensor([-1.0, -0.99, 0.0, 0.999, 1.2])  # 0, 1.275, 127.5, 254.87 and more
    >>> grey_levels(values, "nearest").tolist(), grey_levels(values, "truncate").tolist()
    ([0, 1, 128, 255, 255], [0, 1, 127, 254, 255])
    """
    levels = (pictures + 1) * 127.5
    # A conversion to integers cuts what is behind the point.
    return (levels.round() if rounding == "nearest" else levels).clamp(0, 255).to(torch.uint8)
