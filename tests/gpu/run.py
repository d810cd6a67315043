"""Checks and times generators and training steps on a GPU, in one go of less than ten minutes.

    python tests/gpu/run.py --out gpu           # on a machine with a GPU
    python tests/gpu/run.py --small --out gpu   # everything once, in a small form, on a CPU too

It needs what such machines come with (torch 2.11 or later, Triton, NumPy, Pillow, PyYAML, pyarrow, safetensors, tqdm),
and pydantic; neither Ray nor TensorRT. Writes gpu.json and gpu.md to the folder, after each section, so that a run that
is cut off leaves what it had; what does not fit into `--minutes` is listed as left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the machine has no spadework installed

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported: kernels run on the CPU

from pipeline.bench import generators
from pipeline.config import Recipe
from pipeline.datasets.sample_maps import sample_codes
from pipeline.recipe_file import load_recipe
from tests.gpu import kernels
from tests.gpu.measure import Ceilings, Timing, ceilings, race, work
from training.bench import Steps

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TINY = ("generator.channels=4", "generator.hidden=8", "discriminator.channels=4", "data.height=64", "data.width=64")
"""Overrides of the small form."""
LIMITS = {"fp32": 1e-3, "bf16": 0.15, "fp16": 0.03}
"""Largest difference of a pixel, in (-1, 1), between dense float32 and pattern modulation in a precision."""


class Run:
    """One go: the sections, what they found, and the time that is left."""

    def __init__(self, out: Path, *, small: bool, minutes: float, autotune: bool) -> None:
        self.out, self.small, self.autotune = out, small, autotune
        self.deadline = time.monotonic() + 60 * minutes
        self.laps = 1 if small else 7
        self.found: dict[str, Any] = {"machine": machine(), "left_out": []}

    def recipe(self, name: str) -> Recipe:
        """One of configs/, made tiny in the small form."""
        overrides = [f"data.train={name}", f"data.validation={name}", *(TINY if self.small else ())]
        return load_recipe(ROOT / "configs" / f"{name}.yaml", overrides)

    def workload(self, name: str, batch: int) -> generators.Workload:
        """`batch` label maps in one pass through the generator of a recipe, with fresh weights."""
        recipe = self.recipe(name)
        path = self.out / f"{name}.yaml"
        path.write_text(json.dumps(recipe.model_dump(mode="json")))
        codes = sample_codes(recipe, count=batch)
        return generators.Workload(
            weights=f"untrained:{path}",
            codes=codes,
            batch=batch,
            samples=1,
            device=DEVICE.type,
            threads=torch.get_num_threads(),
        )

    def section(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure and write, if there is time; a failure is noted, and the next section begins."""
        if time.monotonic() > self.deadline:
            self.found["left_out"].append(name)
            return
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            self.found[name] = measure()
        except Exception as error:  # noqa: BLE001 (one section's failure must not cost the others)
            self.found[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        self.found.setdefault("seconds", {})[name] = round(time.monotonic() - began, 1)
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
        (self.out / "gpu.json").write_text(json.dumps(self.found, indent=2) + "\n")
        (self.out / "gpu.md").write_text(render(self.found))

    def parity(self, name: str) -> dict[str, Any]:
        """Largest difference of pattern modulation in each precision, and of dense itself, from dense float32."""
        workload = self.workload(name, 2)
        expected = torch.from_numpy(generators.Eager(workload, folded=False).repeat())
        found = {}
        for precision, limit in LIMITS.items():
            made = torch.from_numpy(generators.Ours(workload, precision).repeat())
            off = (made - expected).abs()
            found[precision] = {"max": float(off.max()), "mean": float(off.mean()), "within": bool(off.max() <= limit)}
        return found

    def determinism(self, name: str, batch: int) -> dict[str, Any]:
        """Whether a pass gives the same bits again, and whether a picture's bits depend on the others of its batch."""
        workload = self.workload(name, batch)
        found = {}
        for precision in ("fp32", "bf16"):
            ours = generators.Ours(workload, precision).generator
            draws = (workload.styles[0] if workload.styles.shape[2] else None, workload.seeds)
            together = ours(workload.batches[0], *draws)
            again = ours(workload.batches[0], *draws)
            alone = [
                ours(codes[None], *(None if draw is None else draw[place : place + 1] for draw in draws))
                for place, codes in enumerate(workload.batches[0])
            ]
            found[precision] = {
                "same_again": bool(torch.equal(together, again)),
                "same_alone": bool(torch.equal(together, torch.cat(alone))),
                "largest_difference_alone": float((together - torch.cat(alone)).abs().max()),
            }
        return found

    def race(self, name: str, batch: int, limits: Ceilings) -> list[dict[str, Any]]:
        """The ways to make pictures, in turn."""
        workload = self.workload(name, batch)
        candidates, failed = {}, {}
        for label, build in self.candidates(workload):
            try:
                candidates[label] = build()
                candidates[label].repeat()
            except Exception as error:  # noqa: BLE001 (a compiler that fails is a row with its reason)
                candidates.pop(label, None)
                failed[label] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        timings = race({label: made.repeat for label, made in candidates.items()}, self.laps)
        rows = []
        for label, timing in timings.items():
            kind, precision = label.split()[:2]
            flops, bytes_ = work(candidates[f"{kind} {precision}"].repeat) if kind in ("eager", "pattern") else (0, 0)
            rows.append(self.row(label, timing, batch, timings["eager fp32"], limits, flops, bytes_))
        return rows + [{"name": label, "reason": reason} for label, reason in failed.items()]

    def candidates(self, workload: generators.Workload) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Name and precision of each, and what builds it; quick ones first."""
        yield "eager fp32", lambda: generators.Eager(workload, folded=False)
        yield "pattern fp32", lambda: generators.Ours(workload, "fp32")
        yield "pattern bf16", lambda: generators.Ours(workload, "bf16")
        search: dict[str, Any] = {"max_autotune": self.autotune}
        settings = search if DEVICE.type == "cuda" else None
        yield "engine bf16", lambda: generators.Compiled(workload, "bf16", settings=settings)
        mode = "max-autotune" if self.autotune else "reduce-overhead"
        yield "inductor bf16", lambda: generators.Inductor(workload, "bf16", mode=mode)
        if DEVICE.type == "cuda":
            yield (
                "engine bf16 graphs",
                lambda: generators.Compiled(workload, "bf16", settings=settings, cuda_graphs=True),
            )

    def row(
        self, label: str, timing: Timing, batch: int, first: Timing, limits: Ceilings, flops: int, bytes_: int
    ) -> dict[str, Any]:
        """A line of the table; shares of the ceilings where the path's work can be counted."""
        return {
            "name": label,
            "ms_a_picture": 1000 * timing.seconds / batch,
            "faster": first.seconds / timing.seconds,
            "peak_gib": timing.peak_bytes and timing.peak_bytes / 2**30,
            "of_products": flops / timing.seconds / limits.products[label.split()[1]] if flops else None,
            "of_copy": bytes_ / timing.seconds / limits.copy if bytes_ else None,
        }

    def training(self, name: str) -> list[dict[str, Any]]:
        """A step of the generator and the discriminator on four label maps."""
        recipe = self.recipe(name)
        common = {
            "codes": sample_codes(recipe, count=4),
            "device": DEVICE.type,
            "threads": torch.get_num_threads(),
        }
        names = ["dense-fp32", "pattern-fp32", "dense-bf16", "pattern-bf16"]
        steps = {each: Steps(each, recipe.model_dump(mode="json"), **common) for each in names}
        timings = race({each: step.repeat for each, step in steps.items()}, self.laps)
        first = timings[names[0]].seconds
        return [
            {
                "name": each.replace("-", " "),
                "ms_a_step": 1000 * timing.seconds,
                "faster": first / timing.seconds,
                "peak_gib": timing.peak_bytes and timing.peak_bytes / 2**30,
            }
            for each, timing in timings.items()
        ]

    def kernel(self, channels: int, limits: Ceilings) -> list[dict[str, Any]]:
        """Gather, modulate and activate a feature map of eight pictures of 256x256: Triton, Inductor, neither."""
        pixels, rows = (512, 40) if self.small else (8 * 256 * 256, 20000)
        dtype = torch.float32 if self.small else torch.bfloat16
        random = torch.Generator().manual_seed(0)
        x = torch.randn(pixels, channels, generator=random).to(DEVICE, dtype)
        table = torch.randn(rows, 2 * channels, generator=random).to(DEVICE, dtype)
        numbers = torch.randint(rows, (pixels,), generator=random, dtype=torch.int32).to(DEVICE)
        expected = kernels.plain(x.float(), numbers, table.float())
        compiled = torch.compile(kernels.plain)
        ways = {"plain": kernels.plain, "inductor": compiled, "triton": kernels.fused}
        off = {name: float((way(x, numbers, table) - expected).abs().max()) for name, way in ways.items()}
        timings = race({name: lambda way=way: way(x, numbers, table) for name, way in ways.items()}, self.laps)
        least = 2 * x.numel() * x.element_size() + numbers.numel() * 4
        return [
            {
                "name": name,
                "us": 1e6 * timing.seconds,
                "of_copy": least / timing.seconds / limits.copy,
                "max_difference": off[name],
            }
            for name, timing in timings.items()
        ]


def machine() -> dict[str, Any]:
    """What was measured on."""
    found: dict[str, Any] = {"torch": torch.__version__, "python": sys.version.split()[0], "device": DEVICE.type}
    if DEVICE.type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
    return found


def render(found: dict[str, Any]) -> str:
    """The findings as Markdown: a table for each section of rows, and the others as they are."""
    lines = ["# Generators and training steps on " + str(found["machine"].get("gpu", "a CPU")), ""]
    for name, section in found.items():
        lines.append(f"## {name}\n")
        if isinstance(section, list) and section and isinstance(section[0], dict):
            columns = list(dict.fromkeys(key for row in section for key in row))
            lines.append("| " + " | ".join(columns) + " |")
            lines.append("| " + " | ".join("---" for _ in columns) + " |")
            lines += ["| " + " | ".join(text(row.get(column)) for column in columns) + " |" for row in section]
        else:
            lines += ["```json", json.dumps(section, indent=2), "```"]
        lines.append("")
    return "\n".join(lines)


def text(value: Any) -> str:
    """A cell."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 1 where a section failed or pattern modulation was too far from dense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder for gpu.json and gpu.md")
    parser.add_argument("--small", action="store_true", help="tiny generators, one lap")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no section begins")
    parser.add_argument("--autotune", action="store_true", help="let Inductor search for the fastest kernels: minutes")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    run = Run(given.out, small=given.small, minutes=given.minutes, autotune=given.autotune)
    laps = 1 if given.small else 20
    limits = ceilings(DEVICE, small=given.small, laps=laps)
    run.found["ceilings"] = asdict(limits)
    large, small = "coco_stuff", "landscape"
    for name in (large, small):
        run.section(f"parity {name}", lambda name=name: run.parity(name))
        run.section(f"determinism {name}", lambda name=name: run.determinism(name, 2 if given.small else 8))
    for channels in (8,) if given.small else (64, 256):
        run.section(f"kernel of {channels} channels", lambda channels=channels: run.kernel(channels, limits))
    for name in (small,) if given.small else (large, small):
        run.section(f"training step {name}", lambda name=name: run.training(name))
    for batch in (2,) if given.small else (8, 1, 32):
        for name in (small,) if given.small else (large, small):
            run.section(f"race {name} batch {batch}", lambda name=name, batch=batch: run.race(name, batch, limits))
    print((given.out / "gpu.md").read_text())
    sections = [part for part in run.found.values() if isinstance(part, dict)]
    failed = [part for part in sections if "failed" in part]
    off = [
        each for part in sections for each in part.values() if isinstance(each, dict) and each.get("within") is False
    ]
    return 1 if failed or off else 0


if __name__ == "__main__":
    sys.exit(main())
