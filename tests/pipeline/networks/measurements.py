"""What tests on small generators show, measured on the one of 97.5M parameters, as JSON lines.

    python -m tests.pipeline.networks.measurements exactness --input data/coco_stuff/train.parquet
    python -m tests.pipeline.networks.measurements share

`exactness`: patterns against the dense twin in training mode at 256x256, pictures and gradients, for each kind of
statistics and precision. Takes about 10 GB of memory. `share`: multiplications of modulation by patterns as a share of
dense modulation's, for landscapes of growing size.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import torch

from pipeline.bench.generators import rescale_untrained
from pipeline.checkpoints.file import build_generator
from pipeline.datasets.sample_maps import sample_codes
from pipeline.networks.generator import Generator, doubled_before
from pipeline.networks.label_input import LabelInput
from pipeline.networks.spade import SPADE
from pipeline.recipe_file import load_recipe

RECIPE = Path(__file__).resolve().parents[3] / "configs" / "coco_stuff.yaml"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="+", choices=["exactness", "share"])
    parser.add_argument("--input", type=Path, help="Parquet of label maps; without it, landscapes")
    parser.add_argument("--statistics", nargs="+", default=["batch", "sync_batch", "instance"])
    arguments = parser.parse_args()
    if "exactness" in arguments.what:
        for statistics in arguments.statistics:
            print(json.dumps(exactness(statistics, arguments.input)), flush=True)
    if "share" in arguments.what:
        for size in (256, 512, 1024):
            print(json.dumps(share(size)), flush=True)


def exactness(statistics: str, source: Path | None) -> dict[str, object]:
    """Largest difference of pictures, and worst relative norm of the difference of a parameter's gradient.

    In float32 some gradients are sums that nearly cancel, so there the errors of both forms are given too, against
    float64.
    """
    passes = {
        (form, bits): one_pass(statistics, form, dtype, source)
        for bits, dtype in ((64, torch.float64), (32, torch.float32))
        for form in ("dense", "pattern")
    }
    picture, gradients = ({key: made[part] for key, made in passes.items()} for part in (0, 1))
    result: dict[str, object] = {
        "statistics": statistics, "picture's standard deviation": float(picture["dense", 64].std())
    }  # fmt: skip
    for bits in (64, 32):
        result[f"picture {bits}"] = float((picture["pattern", bits] - picture["dense", bits]).abs().max())
        result[f"gradient {bits}"] = worst(gradients["pattern", bits], gradients["dense", bits])
    for form in ("dense", "pattern"):
        result[f"gradient of {form} 32 against 64"] = worst(gradients[form, 32], gradients["dense", 64])
    return result


def one_pass(
    statistics: str, modulation: str, dtype: torch.dtype, source: Path | None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A picture in training mode, and the gradients of a random weighting of its pixels."""
    recipe = load_recipe(RECIPE, [f"generator.statistics={statistics}", f"generator.modulation={modulation}"])
    torch.manual_seed(0)
    generator = build_generator(recipe)
    rescale_untrained(generator)
    generator.to(dtype).train()
    picture = generator(torch.from_numpy(sample_codes(recipe, source, count=1)))
    weight = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    (picture * weight.to(dtype)).sum().backward()
    return picture.detach(), {name: parameter.grad for name, parameter in generator.named_parameters()}


def worst(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> tuple[float, str]:
    """The largest relative norm of a difference, and the parameter's name."""
    return max(
        (float((ours[name] - gradient).norm() / gradient.norm()), name)
        for name, gradient in expected.items()
        # A constant before a normalisation: the true gradient is 0.
        if not re.search(r"conv_[01]\.bias|norm_shortcut\.beta\.bias|first\.bias", name)
    )


def share(size: int) -> dict[str, object]:
    """Multiplications of the convolutions behind gamma and beta, over eight landscapes."""
    recipe = load_recipe(RECIPE)
    codes = torch.from_numpy(sample_codes(recipe, count=8, size=(size, size)))
    label_input = [LabelInput(each[None], recipe.labels, "pattern") for each in codes]
    with torch.device("meta"):
        blocks = Generator(recipe.generator, recipe.labels, height=size, width=size).blocks
    side = size // 2**recipe.generator.doublings
    pattern = dense = 0
    for block, doubled in zip(blocks, doubled_before(recipe.generator), strict=True):
        side = 2 * side if doubled else side
        for layer in filter(lambda module: isinstance(module, SPADE), block.modules()):
            products = layer.gamma.weight.numel() + layer.beta.weight.numel()
            dense += len(codes) * side**2 * (products + layer.shared.weight.numel())
            found = (each.patterns_at(side, side, layer.kernel_size) for each in label_input)
            pattern += sum(len(patterns.hidden_windows) for patterns in found) * products
    return {"size": size, "share": round(pattern / dense, 4), "dense GMAC": round(dense / len(codes) / 1e9, 1)}


if __name__ == "__main__":
    main()
