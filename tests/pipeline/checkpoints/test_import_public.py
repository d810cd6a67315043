"""Public checkpoints become ours, and draw what they drew."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoints.file import build_encoder, build_generator, load_checkpoint, save_generator
from pipeline.checkpoints.import_public import import_weights
from pipeline.checkpoints.public_names import ENCODER, GENERATOR
from pipeline.config import Recipe
from pipeline.datasets import ade20k, coco_stuff
from pipeline.errors import InputError
from pipeline.recipe_file import load_recipe, parse_recipe
from pipeline.synthesis.styles import Sample
from pipeline.synthesis.synthesizer import Synthesizer
from tests.golden.names import to_public


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
    import_weights(
        tmp_path / "latest_net_G.pth", recipe, out, encoder_file=tmp_path / "latest_net_E.pth", dont_care_first=False
    )
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
    torch.save({0: torch.zeros(1), 1: torch.zeros(1)}, tmp_path / "numbered.pth")
    for name, message in {
        "missing.pth": "does not exist",
        "text.pth": "cannot be read",
        "list.pth": "does not hold a state dict",
        "numbered.pth": "does not hold a state dict",
        "other.pth": "not of the network in recipe 'small'",
    }.items():
        with pytest.raises(InputError, match=re.escape(message)):
            import_weights(tmp_path / name, recipe, out, dont_care_first=False)
    torch.save(to_public(build_generator(recipe).state_dict(), GENERATOR), tmp_path / "G.pth")
    with pytest.raises(InputError, match="no encoder to fill"):
        import_weights(tmp_path / "G.pth", recipe, out, encoder_file=tmp_path / "G.pth", dont_care_first=False)
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
        import_weights(
            tmp_path / "G.pth", recipe, tmp_path / "x", encoder_file=tmp_path / "E.pth", dont_care_first=False
        )
    save_generator(tmp_path / "ours.safetensors", generator, recipe, step=0, encoder=encoder)
    with pytest.raises(InputError, match=r"NaN or infinite weights in encoder\.mu\.bias"):
        load_checkpoint(tmp_path / "ours.safetensors")


def test_overflowing_pictures_are_refused(tmp_path: Path) -> None:
    """Finite weights, and infinite in half precision: the pixels would be a number all the same."""
    recipe = small_recipe()
    save_generator(tmp_path / "ours.safetensors", build_generator(recipe), recipe, step=0)
    synthesizer = Synthesizer(tmp_path / "ours.safetensors")
    label_input = synthesizer.prepare(np.ones((32, 32), np.int32))
    (whole,) = synthesizer.synthesize(label_input, [Sample(None)], (32, 32))
    assert whole.shape == (32, 32, 3)
    synthesizer._generator = lambda *_: torch.full((1, 3, 32, 32), float("nan"))  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"the generator in fp32 gives NaN or infinite pixels; take --precision fp32"):
        next(synthesizer.synthesize(label_input, [Sample(None)], (32, 32)))


def test_the_place_of_dont_care_is_known_or_asked_for(tmp_path: Path) -> None:
    for space, first in ((ade20k.SPACE, True), (coco_stuff.SPACE, False)):
        recipe = small_recipe().model_copy(update={"labels": space})
        theirs = build_generator(recipe).eval()
        torch.save(to_public(theirs.state_dict(), GENERATOR), tmp_path / "G.pth")
        said = import_weights(tmp_path / "G.pth", recipe, tmp_path / "ours.safetensors")
        assert f"channel {0 if first else len(space.classes)} is don't-care, as in the released" in said
        assert "upsampling is 'normal', as the recipe says" in said
        ours = load_checkpoint(tmp_path / "ours.safetensors").generator
        channels = torch.randint(0, space.class_channels, (1, 32, 32), dtype=torch.int32)
        shifted = (channels + 1) % space.class_channels if first else channels
        with torch.no_grad():
            torch.testing.assert_close(ours(1 + 2 * channels), theirs(1 + 2 * shifted))
        import_weights(tmp_path / "G.pth", recipe, tmp_path / "last.safetensors", dont_care_first=False)
        ours = load_checkpoint(tmp_path / "last.safetensors").generator
        with torch.no_grad():
            torch.testing.assert_close(ours(1 + 2 * channels), theirs(1 + 2 * channels))
    with pytest.raises(InputError, match=r"recipe 'small' has labels\.dont_care, .* give --dont-care-last"):
        import_weights(tmp_path / "G.pth", small_recipe(), tmp_path / "x")


def test_the_recipes_of_public_weights_are_known() -> None:
    configs = Path(__file__).parents[3] / "configs"
    spaces = {"ade20k": ade20k.SPACE, "coco_stuff": coco_stuff.SPACE, "coco_stuff_vae": coco_stuff.SPACE}
    for name, space in spaces.items():
        assert load_recipe(configs / f"{name}.yaml").labels.classes == space.classes
    assert load_recipe(configs / "coco_stuff_vae.yaml").generator.style_dim == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 2}, "generator.channels is 2, the weights' is 1"),
        ({"upsampling": "most"}, "generator.upsampling is 'most', the weights' is normal or more"),
        ({"hidden": 8}, "generator.hidden is 8, the weights' is 4"),
        ({"kernel_size": 5}, "generator.kernel_size is 5, the weights' is 3"),
        ({"statistics": "instance"}, "generator.statistics is 'instance', the weights are of 'sync_batch' or 'batch'"),
        ({"style_dim": 5}, "generator.style_dim is 5, the weights' is 3"),
        ({"style_dim": 0}, "generator.style_dim is 0, the weights' is 3"),
        ({"noise": True}, "generator.noise is on, which the public program does not have; leave it out"),
        ({"enlargement": "blur"}, "generator.enlargement is 'blur', the public program enlarges by 'nearest'"),
        ({"style_input": "everywhere"}, "generator.style_input is 'everywhere', which the public program does not"),
        ("classes", "the label map has 4 channels (3 labels.classes, 1 for labels.dont_care, 0 for labels."),
        ("size", "has 4 pixels, the weights' 1"),
    ],
)
def test_a_refused_import_names_the_field(change: dict | str, message: str, tmp_path: Path) -> None:
    theirs = small_recipe(style_dim=3)
    torch.save(to_public(build_generator(theirs).state_dict(), GENERATOR), tmp_path / "G.pth")
    fields = theirs.model_dump(mode="json")
    if isinstance(change, dict):
        fields["generator"] |= change
        fields["data"] |= {"height": 128, "width": 256} if {"upsampling", "statistics"} & change.keys() else {}
    elif change == "classes":
        fields["labels"] = {"classes": ["sky", "sea", "sand"], "dont_care": 255}
    else:
        fields["data"] |= {"height": 64, "width": 64}
    with pytest.raises(InputError) as refused:
        import_weights(tmp_path / "G.pth", parse_recipe(fields, source="test"), tmp_path / "x", dont_care_first=False)
    assert "is not of the network in recipe 'small': " in str(refused.value)
    assert message in str(refused.value)
    assert "size mismatch" not in str(refused.value)
    assert not (tmp_path / "x").exists()


def test_a_refused_encoder_names_the_field(tmp_path: Path) -> None:
    recipe, other = small_recipe(style_dim=3), small_recipe(style_dim=4)
    torch.save(to_public(build_generator(recipe).state_dict(), GENERATOR), tmp_path / "G.pth")
    encoder = build_encoder(other)
    assert encoder is not None
    torch.save(to_public(encoder.state_dict(), ENCODER), tmp_path / "E.pth")
    with pytest.raises(InputError, match=r"E\.pth is not of .*: generator\.style_dim is 3, the weights' is 4 \(docs"):
        import_weights(
            tmp_path / "G.pth", recipe, tmp_path / "x", encoder_file=tmp_path / "E.pth", dont_care_first=False
        )
