"""Each rule of the protocols on arrays that can be checked by eye."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.scoring.picture_sets import Picture
from evaluation.scoring.protocols import (
    CITYSCAPES_TRAIN_IDS,
    PRESETS,
    VOID,
    Protocol,
    find_protocol,
    find_protocols,
    fit_mapping,
    parse_overrides,
    resize,
)
from evaluation.scoring.scorer import ImageScorer
from evaluation.segmenters.base import Prediction, Scales, Segmenter, merge_scores
from pipeline.errors import InputError
from pipeline.labels import LabelSpace

SPACE = LabelSpace(classes=("a", "b", "c"), dont_care=255)


class Brightness(Segmenter):
    """Sees class 0 where a picture is dark, 1 where it is grey 2 where it is bright; remembers its input."""

    kind = "brightness"
    classes = SPACE.classes
    feature_dimensions = 3
    feature_name = "mean colour"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], str]] = []

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        self.seen.append((tuple(images.shape), scales))
        levels = torch.tensor([0.0, 128.0, 255.0]).view(1, 3, 1, 1)
        return Prediction(-(images.mean(1, keepdim=True) - levels).abs(), images.mean((2, 3)))

    def describe(self) -> dict:
        return {}


def picture(label: np.ndarray, size: int) -> Picture:
    """A picture of the classes of a label map, at another size."""
    classes = np.where(label == 255, 1, label)
    factor = size // len(label)
    grey = np.array([0, 128, 255], np.uint8)[np.repeat(np.repeat(classes, factor, 0), factor, 1)]
    return Picture("x", 0, np.repeat(grey[..., None], 3, 2), label)


LABEL = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 255, 255], [2, 2, 255, 255]], np.uint8)


def test_label_maps_are_compared_at_the_size_that_the_protocol_says() -> None:
    at_picture, at_label = Protocol(name="a"), Protocol(name="b", label_size="label")
    segmenter = Brightness()
    scored = ImageScorer(segmenter, SPACE, [at_picture, at_label]).score([picture(LABEL, 8)])
    assert scored is not None
    assert scored.confusions["a"].total().pixels == 64
    assert scored.confusions["b"].total().pixels == 16
    for name in "ab":
        assert scored.confusions[name].total().accuracy() == 1
        assert scored.confusions[name].total().accuracy_void_as_error() == 0.75
    # Both protocols were served by one pass.
    assert segmenter.seen == [((1, 3, 8, 8), "own")]


@pytest.mark.parametrize(
    ("protocol", "shape"),
    [
        (Protocol(name="x"), (8, 8)),
        (Protocol(name="x", input_size="label"), (4, 4)),
        (Protocol(name="x", input_size=16, input_filter="bilinear"), (16, 16)),
        (PRESETS["gan-compression"], (4, 4)),
        (PRESETS["gan-compression-cityscapes"], (8, 8)),
        (PRESETS["imaginaire"], (512, 512)),
    ],
)
def test_input_sizes(protocol: Protocol, shape: tuple[int, int]) -> None:
    segmenter = Brightness()
    scored = ImageScorer(segmenter, SPACE, [protocol]).score([picture(LABEL, 8)])
    assert scored is not None
    assert segmenter.seen == [((1, 3, *shape), protocol.scales)]
    assert scored.confusions[protocol.name].total().accuracy() > 0.9  # resampled borders are between two classes


def test_single_scale_reaches_the_segmenter() -> None:
    segmenter = Brightness()
    ImageScorer(segmenter, SPACE, [Protocol(name="own"), Protocol(name="one", scales="single")]).score(
        [picture(LABEL, 8)]
    )
    assert [scales for _, scales in segmenter.seen] == ["own", "single"]


def test_scales_and_merging_reach_the_segmenter() -> None:
    segmenter = Brightness()
    protocols = [
        Protocol(name="three", scales=(1.0, 0.5, 2.0)),
        Protocol(name="maximum", scales=(1.0, 0.5, 2.0), merging="max"),
        Protocol(name="own", merging="sum-log-softmax"),
    ]
    scored = ImageScorer(segmenter, SPACE, protocols).score([picture(np.kron(LABEL, np.ones((4, 4), np.uint8)), 32)])
    assert scored is not None
    sides = [shape[-1] for shape, _ in segmenter.seen]
    assert sides == [32, 16, 64, 32, 16, 64, 32]
    assert {scales for _, scales in segmenter.seen} == {"single"}
    assert all(scored.confusions[protocol.name].total().accuracy() > 0.95 for protocol in protocols)


def test_merging_rules_by_hand() -> None:
    # Two scales, two classes, one pixel: probabilities (0.5, 0.5) and (0.9, 0.1).
    probabilities = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).view(2, 1, 2, 1, 1)
    logits = probabilities.log() + torch.tensor([3.0, -1.0]).view(2, 1, 1, 1, 1)  # which no softmax sees
    for scores, kind in (
        (logits, "logits"),
        (probabilities.log(), "log-probabilities"),
        (probabilities, "probabilities"),
    ):
        assert merge_scores(scores, kind, "mean-softmax").flatten().tolist() == pytest.approx([0.7, 0.3])
        summed = merge_scores(scores, kind, "sum-log-softmax").flatten().exp()
        assert summed.tolist() == pytest.approx([0.45, 0.05])
    assert merge_scores(probabilities, "probabilities", "max").flatten().tolist() == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize("how", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(5, 9), (33, 40)])
def test_pillow_filters_are_pillows(how: str, size: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).normal(size=(17, 23)).astype(np.float32)
    expected = Image.fromarray(plane).resize(size[::-1], Image.Resampling[how.upper()])
    ours = resize(torch.from_numpy(plane)[None, None], size, f"pil-{how}")  # type: ignore[arg-type]
    np.testing.assert_allclose(ours[0, 0].numpy(), np.asarray(expected), atol=1e-5)


def test_plain_filters_sample_and_pillows_average() -> None:
    stripes = torch.tensor([0.0, 255.0]).repeat(8).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    wide = resize(stripes, (4, 4), "pil-bilinear")
    assert (wide - 127.5).abs().max() < 20
    assert resize(stripes, (4, 4), "nearest").unique().tolist() == [0]  # pixels 2, 6, 10 and 14
    # Enlarging, there is nothing to average.
    enlarged = [resize(stripes, (40, 40), how) for how in ("bilinear", "pil-bilinear")]  # type: ignore[arg-type]
    torch.testing.assert_close(*enlarged, rtol=0, atol=1e-3)


def test_logits_are_enlarged_by_the_filter_and_at_the_size_of_the_protocol() -> None:
    # Likeliest class by position: 0, 0, 1 with scores that cross early between the second and the third.
    scores = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.9, 9.0]]).view(1, 2, 1, 3)
    before = Protocol(name="x", logit_size="own").classes(scores, (1, 12), (1, 12))
    after = Protocol(name="x").classes(scores, (1, 12), (1, 12))
    nearest = Protocol(name="x", logit_filter="nearest").classes(scores, (1, 12), (1, 12))
    assert before.tolist() == nearest.tolist() == [[[0] * 8 + [1] * 4]]
    assert after.tolist() == [[[0] * 6 + [1] * 6]]
    # At the size of the input, six: then each class is doubled.
    halfway = Protocol(name="x", input_size=6, logit_size="input", logit_filter="nearest")
    assert halfway.classes(scores, (1, 12), (1, 12)).tolist() == nearest.tolist()


def test_label_filters_take_other_pixels() -> None:
    label = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    centre = Protocol(name="x").target(label, SPACE, (2, 2))
    corner = Protocol(name="x", label_filter="nearest-corner").target(label, SPACE, (2, 2))
    assert centre.tolist() == label[2::4, 2::4].tolist()
    assert corner.tolist() == label[::4, ::4].tolist()
    torch_corner = torch.nn.functional.interpolate(torch.from_numpy(label)[None, None].float(), (3, 5), mode="nearest")
    assert Protocol(name="x", label_filter="nearest-corner").target(label, SPACE, (3, 5)).tolist() == (
        torch_corner[0, 0].int().tolist()
    )


def test_mappings_are_found_or_refused() -> None:
    raw, trained = [f"id {index}" for index in range(35)], [f"class {index}" for index in range(19)]
    fitted = fit_mapping(PRESETS["spade-cityscapes"], raw, trained, source="x")
    assert fitted.label_mapping == "cityscapes_train_ids"
    ade = ["other", *(f"class {index}" for index in range(150))]
    assert fit_mapping(PRESETS["spade-ade20k"], ade, ade[1:], source="x").label_mapping == "ade20k_shift"
    assert fit_mapping(PRESETS["native"], ["a", "b"], ["a", "b"], source="x").label_mapping == "same"
    with pytest.raises(InputError, match=r"knows 2 classes \(a, b, ...\), the pictures have 3 .* label_mapping=NAME"):
        fit_mapping(PRESETS["native"], ["a", "b", "c"], ["a", "b"], source="x")
    with pytest.raises(InputError, match="takes up to 35 classes to a segmenter of 19; the pictures have 36"):
        fit_mapping(Protocol(name="x", label_mapping="cityscapes_train_ids"), [*raw, "more"], trained, source="x")


def test_fid_features_of_photographs_at_either_size() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[tuple[int, str]] = []

        def __call__(self, images, *, resizer):  # type: ignore[no-untyped-def]
            self.seen.append((len(images[0]), resizer))
            return np.zeros((len(images), 4), np.float32)

    recorder = Recorder()
    protocols = [
        Protocol(name="a"),
        Protocol(name="b", averaging="all"),
        Protocol(name="c", fid_resizer="clean-fid", fid_photographs="own"),
    ]
    small = picture(LABEL, 8)
    photograph = replace(small, original=np.zeros((64, 64, 3), np.uint8))
    scored = ImageScorer(Brightness(), SPACE, protocols, inception=recorder).score([photograph])
    assert recorder.seen == [(8, "pytorch-fid"), (64, "clean-fid")]
    assert scored is not None
    assert set(scored.inception) == {protocol.fid_features for protocol in protocols}
    ImageScorer(Brightness(), SPACE, protocols, inception=recorder).score([small])
    assert recorder.seen[2:] == [(8, "pytorch-fid"), (8, "clean-fid")]


def test_samples_of_a_map_are_measured_together_across_batches() -> None:
    class Count:
        def spread(self, images):  # type: ignore[no-untyped-def]
            return np.full(len(images), len(images), np.float32)

    some = [replace(picture(LABEL, 8), id=name, sample=index) for name in "ab" for index in range(3)]
    scorer = ImageScorer(Brightness(), SPACE, [PRESETS["native"]], lpips=Count(), batch_size=2)
    scored = scorer.score([*some, replace(some[0], id="c")])
    assert scored is not None
    assert scored.lpips is not None
    assert scored.lpips.tolist() == [3] * 6 + [1]
    with pytest.raises(InputError, match="samples of label map 'a' are of different sizes"):
        scorer.score([some[0], replace(some[1], image=some[1].image[:4])])


def test_wide_pictures_keep_their_shape_at_a_long_side() -> None:
    images = torch.zeros(1, 3, 100, 200)
    assert Protocol(name="x", input_size=512)._input(images, (1, 1)).shape == (1, 3, 256, 512)


def test_cubic_enlargement_stays_in_range() -> None:
    checks = torch.tensor([[0.0, 255.0], [255.0, 0.0]]).view(1, 1, 2, 2).repeat(1, 3, 4, 4)
    enlarged = Protocol(name="x", input_size="label")._input(checks, (20, 20))
    assert (enlarged.min() >= 0).all()
    assert (enlarged.max() <= 255).all()


def test_label_mappings() -> None:
    raw = LabelSpace(classes=tuple(f"id {index}" for index in range(35)))
    cityscapes = Protocol(name="x", label_mapping="cityscapes_train_ids")
    label = np.arange(35, dtype=np.uint8)[None]
    mapped = cityscapes.target(label, raw, (1, 35))[0]
    assert [int(mapped[index]) for index in CITYSCAPES_TRAIN_IDS] == list(range(19))
    assert (mapped == VOID).sum() == 35 - 19
    ade = LabelSpace(classes=("other", *(f"class {index}" for index in range(150))))
    shifted = Protocol(name="x", label_mapping="ade20k_shift").target(np.array([[0, 1, 150]], np.uint8), ade, (1, 3))
    assert shifted.tolist() == [[VOID, 0, 149]]
    coco = LabelSpace(classes=tuple(f"thing {index}" for index in range(182)), dont_care=255)
    kept = Protocol(name="x", label_mapping="coco_stuff").target(np.array([[0, 181, 255]], np.uint8), coco, (1, 3))
    assert kept.tolist() == [[0, 181, VOID]]


def test_same_classes_keep_their_ids_and_dont_care_is_void() -> None:
    target = PRESETS["native"].target(np.array([[0, 2, 255]], np.uint8), SPACE, (1, 3))
    assert target.tolist() == [[0, 2, VOID]]
    with pytest.raises(InputError, match="label map has id 7"):
        PRESETS["native"].target(np.array([[7]], np.uint8), SPACE, (1, 1))


def test_all_protocols_stand_for_every_preset() -> None:
    assert [protocol.name for protocol in find_protocols(["all"])] == list(PRESETS)
    without = find_protocols(["all"], {"label_filter": "nearest-corner"}, training=False)
    assert {protocol.label_filter for protocol in without} == {"nearest-corner"}
    assert set(PRESETS) - {protocol.name for protocol in without} == {"clade"}
    assert [protocol.name for protocol in find_protocols(["oasis", "native"])] == ["oasis", "native"]
    with pytest.raises(InputError, match="--protocol all stands for every protocol"):
        find_protocols(["all", "spade"])


def test_presets_can_be_overridden_and_explain_what_they_refuse() -> None:
    changed = find_protocol("gan-compression", {"averaging": "all"})
    assert (changed.averaging, changed.input_size) == ("all", "label")
    with pytest.raises(InputError, match="averaging: Input should be 'present', 'union' or 'all'"):
        find_protocol("oasis", {"averaging": "median"})
    with pytest.raises(InputError, match="choose from native, spade, spade-ade20k"):
        find_protocol("paper")
    for override in ("scales=[.nan]", "scales=[1, .inf]", "scales=[1000]", "input_size=100000", "input_size=.nan"):
        with pytest.raises(InputError, match=r"protocol 'native' with these settings: (scales|input_size): "):
            find_protocol("native", parse_overrides([override]))
