"""The command line's surface: what it offers is pinned, answers at once, and its examples are commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli import main

ROOT = Path(__file__).parents[1]


def verbs(group: click.Group = main, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*prefix, name))
        else:
            yield " ".join((*prefix, name)), command


VERBS = dict(verbs())

OPTIONS = {
    "prepare landscape": "--out --train --validation --size --seed --workers",
    "prepare folder": "--out --images --instances --classes --palette --map-ids --dont-care "
    "--label-suffix --image-suffix --instance-suffix --validation --size --resample --workers --skip-bad",
    "prepare camvid": "--out --size --resample --workers --skip-bad",
    "prepare coco-stuff": "--out --size --resample --workers --skip-bad",
    "prepare ade20k": "--out --size --resample --workers --skip-bad",
    "prepare cityscapes": "--out --size --resample --workers --skip-bad",
    "train": "--out --workers --decoders --vgg-weights --segmenter --segmenter-weights --max-time --set",
    "compile": "--checkpoint --backend --precision --batch --size --modulation --input --maps --out",
    "engines list": "",
    "engines clean": "--all",
    "synthesize": "--input --checkpoint --output --samples --seed --label-column --id-column --instance-column "
    "--palette --keep-size --style --style-column --style-rows --style-interpolate --truncation --format --precision "
    "--engine --max-rejects --actors --threads --gpus-per-actor --export",
    "verify": "",
    "import-weights": "--recipe --encoder --dont-care-first --out",
    "train-segmenter": "--out --weights --set",
    "evaluate": "--images --reference --segmenter --segmenter-weights --out --baseline --inception-weights "
    "--lpips-weights --fid-reference --protocol --set --workers --batch-size --examples --cache --title",
    "evaluate-style": "--checkpoint --reference --learn-from --out --column --maps --seed",
    "filter": "--scores --out --min-accuracy --min-mean-iou --max-feature-distance",
    "compare": "--out",
    "weights list": "",
    "weights fetch": "",
    "weights check": "",
    "demo": "--minutes",
    "bench synthesize": "--checkpoint --input --maps --batch --samples --size --noise --paths --laps --threads --json",
    "bench train": "--input --batch --size --noise --paths --laps --threads --json --set",
}
"""So that the surface grows on purpose."""


def test_verbs_and_options_are_these() -> None:
    found = {
        name: {option for parameter in verb.params if isinstance(parameter, click.Option) for option in parameter.opts}
        for name, verb in VERBS.items()
    }
    assert found == {name: set(options.split()) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("name", VERBS)
def test_example_parses(name: str) -> None:
    """Every verb's help has an example, and it is a call that the command line takes."""
    verb = VERBS[name]
    example = re.search(r"Example:\s+spadework ((?:.+\\\n)*.+)", verb.help or "")
    assert example, f"{name} has no example"
    words = shlex.split(example[1].replace("\\\n", " "))
    arguments = words[len(name.split()) :]
    assert words[: len(name.split())] == name.split()
    verb.make_context(name, arguments)  # raises a usage error for an unknown or missing option
    recipes = [word for word in arguments if word.startswith("configs/")]
    assert all((ROOT / recipe).exists() for recipe in recipes)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, cli; cli.main(['--help'], standalone_mode=False); print(sorted({'torch', 'ray', 'pyarrow', "
        "'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "synthesize" in done.stdout
