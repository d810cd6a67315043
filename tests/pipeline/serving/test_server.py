"""The service as a process: real sockets, the client of the documents, and what is refused before it starts."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner
from PIL import Image

from cli import main
from pipeline.checkpoints.file import LANDSCAPE
from pipeline.errors import InputError
from pipeline.serving.app import make_app
from pipeline.serving.guard import Access
from pipeline.serving.server import ServiceOrder, build_service, listen
from tests.pipeline.serving.running import running

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def landscapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a service of the shipped weights, in a thread."""
    order = ServiceOrder((str(LANDSCAPE),), folder=str(tmp_path_factory.mktemp("served")))
    config = uvicorn.Config(make_app(build_service(order), Access()), ws="none", log_config=None)
    with running(config) as port:
        yield port


def test_the_client_of_the_documents(
    landscapes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "serving.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(code.replace("localhost:8000", f"localhost:{landscapes}"), {})
    assert re.match(r"decode;dur=[\d.]+, queue;dur=", capsys.readouterr().out)
    with Image.open(tmp_path / "meadow.png") as picture:
        assert picture.size == (128, 128)


def test_landscapes_have_templates_and_moods(landscapes: int) -> None:
    import json
    from urllib.request import urlopen

    def ask(path: str) -> Any:
        with urlopen(f"http://localhost:{landscapes}/api/v1/{path}") as answer:
            return json.load(answer)

    templates = ask("templates")["templates"]
    assert len({each["name"] for each in templates}) == len(templates) >= 8
    assert all(each["label_map"]["width"] == each["instance_map"]["height"] == 128 for each in templates)
    moods = {each["name"]: each["z"] for each in ask("styles")["styles"]}
    assert {"day", "sunset", "night", "overcast"} <= set(moods) and {len(z) for z in moods.values()} == {16}


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1, port {port}"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--workers 2", "Ray Serve is not installed (no module fastapi); pip install"),
        ("--host 0.0.0.0", "--host 0.0.0.0 can be reached from other machines; give a --token"),
        ("--token weak", "the token is no 8 to 200 letters"),
        ("--checkpoint nothing.safetensors", "checkpoint nothing.safetensors does not exist"),
        ("--templates nothing.parquet", "label maps nothing.parquet does not exist"),
        ("--engine nothing", "engine nothing does not exist"),
        ("--precision fp16", "--precision fp16 needs a GPU"),
        ("--workers 2000", "Invalid value for '--workers': 2000 is not in the range"),
    ],
)
def test_mistakes_are_one_line(options: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)  # as where Ray Serve is not installed
    done = CliRunner().invoke(main, ["serve", *options.split()])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {told}"), done.stderr
    assert done.stderr.count("\n") == 1
