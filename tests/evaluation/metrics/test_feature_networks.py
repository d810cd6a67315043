"""Networks of distances: small random models, saved as they are published, against their references' preprocessing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models, transforms

from evaluation.metrics.feature_networks import CLASSIFIERS, FeatureNetwork
from pipeline.errors import InputError


def pictures() -> list[np.ndarray]:
    """A wide and a high one, of smooth colours, and noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :56]
    smooth = np.stack([4 * columns, 6 * rows, 2 * (rows + columns)], -1).clip(0, 255).astype(np.uint8)
    return [smooth, random.integers(0, 256, (50, 30, 3), np.uint8)]


def dinov2_folder(folder: Path, **settings: Any) -> Path:
    """A tiny DINOv2."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    torch.manual_seed(0)
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
    transformers.Dinov2Model(transformers.Dinov2Config(**size, patch_size=14, **settings)).save_pretrained(folder)
    return folder


def clip_folder(folder: Path) -> Path:
    """A tiny CLIP, with its text encoder, as it is published."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.CLIPConfig(
        text_config={**size, "vocab_size": 50, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1},
        vision_config={**size, "image_size": 28, "patch_size": 14, "projection_dim": 12},
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_dinov2_sees_what_dgm_eval_shows_it(tmp_path: Path) -> None:
    network = FeatureNetwork.load(dinov2_folder(tmp_path))
    assert (network.kind.title, network.kind.dimensions, network.kind.clip) == ("DINOv2", 16, False)
    assert len(network.sha256) == 64
    from transformers import AutoModel

    shown = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    pixels = torch.stack([shown(Image.fromarray(image)) for image in pictures()])
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(tmp_path).eval()(pixel_values=pixels).last_hidden_state[:, 0]
    found = network(pictures())
    assert (found.dtype, found.shape) == (np.float32, (2, 16))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_clip_sees_what_cmmd_shows_it_and_has_length_1(tmp_path: Path) -> None:
    network = FeatureNetwork.load(clip_folder(tmp_path))
    assert (network.kind.title, network.kind.dimensions, network.kind.clip) == ("CLIP", 12, True)
    from transformers import CLIPModel

    squares = [pictures()[0][:, 8:48], pictures()[1][10:40]]
    shown = [np.asarray(Image.fromarray(square).resize((28, 28), Image.Resampling.BICUBIC)) for square in squares]
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.from_numpy((np.stack(shown) / 255 - mean) / deviation).permute(0, 3, 1, 2).float()
    model = CLIPModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        expected = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output).numpy()
    found = network(pictures())
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_classifier_of_torchvision_is_told_by_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = models.resnet18(weights=None).eval()
    torch.save(classifier.state_dict(), tmp_path / "mine.pth")
    network = FeatureNetwork.load(tmp_path / "mine.pth")
    assert (network.kind.title, network.kind.dimensions) == ("resnet18", 512)
    shown = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    pixels = torch.stack([shown(Image.fromarray(image)) for image in pictures()])
    with torch.inference_mode():
        expected = classifier(pixels).numpy()
        head = classifier.fc(torch.from_numpy(network(pictures()))).numpy()
    np.testing.assert_allclose(head, expected, rtol=1e-4, atol=1e-5)


def test_classifiers_end_in_a_linear_layer() -> None:
    assert set(CLASSIFIERS) <= set(models.list_models(models))


@pytest.mark.slow
def test_what_is_no_network_of_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="of none of torchvision's resnet18"):
        FeatureNetwork.load(tmp_path / "other.pth")
    (tmp_path / "empty").mkdir()
    folder = dinov2_folder(tmp_path / "dino")
    with pytest.raises(InputError, match=r"lack config\.json"):
        FeatureNetwork.load(tmp_path / "empty")
    weights = load_file(folder / "model.safetensors")
    layer = weights.pop("layernorm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack weights \(layernorm.weight"):
        FeatureNetwork.load(folder)
    save_file({**weights, "layernorm.weight": layer * torch.nan}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"NaN or infinite weights in layernorm\.weight"):
        FeatureNetwork.load(folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"model_type": "dinov2"', '"model_type": "vit"'))
    with pytest.raises(InputError, match="are of a 'vit'"):
        FeatureNetwork.load(folder)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"need the extra \[hf\]"):
        FeatureNetwork.load(folder)
