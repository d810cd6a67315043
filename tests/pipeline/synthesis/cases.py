"""Tiny checkpoints and label maps for the tests of batch synthesis, and for the kill campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from click.testing import CliRunner, Result

import cli
from pipeline.checkpoints.file import build_encoder, build_generator, save_generator
from pipeline.config import Recipe
from pipeline.data.images import decode_image, encode_png
from pipeline.data.records import DatasetInfo, RecordWriter
from pipeline.labels import LabelSpace, encode
from pipeline.networks.generators import AnyGenerator
from pipeline.networks.spectral import settle_spectral_norm
from pipeline.recipe_file import parse_recipe
from pipeline.synthesis.job import Summary
from pipeline.synthesis.synthesize import synthesize as run

CLASSES = ("sky", "sea", "sand", "tree")
SPACE = LabelSpace(classes=CLASSES, dont_care=255)


def recipe(*, side: int = 32, style_dim: int = 0, instance_edges: bool = False, **generator: Any) -> Recipe:
    """The smallest generator there is, unless `kind` says another with its fields; the pictures are abstract."""
    fields = {
        "name": "tiny",
        "labels": {"classes": list(CLASSES), "dont_care": 255, "instance_edges": instance_edges},
        "data": {"train": "train.parquet", "validation": "val.parquet", "height": side, "width": side},
        "generator": ({"style_dim": style_dim} if style_dim else {}) | generator if "kind" in generator else {
            "channels": 2, "hidden": 4, "style_dim": style_dim, "statistics": "batch", **generator,
        },
        "training": {"steps": 1},
    }  # fmt: skip
    if generator.get("kind") == "pix2pixhd":  # and its own training
        fields |= {
            "discriminator": {"spectral": False},
            "losses": {"gan": "least_squares"},
            "training": {"steps": 1, "reuse_fake": True, "two_time_scale": False},
        }
    return parse_recipe(fields, source="test")


def write_checkpoint(folder: Path, *, seed: int = 0, encoder: bool = False, **options: Any) -> Path:
    """A run directory with random weights, strong enough for label maps and styles to show in the pictures."""
    settings = recipe(**options)
    torch.manual_seed(seed)
    generator, style_encoder = build_generator(settings).eval(), build_encoder(settings) if encoder else None
    with torch.no_grad():
        for network in (generator, style_encoder):
            for parameter in network.parameters() if network else ():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.1)
            for name, parameter in network.named_parameters() if network else ():
                if name.endswith("noise_scale"):
                    parameter.fill_(0.5)
        if settings.generator.kind != "spade":
            settle_spectral_norm(generator)
        if settings.generator.kind == "pix2pixhd" and settings.generator.features:
            # Of class number n, n + 1 looks that are far apart.
            features, classes = settings.generator.features, settings.labels.class_channels
            generator.styles.set([5 * torch.randn(number + 1, features) for number in range(classes)])
        _fill_the_range(generator, settings)
    save_generator(folder / "generator.safetensors", generator, settings, step=1, encoder=style_encoder)
    return folder


def _fill_the_range(generator: AnyGenerator, settings: Recipe) -> None:
    """Scale the last layer so that pictures are neither grey nor black and white: only then does every bit count."""
    size = settings.data.height
    codes = torch.from_numpy(encode(label_map(0, height=size, width=size), np.zeros((size, size), np.uint8), SPACE))[
        None
    ]
    style = torch.randn(1, settings.generator.style_dim) if settings.generator.style_dim else None
    if settings.generator.kind == "pix2pixhd" and style is not None:
        style = torch.randn(1, generator.label_input(codes).region_count, 1)
    label_input = generator.label_input(codes)
    if settings.generator.kind == "sims":
        label_input = label_input.with_canvas(torch.rand(1, 4, size, size).round())
    before: list[torch.Tensor] = []
    last = next(getattr(generator, name) for name in ("to_rgb", "to_picture", "last") if hasattr(generator, name))
    hook = last.register_forward_hook(lambda _, inputs, output: before.append(output))
    generator(label_input, style, torch.tensor([0]))
    hook.remove()
    last.weight /= 2 * before[0].std()


def label_map(index: int, *, height: int = 32, width: int = 32) -> np.ndarray:
    """uint8 `[height, width]`: a horizon and a tree, elsewhere in each one."""
    rng = np.random.default_rng(index)
    label = np.zeros((height, width), np.uint8)
    label[rng.integers(height // 4, 3 * height // 4) :] = rng.integers(1, 3)
    top, left = rng.integers(height // 2), rng.integers(width // 2)
    label[top : top + height // 3, left : left + width // 4] = 3
    label[:2, :3] = 255
    return label


def write_maps(path: Path, count: int, *, start: int = 0, **size: int) -> Path:
    """A Parquet file of label maps with photographs and instance maps, as `prepare` makes them."""
    with RecordWriter(path, DatasetInfo(SPACE, {"made": "for a test"}), row_group_rows=8) as writer:
        for index in range(start, start + count):
            label = label_map(index, **size)
            photograph = np.random.default_rng(index).integers(0, 256, (*label.shape, 3), dtype=np.uint8)
            writer.write({"id": f"map/{index}", "label": label, "instance": label + np.uint8(1), "image": photograph})
    return path


def write_cells(path: Path, labels: Sequence[bytes | None], ids: Sequence[str | None] | None = None) -> Path:
    """A Parquet file with any cells whatever, without metadata, labels as raw bytes."""
    columns: dict[str, Any] = {"label": pa.array(labels, pa.binary())}
    if ids is not None:
        columns["id"] = pa.array(ids, pa.string())
    pq.write_table(pa.table(columns), path)
    return path


def good_label(index: int = 0) -> bytes:
    """A label map as PNG."""
    return encode_png(label_map(index))


def output_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of all parts, in order."""
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def pixels(row: dict[str, Any]) -> bytes:
    """Of a row's picture, whose file names the seed too."""
    return decode_image(row["image"]["bytes"]).tobytes()


def output_bytes(folder: Path) -> dict[str, bytes]:
    """Every file that must not depend on how the job went, by name."""
    volatile = ("summary.json", "driver.lock", "workers.lock", "token")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in volatile)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def synthesize(maps: Path | str, checkpoint: Path | str, output: Path | str, **options: Any) -> Summary:
    """A job in this process."""
    return run(maps, checkpoint, output, **{"workers": 0, "quiet": True} | options)


def command(maps: Path | str, checkpoint: Path | str, output: Path | str, *options: object) -> Result:
    """`spadework synthesize` in this process, without Ray."""
    arguments = ["synthesize", "--input", maps, "--checkpoint", checkpoint, "--out", output, "--workers", 0, *options]
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def error_line(result: Result) -> str:
    """The one line of an error, which is all there is on the output beside the progress display."""
    lines = [
        line
        for line in result.output.replace("\r", "\n").split("\n")
        if line and not line.startswith(("synthesize:", "verify:"))
    ]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.output
    assert lines[0].startswith("Error: ")
    return lines[0]
