"""The command line's surface: what it offers is pinned, answers at once, and its examples are commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli import main
from pipeline.errors import InputError

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
    "train": "--out --workers --decoders --vgg-weights --trunk-weights --segmenter --segmenter-weights --max-time "
    "--set",
    "compile": "--checkpoint --backend --precision --batch-size --size --modulation --input --maps --out",
    "engines list": "",
    "engines clean": "--all",
    "synthesize": "--input --checkpoint --out --samples --seed --label-column --id-column --instance-column "
    "--palette --keep-size --style --style-column --style-rows --style-interpolate --truncation "
    "--region-styles --format --precision --engine --max-rejects --workers --threads --gpus-per-worker --export",
    "verify": "--input",
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
    "bench synthesize": "--checkpoint --input --maps --batch-size --samples --size --noise --paths --repeats "
    "--threads --json",
    "bench train": "--input --batch-size --size --noise --paths --repeats --threads --json --set",
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


def run_weights_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException) -> Result:
    """`weights list` (a verb in a group in the program), in which `error` is raised."""

    def fail() -> str:
        raise error

    monkeypatch.setattr("pipeline.pretrained.registry.list_weights", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return CliRunner().invoke(main, ["weights", "list"])


def test_the_unforeseen_is_one_line_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run_weights_list(monkeypatch, tmp_path, RuntimeError("a tensor\nis too large " + "x" * 1000))
    (file,) = tmp_path.iterdir()
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: unexpected error (RuntimeError: a tensor is too large xxx")
    assert done.stderr.endswith(f"...); details in {file}\n")
    assert done.stderr.count("\n") == 1 and len(done.stderr) < 300 + len(str(file))
    kept = file.read_text()
    assert "Traceback (most recent call last)" in kept and "in weights_list" in kept and "is too large" in kept


def test_the_unforeseen_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run_weights_list(monkeypatch, tmp_path / "none", KeyError())
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: unexpected error (KeyError); its details could not be kept (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (SystemExit(7), 7, ""),
        (click.exceptions.Exit(3), 3, ""),
        (click.Abort(), 1, "Aborted!\n"),
        (KeyboardInterrupt(), 1, "\nAborted!\n"),
        (click.ClickException("so"), 1, "Error: so\n"),
        (InputError("so"), 2, "Error: so\n"),
        (OSError(28, "No space left on device"), 2, "Error: No space left on device\n"),
        (OSError("disk\nfull"), 2, "Error: disk full\n"),
        (OSError(), 2, "Error: OSError\n"),
        (PermissionError(13, "Permission denied", "a.txt"), 2, "Error: a.txt: Permission denied\n"),
    ],
    ids=repr,
)
def test_what_was_foreseen_passes_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, told: str
) -> None:
    done = run_weights_list(monkeypatch, tmp_path, error)
    assert (done.exit_code, done.stderr) == (code, told)
    assert not list(tmp_path.iterdir())


def test_exceptions_of_click_pass_through_to_other_programs() -> None:
    with pytest.raises(click.UsageError):
        main(["nothing"], standalone_mode=False)


@pytest.mark.parametrize("bad", ["a\0b", "a\udcffb"])
@pytest.mark.parametrize(
    "command", [["train"], ["engines", "list"], ["verify"], ["filter", "x", "--out"]], ids=" ".join
)
def test_names_that_are_no_text_are_one_line(command: list[str], bad: str) -> None:
    done = CliRunner().invoke(main, [*command, bad])
    assert done.exit_code == 2
    assert done.stderr == f"Error: {bad!a} has a NUL or is not UTF-8; give text, and rename such files\n"


def test_bytes_that_are_not_utf8_from_a_shell() -> None:
    done = subprocess.run([sys.executable, "cli.py", "verify", b"a\xff"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == b"Error: 'a\\udcff' has a NUL or is not UTF-8; give text, and rename such files\n"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train nofile.yaml", "recipe nofile.yaml does not exist"),
        ("train configs/landscape.yaml --set data.train=none", "data set none does not exist; give a Parquet file"),
        ("train-segmenter nofile.yaml --out x", "recipe nofile.yaml does not exist"),
        ("import-weights none.pth --recipe nofile.yaml --out x", "recipe nofile.yaml does not exist"),
        ("import-weights none.pth --recipe configs/camvid.yaml --out x", "weights file none.pth does not exist"),
        ("compile --checkpoint x --input none.parquet", "label maps none.parquet does not exist"),
        ("engines list nope", "folder of engines nope does not exist; `spadework compile` makes engines"),
        ("engines clean nope", "folder of engines nope does not exist; `spadework compile` makes engines"),
        ("bench train nofile.yaml", "recipe nofile.yaml does not exist"),
        ("bench synthesize --checkpoint x --input none", "label maps none does not exist"),
        ("evaluate --images nope", "synthesized pictures nope does not exist"),
        ("evaluate --images tests --reference nope", "reference data set nope does not exist"),
        ("evaluate-style --checkpoint x --reference tests --learn-from nope --out x", "data set nope does not exist"),
        ("filter tests", "give a limit: --min-accuracy, --min-mean-iou or --max-feature-distance"),
        ("filter nope --min-accuracy 0.5", "synthesized pictures nope does not exist"),
        ("filter tests --min-accuracy 0.5 --scores nope", "scores nope does not exist; `spadework evaluate` writes"),
        ("compare tests nope --out x", "report nope does not exist; `spadework evaluate` writes one"),
    ],
)
def test_what_is_not_there_is_told_before_heavy_imports(command: str, told: str) -> None:
    code = (
        "import sys, cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "finally: print(sorted({'torch', 'ray', 'pyarrow', 'torchvision'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", code, *command.split()]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "[]\n"
    assert done.stderr.startswith(f"Error: {told}")
    assert done.stderr.count("\n") == 1
