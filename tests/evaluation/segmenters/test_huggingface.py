"""Models of Hugging Face transformers, built tiny and saved to a folder. Needs the extra [hf]."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from evaluation.segmenters import load_segmenter
from pipeline.errors import InputError

LABELS = {0: "Ground", 1: "wall", 2: "lamp"}


def test_without_transformers_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"needs the extra \[hf\]"):
        load_segmenter(f"hf:{tmp_path}", tmp_path)


def test_segformer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=LABELS,
    )
    model = transformers.SegformerForSemanticSegmentation(config)
    model.save_pretrained(tmp_path)
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(tmp_path)
    segmenter = load_segmenter(f"hf:{tmp_path}", tmp_path)
    assert segmenter.classes == ("ground", "wall", "lamp")
    assert segmenter.sha256 is not None
    images = torch.randint(0, 256, (2, 3, 48, 64)).float()
    with torch.inference_mode():
        prediction = segmenter(images)
        pixels = processor(images=list(images.to(torch.uint8)), return_tensors="pt")["pixel_values"]
        expected = model.eval()(pixel_values=pixels).logits
    torch.testing.assert_close(prediction.scores, expected)
    assert prediction.features.shape == (2, segmenter.feature_dimensions) == (2, 16)
    assert segmenter.describe()["size"] == {"height": 64, "width": 64}


def test_mask2former(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        num_attention_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        num_queries=5,
        id2label=LABELS,
    )
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(tmp_path)
    transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    segmenter = load_segmenter(f"hf:{tmp_path}", tmp_path)
    with torch.inference_mode():
        prediction = segmenter(torch.randint(0, 256, (2, 3, 64, 64)).float())
    assert prediction.scores.shape[:2] == (2, 3)
    assert (prediction.scores >= 0).all()
    assert prediction.features.shape == (2, segmenter.feature_dimensions)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_segmenter(f"hf:{tmp_path}", tmp_path)
    assert "\n" not in str(caught.value)
