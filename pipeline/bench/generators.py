"""Ways to run one generator: ours, the published one, and compiled ones of others. Each makes one repeat's pictures."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.checkpoints.file import load_checkpoint
from pipeline.engines import aot_inductor
from pipeline.engines.cuda_graphs import GraphedFunction
from pipeline.engines.engine import Engine
from pipeline.engines.graph import GeneratorGraph
from pipeline.engines.signature import Signature
from pipeline.labels import LabelSpace, one_hot, split_codes
from pipeline.networks.generator import Generator, layer_sizes
from pipeline.networks.inference.folded import FoldedGenerator
from pipeline.networks.inference.int8 import Span, observe_spans
from pipeline.networks.label_input import LabelInput
from pipeline.networks.noise import draw_noise, split_noise
from pipeline.networks.spectral import fold_spectral_norm
from pipeline.precision import DTYPES, Precision
from pipeline.runtime.memory import keep_freed_memory


class Ours:
    """The folded generator; `samples` pictures of each label map, one by one or in batches."""

    def __init__(self, workload: Workload, precision: Precision) -> None:
        self.workload = workload
        spans = workload.spans() if precision == "int8" else ()
        self.generator = FoldedGenerator(workload.generator, DTYPES[precision], spans=spans)

    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`, with the discovery of patterns."""
        return self.workload.pictures(self.generator.label_input, self.workload.seeded(self.generator))


class Compiled:
    """The same through AOTInductor, as `spadework compile` makes it. Raises `ImportError` without a C++ compiler."""

    def __init__(
        self,
        workload: Workload,
        precision: Precision,
        *,
        cuda_graphs: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`settings` of Inductor, in the place of those of `compile`."""
        if reason := aot_inductor.missing(workload.device):
            raise ImportError(reason)
        generator, codes, z = workload.generator, workload.batches[0], workload.styles[0]
        assert generator.settings.kind == "spade"
        signature = Signature(generator.settings, generator.space, generator.size, len(codes), "pattern")
        spans = workload.spans() if precision == "int8" else ()
        on_cpu = workload.device.type == "cpu"
        graph = GeneratorGraph(generator, signature, DTYPES[precision], on_cpu=on_cpu, spans=spans)
        styles, places = z if z.shape[1] else None, range(len(codes))
        label_input = signature.batch_input(signature.label_input(codes), styles, places)
        example = signature.tensors(label_input, styles, places, seeds=workload.seeds)
        chosen = aot_inductor.arguments(workload.device, DTYPES[precision]) if settings is None else dict(settings)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / aot_inductor.FILE
            aot_inductor.build(graph.export(example), path, signature=signature, lengths=(), settings=chosen)
            compiled = aot_inductor.load(path, workload.device)
            function = GraphedFunction(compiled) if cuda_graphs else compiled
            self.engine = Engine(function, signature, workload.device)
        self.workload = workload

    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`, with the discovery of patterns."""
        return self.workload.pictures(self.engine.label_input, self.workload.seeded(self.engine))


class Eager:
    """PyTorch without a compiler: as published, with spectral norm computed in the pass, or with it folded."""

    def __init__(self, workload: Workload, folded: bool) -> None:
        self.workload = workload
        self.network = DenseGenerator(workload, folded=folded).to(workload.device)

    @torch.inference_mode()
    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`."""
        return self.workload.pictures(self.workload.one_hot, self.network)


class Inductor:
    """torch.compile of the dense generator, weights frozen; on a GPU with CUDA graphs and, unless another `mode` is
    given, its longest search."""

    def __init__(self, workload: Workload, precision: Precision, *, mode: str = "max-autotune") -> None:
        import torch._inductor.config as inductor

        inductor.freezing = True
        self.workload = workload
        self.dtype = DTYPES[precision]
        network = DenseGenerator(workload, folded=True).to(workload.device, self.dtype)
        network = network.to(memory_format=torch.channels_last).eval()
        self.network = torch.compile(network, mode=mode if workload.device.type == "cuda" else None)

    @torch.inference_mode()
    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`."""

        def prepare(codes: torch.Tensor) -> torch.Tensor:
            return self.workload.one_hot(codes).to(self.dtype).contiguous(memory_format=torch.channels_last)

        def run(planes: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
            return self.network(planes, None if z is None else z.to(self.dtype))

        return self.workload.pictures(prepare, run)


class OnnxRuntime:
    """ONNX Runtime on the CPU, float32."""

    def __init__(self, workload: Workload) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        with tempfile.TemporaryDirectory() as folder:
            path = _export(workload, Path(folder))
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.workload = workload

    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`."""

        def run(planes: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
            feed = {"semantics": planes.numpy()} | ({} if z is None else {"z": z.numpy()})
            return torch.from_numpy(self.session.run(None, feed)[0])

        return self.workload.pictures(self.workload.one_hot, run)


class OpenVino:
    """OpenVINO on the CPU, in float32 or bfloat16."""

    def __init__(self, workload: Workload, precision: str) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        with tempfile.TemporaryDirectory() as folder:
            self.compiled = core.compile_model(core.read_model(_export(workload, Path(folder))), "CPU", settings)
        self.workload = workload

    def repeat(self) -> np.ndarray:
        """Codes to pictures, float32 `[pictures, 3, H, W]`."""

        def run(planes: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
            feed = [planes.numpy()] + ([] if z is None else [z.numpy()])
            return torch.from_numpy(self.compiled(feed)[0].copy())

        return self.workload.pictures(self.workload.one_hot, run)


class DenseGenerator(nn.Module):
    """The generator as a function of one tensor, the one-hot label map at full size, as the paper draws it.

    Noise, if layers add any, is a constant.
    """

    def __init__(self, workload: Workload, *, folded: bool) -> None:
        super().__init__()
        self.network = copy.deepcopy(workload.generator).eval()
        self.noise = nn.ParameterList()
        if workload.seeds is not None:
            sizes = layer_sizes(self.network.settings, self.network.size)
            maps = split_noise(draw_noise(workload.seeds, sizes), sizes)
            self.noise = nn.ParameterList(nn.Parameter(each, requires_grad=False) for each in maps)
            # It has its noise: drawing it again would be in the graph, and Inductor's code for that corrupts memory.
            self.network.settings = self.network.settings.model_copy(update={"noise": False})
        if folded:
            fold_spectral_norm(self.network)
        else:
            self.network.memory_format = torch.contiguous_format  # as published

    def forward(self, label_input: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        """One-hot `[N, channels, H, W]` and style `[N, style_dim]` to pictures `[N, 3, H, W]`."""
        return self.network(_OneHot(label_input, self.noise), z)


class _OneHot(LabelInput):
    """A `LabelInput` that knows nothing but the one-hot tensor and the noise of each layer."""

    def __init__(self, planes: torch.Tensor, noise: nn.ParameterList) -> None:
        self.planes, self.constants, self.noise = planes, noise, list(noise) or None
        self.codes = planes[:, 0]
        self.modulation = "dense"

    def one_hot_at(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Nearest neighbours, as `F.interpolate` takes them."""
        return F.interpolate(self.planes, size=(height, width), mode="nearest")

    def with_styles(self, z: torch.Tensor) -> _OneHot:
        """The style in channels of its own, beside the label map's."""
        styles = z[:, :, None, None].expand(-1, -1, *self.planes.shape[2:])
        return _OneHot(torch.cat([self.planes, styles], dim=1), self.constants)

    def patterns_at(self, height: int, width: int, kernel_size: int) -> None:
        """None: this path is dense."""


class Workload:
    """The weights, and the label maps of a repeat: the same in every process."""

    def __init__(
        self,
        *,
        weights: str,
        codes: np.ndarray,
        batch: int,
        samples: int,
        device: str,
        threads: int,
        rescale: bool = True,
    ) -> None:
        """`weights` as for `synthesize`; `codes` int32 `[M, H, W]`; `rescale`: see `rescale_untrained`."""
        torch.set_num_threads(threads)
        keep_freed_memory()
        self.device = torch.device(device)
        loaded = load_checkpoint(weights).generator
        assert isinstance(loaded, Generator) and loaded.settings.kind == "spade"
        self.generator: Generator = loaded
        if rescale:
            rescale_untrained(self.generator)
        height, width = codes.shape[1:]
        if (height, width) != self.generator.size:
            settings, space = self.generator.settings, self.generator.space
            other = Generator(settings, space, height=height, width=width).eval()
            other.load_state_dict(self.generator.state_dict())
            self.generator = other
        self.generator.to(self.device)
        # Every picture in one style: what a style is drawn for changes no sum, and not every way knows regions.
        if self.generator.settings.region_styles == "instance":
            codes, _ = split_codes(codes, self.generator.space)
        self.generator.settings = self.generator.settings.model_copy(update={"region_styles": "none"})
        self.space: LabelSpace = self.generator.space
        self.batches = [torch.from_numpy(part).to(self.device) for part in np.split(codes, len(codes) // batch)]
        random = torch.Generator().manual_seed(0)
        size = (samples, batch, self.generator.settings.style_dim)
        self.styles = torch.randn(size, generator=random).to(self.device)
        self.seeds = torch.arange(batch, device=self.device) if self.generator.settings.noise else None
        """Of noise, for the pictures of a batch: the same in every batch and sample."""

    def spans(self) -> tuple[Span, ...]:
        """What the convolutions take in, calibrated with the label maps of a repeat."""
        folded = FoldedGenerator(self.generator)
        run = partial(self.pictures, folded.label_input, self.seeded(folded))
        return observe_spans(folded.convolutions, [run])

    def one_hot(self, codes: torch.Tensor) -> torch.Tensor:
        """The dense input of a batch of codes int32 `[N, H, W]`: float32 `[N, channels, H, W]`."""
        return one_hot(codes, self.space)

    def seeded(self, run: Callable) -> Callable:
        """A generator with the seeds as its last argument."""
        return lambda label_input, z: run(label_input, z, self.seeds)

    def pictures(self, prepare: Callable, run: Callable) -> np.ndarray:
        """`run` on what `prepare` makes of each batch, once for each sample: float32 `[pictures, 3, H, W]`."""
        made = []
        for codes in self.batches:
            prepared = prepare(codes)
            for styles in self.styles:
                made.append(run(prepared, styles if styles.shape[1] else None).float().cpu())
        return torch.cat(made).numpy()


@torch.no_grad()
def rescale_untrained(generator: Generator) -> None:
    """Give untrained weights a scale at which activations keep their size and the picture is not saturated.

    With fresh weights pictures are grey, or black and white under another initialisation: differences would read 0.
    """
    random = torch.Generator().manual_seed(0)
    for name, parameter in generator.named_parameters():
        if parameter.dim() > 1 and not name.endswith("original"):
            gain = 0.2 if name.startswith("to_rgb") else 1.4
            parameter.normal_(0, gain / parameter[0].numel() ** 0.5, generator=random)


def _export(workload: Workload, folder: Path) -> Path:
    """The dense generator in ONNX."""
    network = DenseGenerator(workload, folded=True).eval()
    planes = workload.one_hot(workload.batches[0])
    styled = workload.styles.shape[2] > 0
    inputs = (planes, workload.styles[0]) if styled else (planes,)
    path = folder / "generator.onnx"
    names = ["semantics", "z"] if styled else ["semantics"]
    torch.onnx.export(network, inputs, str(path), input_names=names, dynamo=True, verbose=False)
    return path
