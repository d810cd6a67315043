"""DeepLabV3 as a segmenter: what it promises about its inputs and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_large
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large, deeplabv3_resnet50

from evaluation.segmenters import load_segmenter
from evaluation.segmenters.base import class_map
from evaluation.segmenters.deeplab import FILE_NAME, DeepLab, DeepLabSettings, load_deeplab, save_deeplab
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

pytestmark = pytest.mark.slow

SETTINGS = DeepLabSettings(
    backbone="mobilenet_v3_large", labels=LabelSpace(classes=("a", "b", "c")), height=32, width=32
)


@pytest.fixture(scope="module")
def segmenter() -> DeepLab:
    torch.manual_seed(0)
    return DeepLab(SETTINGS).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 255


def test_scores_are_torchvisions_and_features_are_its_pyramid(segmenter: DeepLab, images: torch.Tensor) -> None:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SETTINGS.mean, SETTINGS.std))
    pyramid: list[torch.Tensor] = []
    hook = segmenter.network.classifier[0].register_forward_hook(lambda *arguments: pyramid.append(arguments[2]))
    with torch.inference_mode():
        expected = segmenter.network((images / 255 - mean) / std)["out"]
        prediction = segmenter(images)
    hook.remove()
    enlarged = torch.nn.functional.interpolate(prediction.scores, size=(32, 48), mode="bilinear")
    torch.testing.assert_close(enlarged, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(prediction.features, pyramid[0].mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert prediction.features.shape == (2, segmenter.feature_dimensions)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "resnet50"])
def test_early_trunk_keeps_an_eighth_of_the_resolution(backbone: str, images: torch.Tensor, tmp_path: Path) -> None:
    early = DeepLab(SETTINGS.model_copy(update={"trunk": "early", "backbone": backbone})).eval()
    with torch.inference_mode():
        expected = early(images)
    assert expected.scores.shape == (2, 3, 4, 6)
    save_deeplab(tmp_path / FILE_NAME, early)
    with torch.inference_mode():
        torch.testing.assert_close(load_deeplab(tmp_path)(images).scores, expected.scores, rtol=1e-4, atol=1e-5)


def test_enlarging_gives_finer_scores(images: torch.Tensor) -> None:
    fine = DeepLab(SETTINGS.model_copy(update={"enlarge": 2})).eval()
    with torch.inference_mode():
        assert fine(images).scores.shape == (2, 3, 4, 6)


def test_saving_and_loading_keeps_everything(segmenter: DeepLab, images: torch.Tensor, tmp_path: Path) -> None:
    save_deeplab(tmp_path / FILE_NAME, segmenter)
    loaded = load_deeplab(tmp_path)
    assert loaded.settings == segmenter.settings
    assert loaded.sha256 is not None
    assert not loaded.training
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images).scores, segmenter(images).scores, rtol=1e-4, atol=1e-5)


def test_starts_from_weights_of_other_classes_and_from_a_backbone(segmenter: DeepLab, tmp_path: Path) -> None:
    torch.manual_seed(2)
    whole = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    torch.save(whole.state_dict(), tmp_path / "coco.pth")
    fresh = DeepLab(SETTINGS)
    said = fresh.load_pretrained(tmp_path / "coco.pth")
    torch.testing.assert_close(fresh.network.classifier[0].project[0].weight, whole.classifier[0].project[0].weight)
    assert "head from coco.pth" in said
    backbone = mobilenet_v3_large(weights=None)
    save_file(backbone.state_dict(), tmp_path / "imagenet.safetensors")
    fresh.load_pretrained(tmp_path / "imagenet.safetensors")
    torch.testing.assert_close(fresh.network.backbone["0"][0].weight, backbone.features[0][0].weight)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"not of a mobilenet_v3_large backbone"):
        DeepLab(SETTINGS).load_pretrained(tmp_path / "resnet.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "damaged"), (b"PK\x03\x04 not weights", "damaged"), (None, "do not exist")],
)
def test_damaged_or_missing_files(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_deeplab(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {"spadework": "{"}, {"spadework": "[1]"}, {"spadework": '{"kind": "x"}'}])
def test_other_safetensors_files_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / FILE_NAME, metadata)
    with pytest.raises(InputError, match="no segmenter of ours"):
        load_deeplab(tmp_path)


def test_class_map_enlarges_scores_not_classes() -> None:
    scores = torch.tensor([[[[4.0, 0.0]], [[0.0, 1.0]]]])  # [1, 2, 1, 2]: the border is nearer to the weaker class
    assert class_map(scores, 1, 8).tolist() == [[[0, 0, 0, 0, 0, 1, 1, 1]]]


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v3_large"])
def test_torchvisions_own_file(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build = {"resnet50": deeplabv3_resnet50, "mobilenet_v3_large": deeplabv3_mobilenet_v3_large}[backbone]
    theirs = build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "deeplab.pth")
    ours = load_segmenter("deeplab", tmp_path / "deeplab.pth")
    assert ours.classes[:3] == ("__background__", "aeroplane", "bicycle")
    assert ours.sha256 is not None
    images = torch.rand(1, 3, 64, 96) * 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        expected = theirs((images / 255 - mean) / std)["out"].argmax(1)
        assert (class_map(ours(images).scores, 64, 96) == expected).float().mean() > 0.999
    torch.save({"classifier.4.weight": torch.zeros(5, 1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="neither of train-segmenter nor torchvision's DeepLabV3 on VOC"):
        load_segmenter("deeplab", tmp_path / "other.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, segmenter: DeepLab, tmp_path: Path) -> None:
    broken = DeepLab(SETTINGS)
    with torch.no_grad():
        broken.network.classifier[4].bias[1] = value
    save_deeplab(tmp_path / FILE_NAME, broken)
    with pytest.raises(InputError, match=r"\.safetensors holds NaN or infinite weights in classifier\.4\.bias"):
        load_deeplab(tmp_path)
    with torch.no_grad():
        next(broken.network.backbone.parameters()).fill_(value)
    torch.save(broken.network.state_dict(), tmp_path / "start.pth")
    with pytest.raises(InputError, match="NaN or infinite weights in backbone"):
        DeepLab(SETTINGS).load_pretrained(tmp_path / "start.pth")
