"""The page of Fig. 3: what it shows is what the generators make of label maps of one class."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli import main
from evaluation.washing_away import show_washing_away
from pipeline.bench.generators import rescale_untrained
from pipeline.checkpoints.file import build_generator, save_generator
from pipeline.data.images import decode_image
from pipeline.errors import InputError
from pipeline.networks.generator import Generator
from pipeline.recipe_file import parse_recipe
from tests.evaluation.conftest import SPACE
from tests.pages import check_page

HOURGLASS = {"channels": 4, "downsamplings": 2, "blocks": 2}
OWN = {"discriminator": {"spectral": False}, "losses": {"gan": "least_squares"}}
KINDS: dict[str, dict[str, Any]] = {
    "pix2pixhd": {"generator": {"kind": "pix2pixhd", **HOURGLASS}, **OWN},
    "with features": {
        "generator": {"kind": "pix2pixhd", **HOURGLASS, "features": 3, "encoder_downsamplings": 2},
        **OWN,
    },
    "spade": {"generator": {"channels": 4, "hidden": 8, "style_dim": 4, "noise": True}},
    "crn": {"generator": {"kind": "crn", "widths": [8, 8, 8, 8], "pictures": 2}},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each, whose weights are fresh and their pictures lively."""
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for name, sections in KINDS.items():
        own = name.startswith("pix2pixhd") or name == "with features"
        fields = {
            "name": name,
            "labels": SPACE.model_dump(mode="json"),
            "data": {"train": "none", "validation": "none", "height": 64, "width": 96},
            "training": {"steps": 1, **({"two_time_scale": False, "reuse_fake": True} if own else {})},
            **sections,
        }
        recipe = parse_recipe(fields, source="test")
        torch.manual_seed(1)
        generator = build_generator(recipe)
        if isinstance(generator, Generator):
            rescale_untrained(generator)
        if own:  # the bias of the last layer is all that is left
            torch.nn.init.normal_(generator.last.bias, 0, 0.5)
        if name == "with features":
            generator.styles.set([torch.randn(number + 1, 3) for number in range(len(SPACE.classes) + 1)])
        found[name] = folder / f"{name}.safetensors"
        save_generator(found[name], generator, recipe, step=1)
    return found


def test_the_page_shows_that_pix2pixhd_washes_classes_away_and_spade_does_not(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    command = ["washing-away", "--out", str(tmp_path / "out")]
    command += [part for path in checkpoints.values() for part in ("--checkpoint", str(path))]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "pix2pixhd draws the same for every class" in done.output
    assert "with features draws the same for every class" in done.output  # they are constants too
    content = json.loads((tmp_path / "out" / "washing_away.json").read_text())
    found = {each["name"]: each for each in content["generators"]}
    assert {name: each["washed_away"] for name, each in found.items()} == {
        "pix2pixhd": True,
        "with features": True,
        "spade": False,
        "crn": False,
    }
    for name in ("pix2pixhd", "with features"):
        spreads = list(found[name]["spreads"].items())
        assert spreads[0][0] == "body.first.conv" and spreads[0][1] > 0.1  # the class is there ...
        assert spreads[1][0] == "body.first.norm" and spreads[-1][0] == "picture"
        assert all(value == 0 for _, value in spreads[1:])  # ... and gone, exactly
        plain = list(found[name]["plain_spreads"].values())
        assert 0 < plain[1] < 1e-3 and max(plain[2:]) > 10 * plain[1]  # rounding noise that grows
    for name in ("spade", "crn"):
        assert found[name]["spreads"]["picture"] > 0.05 and found[name]["plain_spreads"] is None

    # The pictures on the page, as it holds them.
    page = (tmp_path / "out" / "washing_away.html").read_text()
    check_page(page)
    images = {
        alt: decode_image(base64.b64decode(data))
        for data, alt in re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)">', page)
    }
    assert len(images) == len(SPACE.classes) * (1 + len(KINDS))
    for name in KINDS:
        of_classes = np.stack([images[f"{label} by {name}"] for label in SPACE.classes])
        assert of_classes.shape == (3, 64, 96, 3)
        same = bool((of_classes == of_classes[:1]).all())
        assert same == (name in ("pix2pixhd", "with features"))
        if same:  # one colour, tanh of a bias
            assert len(np.unique(of_classes[0].reshape(-1, 3), axis=0)) == 1
        mean = found[name]["colours"][SPACE.classes[0]]
        assert np.abs(of_classes[0].reshape(-1, 3).mean(0) - mean).max() < 0.01
    for number, label in enumerate(SPACE.classes):
        assert (images[f"label map of {label}"] == np.array(SPACE.palette[number])).all()
    assert page.count("<polyline") == len(KINDS) + 2 and "http" not in page


def test_generators_of_other_classes_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "weights" / "landscape.safetensors"
    with pytest.raises(InputError, match="'landscape' is of other classes than 'spade'"):
        show_washing_away([checkpoints["spade"], shipped], tmp_path / "out")
    assert not (tmp_path / "out").exists()
