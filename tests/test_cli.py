"""The command line's surface: what it offers is pinned, answers at once, and its examples are commands that exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli import main
from evaluation.command_line import Baseline, Segmenter, Synthetic
from pipeline.command_line import DATA, Checkpoint, Existing, Location
from pipeline.command_output import OPTIONS as EVERY_VERB
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
    "prepare landscape": "--out --train --validation --size --seed --disparity --workers",
    "prepare folder": "--out --images --instances --connected-instances --classes --palette --map-ids --dont-care "
    "--label-suffix --image-suffix --instance-suffix --validation --split --group-by --recipe --size --resample "
    "--workers --skip-bad",
    "prepare remix": "--out --count --classes --instances --seed",
    "prepare bank": "--out --least-area --size --workers",
    "prepare camvid": "--out --size --resample --workers --skip-bad",
    "prepare coco-stuff": "--out --size --resample --workers --skip-bad",
    "prepare ade20k": "--out --size --resample --workers --skip-bad",
    "prepare cityscapes": "--out --size --resample --disparity --workers --skip-bad",
    "recipes list": "",
    "recipes show": "",
    "recipes new": "--validation --out",
    "recipes schema": "",
    "train": "--out --workers --decoders --vgg-weights --trunk-weights --segmenter --segmenter-weights --max-time "
    "--dashboard --set",
    "compile": "--checkpoint --backend --precision --batch-size --size --modulation --input --calibrate --bank --maps "
    "--out --reference --segmenter --segmenter-weights",
    "engines list": "",
    "engines clean": "--all",
    "plan-samples": "--out --target-pixels --scores --mean-samples --max-samples --label-column",
    "synthesize": "--input --checkpoint --out --samples --samples-by --seed --label-column --id-column "
    "--instance-column --palette --keep-size --style --style-column --style-rows --style-interpolate --truncation "
    "--region-styles --bank --own-pictures --format --precision --rounding --engine --max-rejects --workers --threads "
    "--gpus-per-worker --export --dry-run --dashboard",
    "verify": "--input",
    "card": "--license --report",
    "serve": "--checkpoint --engine --host --port --token --workers --threads --precision --templates --folder",
    "export": "--as --out --label-column",
    "import-weights": "--recipe --encoder --dont-care-first --out",
    "train-segmenter": "--out --weights --set",
    "evaluate": "--images --reference --segmenter --segmenter-weights --out --baseline --inception-weights "
    "--lpips-weights --features --fid-reference --protocol --set --workers --batch-size --examples --cache --marks "
    "--title --dashboard",
    "evaluate-style": "--checkpoint --reference --learn-from --out --column --maps --seed",
    "filter": "--scores --out --min-accuracy --min-mean-iou --max-feature-distance --regions --reference --loss-factor "
    "--segmenter --segmenter-weights",
    "memorisation": "--images --training --held-out --segmenter --segmenter-weights --inception-weights --out "
    "--workers --batch-size --pairs --cache",
    "compare": "--out",
    "study": "--out --workers --threads",
    "usefulness": "--real --synthetic --test --out --recipe --set --label-column --fractions --mixed-at --mixed-only "
    "--seeds --synthetic-share --real-last --segmenter --weights --workers --threads --keep-segmenters",
    "prefer": "--out --pairs --seed --votes --ties --records",
    "washing-away": "--checkpoint --out",
    "weights list": "",
    "weights fetch": "",
    "weights check": "",
    "demo": "--minutes",
    "bench synthesize": "--checkpoint --input --maps --batch-size --samples --size --noise --paths --repeats --public "
    "--busy-cores --threads --json",
    "bench train": "--input --batch-size --size --noise --paths --repeats --public --threads --json --set",
}
"""So that the surface grows on purpose; beside those that every verb takes."""


def test_verbs_and_options_are_these() -> None:
    found = {
        name: {option for parameter in verb.params if isinstance(parameter, click.Option) for option in parameter.opts}
        for name, verb in VERBS.items()
    }
    everywhere = {option for parameter in EVERY_VERB for option in parameter.opts}
    assert found == {name: {*options.split(), *everywhere} for name, options in OPTIONS.items()}


@pytest.mark.parametrize("name", VERBS)
def test_example_parses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb's help has an example, and it is a call that the command line takes where the files are there."""
    for module in ("pipeline.command_line", "evaluation.command_line"):
        monkeypatch.setattr(f"{module}.check_there", lambda *_: None)
    verb = VERBS[name]
    example = re.search(r"Example:\s+spadework ((?:.+\\\n)*.+)", verb.help or "")
    assert example, f"{name} has no example"
    words = shlex.split(example[1].replace("\\\n", " "))
    arguments = words[len(name.split()) :]
    assert words[: len(name.split())] == name.split()
    verb.make_context(name, arguments)  # raises a usage error for an unknown or missing option
    assert not [word for word in arguments if "configs/" in word]  # a wheel has no such folder beside it: use names


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
    monkeypatch.setattr(sys, "argv", ["spadework", "weights", "list"])
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
        (click.Abort(), 130, "Stopped. To go on, repeat: spadework weights list\n"),
        (KeyboardInterrupt(), 130, "Stopped. To go on, repeat: spadework weights list\n"),
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


def types_of(parameter: click.Parameter) -> list[click.ParamType]:
    return list(parameter.type.types) if isinstance(parameter.type, click.Tuple) else [parameter.type]


def numbers() -> Iterator[tuple[str, str, click.ParamType]]:
    """Verb, option and type of every option that is a number."""
    for name, verb in VERBS.items():
        for parameter in verb.params:
            for kind in types_of(parameter):
                if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
                    yield name, parameter.opts[0], kind


FLOATS = [(name, option) for name, option, kind in numbers() if isinstance(kind, click.types.FloatParamType)]
PROCESSES = [(name, option) for name, option, _ in numbers() if option in ("--workers", "--threads", "--decoders")]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(("name", "option"), FLOATS)
def test_numbers_are_finite(name: str, option: str, value: str) -> None:
    done = CliRunner().invoke(main, [*name.split(), option, value])
    assert (done.exit_code, done.stdout) == (2, "")
    told = rf"Error: Invalid value for '{option}'.*: -?(nan|inf|1e999) is not (a finite number|in the range .*);.*\n"
    assert re.fullmatch(told, done.stderr), done.stderr


def test_all_fractions_are_checked() -> None:
    assert [option for _, option in FLOATS] == [
        *("--validation", "--least-area", "--max-time", "--mean-samples", "--truncation", "--gpus-per-worker"),
        "--minutes",
        *(
            "--min-accuracy",
            "--min-mean-iou",
            "--max-feature-distance",
            "--loss-factor",
            "--synthetic-share",
            "--real-last",
        ),
    ]


@pytest.mark.parametrize(("name", "option"), PROCESSES)
@pytest.mark.parametrize("value", ["1025", "1000000000", "-1"])
def test_processes_are_limited(name: str, option: str, value: str) -> None:
    done = CliRunner().invoke(main, [*name.split(), option, value])
    assert (done.exit_code, done.stdout) == (2, "")
    told = rf"Error: Invalid value for '{option}'.*: {value} is not in the range [01]<=x<=1024; see .* {name} --help\n"
    assert re.fullmatch(told, done.stderr), done.stderr


def test_workers_and_threads_are_in_many_verbs() -> None:
    assert {name for name, _ in PROCESSES} >= {"train", "synthesize", "evaluate", "memorisation", "study", "usefulness"}
    assert len(PROCESSES) == 21


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("nothing", "No such command 'nothing'; see main --help"),
        ("--nothing", "No such option '--nothing'; see main --help"),
        ("prepare nothing", "No such command 'nothing'; see main prepare --help"),
        ("compare tests", "Missing option '--out'; see main compare --help"),
        ("weights fetch", "Missing argument 'NAMES...'; see main weights fetch --help"),
        (
            "synthesize --format gif",
            "Invalid value for '--format': 'gif' is not one of 'png', 'webp', 'jpeg'; see main",
        ),
    ],
)
def test_wrong_options_are_one_line(command: str, told: str) -> None:
    done = CliRunner().invoke(main, command.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {told}")
    assert done.stderr.count("\n") == 1


def test_groups_without_a_verb_help() -> None:
    for group in ("", "prepare", "weights"):
        done = CliRunner().invoke(main, group.split())
        assert "Commands:\n" in done.output
        assert "Error" not in done.output


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


WRITTEN = {"out", "json_path", "cache", "recipe", "folder", "records"}
"""Parameters that name what a verb writes, which need not be there."""
TEXTS = {
    *("overrides", "label_suffix", "image_suffix", "instance_suffix", "label_column", "id_column", "instance_column"),
    *("style_column", "max_rejects", "protocols", "title", "column", "names", "paths", "classes", "samples_by"),
    *(
        "target_pixels",
        "label_columns",
        "fractions",
        "mixed_at",
        "connected_instances",
        "group_by",
        "license",
        "host",
        "token",
    ),
}
"""Parameters that are text and no path."""


def missing(kind: click.ParamType) -> list[str]:
    """Values of a type that name what is not there; none for types that name nothing that a verb reads."""
    match kind:
        case Segmenter():
            return ["hf:nowhere", "hf:./no/where", "nowhere"]
        case Baseline():
            return ["a=nowhere"]
        case Synthetic():
            return ["nowhere", "a=nowhere", "a=nowhere/*.parquet"]
        case Checkpoint():
            return ["nowhere", "untrained:nowhere", "untrained:nowhere.yaml"]
        case Location():
            return ["nowhere", "nowhere/*.parquet", "file:///nowhere"]
        case Existing():
            return ["nowhere", "nowhere/below"]
    return []


def words(parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    """A parameter on the command line."""
    return [*(parameter.opts[:1] if isinstance(parameter, click.Option) else []), *values]


def good_values(parameter: click.Parameter) -> list[str]:
    return [
        "tests"
        if missing(kind)
        else "2"
        if kind is click.INT
        else kind.choices[0]
        if isinstance(kind, click.Choice)
        else "x"
        for kind in types_of(parameter)
    ]


def wrong_paths() -> Iterator[list[str]]:
    """Commands of every verb in which one path is not there, for every path that it reads; all others are there."""
    for name, verb in VERBS.items():
        for parameter in verb.params:
            required = [other for other in verb.params if other.required and other is not parameter]
            others = [word for other in required for word in words(other, good_values(other))]
            for index, kind in enumerate(types_of(parameter)):
                for value in missing(kind):
                    values = good_values(parameter)
                    values[index] = value
                    yield [*name.split(), *words(parameter, values), *others]
    yield ["train", "--set", "data.train=nowhere"]
    yield ["train", "--set", "data.train=[{path: tests, name: a}, {path: nowhere, name: b}]"]


def call_with_wrong_paths() -> None:
    """Run all of them in this process, and print what came of it and whether anything heavy was imported."""
    calls = [(command, CliRunner().invoke(main, command)) for command in wrong_paths()]
    heavy = sorted({"torch", "ray", "pyarrow", "torchvision", "transformers"} & set(sys.modules))
    found = [[shlex.join(command), done.exit_code, done.stdout, done.stderr] for command, done in calls]
    print(json.dumps({"heavy": heavy, "calls": found}))


def test_every_path_that_a_verb_reads_is_looked_for() -> None:
    """A parameter that is a path, or text that could be one, has a type that looks for it, or is known to need none."""
    for name, verb in VERBS.items():
        for parameter in verb.params:
            plain = [kind for kind in types_of(parameter) if isinstance(kind, click.Path | type(click.STRING))]
            if any(not missing(kind) for kind in plain):
                assert parameter.name in WRITTEN | TEXTS, f"{name}: {parameter.name}"


def test_what_is_not_there_is_told_before_heavy_imports() -> None:
    program = "from tests.test_cli import call_with_wrong_paths; call_with_wrong_paths()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["heavy"] == []
    assert len(found["calls"]) > 80
    for command, code, stdout, stderr in found["calls"]:
        assert (code, stdout) == (2, ""), command
        assert re.fullmatch(r"Error: .*nowhere.*\n|Error: .* no/where does not exist.*\n", stderr), (command, stderr)


def test_locations_are_text_and_uris_and_patterns_pass() -> None:
    for location in ("s3://maps/none", "tests", "tests/test_c*.py", (ROOT / "tests").as_uri()):
        assert DATA.convert(location, None, None) == location
        assert Baseline().convert(f"a={location}", None, None) == ("a", location)
    assert DATA.convert(ROOT / "tests", None, None) == str(ROOT / "tests")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train nofile.yaml", "recipe nofile.yaml does not exist"),
        ("train --set data.train=none", "data set none does not exist; give a Parquet file"),
        ("engines list nope", "folder of engines nope does not exist; `spadework compile` makes engines"),
        ("engines clean nope", "folder of engines nope does not exist; `spadework compile` makes engines"),
        ("compile --checkpoint tests --segmenter-weights LICENSE", "--segmenter-weights is for --reference; give that"),
        ("bench train nofile.yaml", "recipe nofile.yaml does not exist"),
        ("bench synthesize --checkpoint tests --input none", "file of label maps none does not exist"),
        ("evaluate --images nope", "folder of synthesized pictures nope does not exist; `spadework synthesize` makes"),
        ("evaluate --images tests --reference nope", "data set nope does not exist; give a Parquet file"),
        ("evaluate --segmenter psp", "there is no segmenter 'psp'; choose from deeplab,"),
        ("evaluate --lpips-weights x", "LPIPS weights file x does not exist; give a file, or a name: lpips-"),
        ("evaluate --baseline x", "--baseline x: write NAME=PATH, such as untrained=images-untrained/"),
        ("evaluate --features x", "--features x: write NAME=FOLDER, such as dinov2=models/dinov2-large"),
        ("evaluate --features dino=x", "features 'dino' x does not exist; give a folder of transformers, or a weights"),
        ("train --vgg-weights x", "VGG weights file x does not exist; give a file, or a name: vgg19"),
        ("synthesize --input none*.parquet", "no file matches none*.parquet; give label maps"),
        ("filter tests", "give a limit (--min-accuracy, --min-mean-iou, --max-feature-distance) or --regions"),
        ("filter tests --regions", "--regions measures losses against real photographs; give them with --reference"),
        ("filter tests --min-accuracy 0.5 --loss-factor 2", "--loss-factor is for regions; add --regions, or leave"),
        (
            "filter tests --min-accuracy 0.5",
            "table of scores report/scores.parquet does not exist; `spadework",
        ),
        ("memorisation --images tests --training nope", "data set nope does not exist; give a Parquet file"),
        ("compare tests nope --out x", "report nope does not exist; `spadework evaluate` writes one"),
        ("usefulness --synthetic a=nope", "synthetic set nope does not exist; `spadework synthesize` makes one"),
        ("prefer tests nope", "folder of synthesized pictures nope does not exist"),
    ],
)
def test_what_is_told(command: str, told: str) -> None:
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {told}")
    assert done.stderr.count("\n") == 1


def test_options_that_are_the_same_for_several_verbs_are_declared_once() -> None:
    files = [ROOT / "cli.py", *(path for path in ROOT.glob("[pte]*/**/*.py") if "command" in path.as_posix())]
    declared = Counter(
        ast.unparse(node)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.option"
    )
    assert len(declared) > 100
    assert [text for text, times in declared.items() if times > 1] == []
