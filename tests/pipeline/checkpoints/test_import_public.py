"""Public checkpoints become ours, and draw what they drew."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoints.file import build_encoder, build_generator, load_checkpoint, save_generator
from pipeline.checkpoints.import_public import import_weights
from pipeline.checkpoints.public_names import ENCODER, GENERATOR, to_public
from pipeline.config import Recipe
from pipeline.errors import InputError
from pipeline.recipe_file import parse_recipe
from pipeline.synthesis.synthesizer import Painter


def small_recipe(style_dim: int = 0, dont_care: int | None = 255) -> Recipe:
    fields = {
        "name": "small",
        "labels": {"classes": ["sky", "sea"], "dont_care": dont_care},
        "data": {"train": "a", "validation": "b", "height": 32, "width": 32},
        "generator": {"channels": 1, "hidden": 4, "style_dim": style_dim},
        "training": {"steps": 1},
    }
    return parse_recipe(fields, source="test")


def test_generator_and_encoder(tmp_path: Path) -> None:
    recipe = small_recipe(style_dim=3)
    generator, encoder = build_generator(recipe).eval(), build_encoder(recipe)
    torch.save(to_public(generator.state_dict(), GENERATOR), tmp_path / "latest_net_G.pth")
    torch.save(to_public(encoder.state_dict(), ENCODER), tmp_path / "latest_net_E.pth")
    out = tmp_path / "ours.safetensors"
    import_weights(tmp_path / "latest_net_G.pth", recipe, out, encoder_file=tmp_path / "latest_net_E.pth")
    loaded = load_checkpoint(out)
    codes, z = torch.full((1, 32, 32), 3, dtype=torch.int32), torch.randn(1, 3)
    with torch.no_grad():
        assert torch.equal(loaded.generator(codes, z), generator(codes, z))
    assert loaded.recipe == recipe
    assert all(torch.equal(a, b) for a, b in zip(loaded.encoder.parameters(), encoder.parameters(), strict=True))


def test_dont_care_first(tmp_path: Path) -> None:
    """Weights whose channel 0 is don't-care draw for our codes what they drew for theirs."""
    recipe = small_recipe()
    theirs = build_generator(recipe).eval()
    torch.save(to_public(theirs.state_dict(), GENERATOR), tmp_path / "G.pth")
    import_weights(tmp_path / "G.pth", recipe, tmp_path / "ours.safetensors", dont_care_first=True)
    ours = load_checkpoint(tmp_path / "ours.safetensors").generator
    channels = torch.randint(0, 3, (1, 32, 32), dtype=torch.int32)  # sky, sea, don't care
    with torch.no_grad():
        expected = theirs(1 + 2 * ((channels + 1) % 3))
        torch.testing.assert_close(ours(1 + 2 * channels), expected)
    with pytest.raises(InputError, match=r"no labels\.dont_care"):
        import_weights(tmp_path / "G.pth", small_recipe(dont_care=None), tmp_path / "x", dont_care_first=True)


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    recipe, out = small_recipe(), tmp_path / "ours.safetensors"
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in {
        "missing.pth": "does not exist",
        "text.pth": "cannot be read",
        "list.pth": "not a state dict",
        "other.pth": "not of the network in recipe 'small'",
    }.items():
        with pytest.raises(InputError, match=re.escape(message)):
            import_weights(tmp_path / name, recipe, out)
    torch.save(to_public(build_generator(recipe).state_dict(), GENERATOR), tmp_path / "G.pth")
    with pytest.raises(InputError, match="no encoder to fill"):
        import_weights(tmp_path / "G.pth", recipe, out, encoder_file=tmp_path / "G.pth")
    assert not out.exists()


def test_encoders_that_hold_no_numbers_are_refused(tmp_path: Path) -> None:
    recipe = small_recipe(style_dim=3)
    generator, encoder = build_generator(recipe), build_encoder(recipe)
    assert encoder is not None
    with torch.no_grad():
        encoder.mu.bias[0] = float("nan")
    torch.save(to_public(generator.state_dict(), GENERATOR), tmp_path / "G.pth")
    torch.save(to_public(encoder.state_dict(), ENCODER), tmp_path / "E.pth")
    with pytest.raises(InputError, match=r"E\.pth holds NaN or infinite weights in fc_mu\.bias"):
        import_weights(tmp_path / "G.pth", recipe, tmp_path / "x", encoder_file=tmp_path / "E.pth")
    save_generator(tmp_path / "ours.safetensors", generator, recipe, step=0, encoder=encoder)
    with pytest.raises(InputError, match=r"NaN or infinite weights in encoder\.mu\.bias"):
        load_checkpoint(tmp_path / "ours.safetensors")


def test_overflowing_pictures_are_refused(tmp_path: Path) -> None:
    """Finite weights, and infinite in half precision: the pixels would be a number all the same."""
    recipe = small_recipe()
    save_generator(tmp_path / "ours.safetensors", build_generator(recipe), recipe, step=0)
    painter = Painter(tmp_path / "ours.safetensors")
    semantics = painter.prepare(np.ones((32, 32), np.int32))
    (whole,) = painter.paint(semantics, [None], (32, 32))
    assert whole.shape == (32, 32, 3)
    painter._generator = lambda *_: torch.full((1, 3, 32, 32), float("nan"))  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"the generator in fp32 paints NaN or infinite pixels; take --precision fp32"):
        next(painter.paint(semantics, [None], (32, 32)))
