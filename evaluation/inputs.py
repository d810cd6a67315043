"""What an evaluation is given, opened and checked before any work: sets of pictures, networks, protocols, pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.metrics.feature_networks import FeatureNetwork, Kind
from evaluation.metrics.inception import Inception
from evaluation.metrics.lpips import LPIPS
from evaluation.scoring.distributed import NetworkFile
from evaluation.scoring.label_maps import Pairs, compare_label_maps
from evaluation.scoring.marks import MarkedSet
from evaluation.scoring.picture_sets import PictureSet
from evaluation.scoring.protocols import Protocol, find_protocols, fit_mapping
from evaluation.segmenters import check_kind, load_segmenter
from evaluation.segmenters.base import Segmenter
from pipeline.checkpoints.file import LANDSCAPE
from pipeline.datasets.landscape.dataset import SPACE
from pipeline.errors import InputError
from pipeline.labels import distinct_colours
from pipeline.pretrained.registry import find_or_fetched, find_weights

PHOTOGRAPHS = "real photographs"


@dataclass(frozen=True)
class Inputs:
    """Everything but the work."""

    synthesized: PictureSet
    photographs: PictureSet
    baselines: dict[str, PictureSet]
    fid_photographs: PictureSet | None
    """From which distances are measured by protocols whose `fid_reference` is a training set."""
    protocols: tuple[Protocol, ...]
    """With label mappings that fit."""
    segmenter: Segmenter
    weights: Path
    """The segmenter's."""
    inception: Path | None
    lpips: Path | None
    lpips_title: str | None
    """Which LPIPS the weights are of."""
    networks: tuple[NetworkFile, ...]
    kinds: dict[str, Kind]
    """What these networks are, by name."""
    ids: frozenset[str]
    """Of the synthesized pictures that have a photograph."""
    unpaired: dict[str, list[str]]
    """Ids without a partner, by set."""
    pairs: Pairs
    """What is known about the label maps of those with one."""
    marks: MarkedSet | None = None
    """Pictures that people marked."""

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """A colour for each of the segmenter's classes."""
        if self.protocols[0].label_mapping == "same":
            return self.synthesized.space.palette
        return tuple(distinct_colours(len(self.segmenter.classes)))


def open_inputs(
    images: str | Path,
    reference: str | Path,
    *,
    baselines: Mapping[str, str | Path],
    fid_reference: str | Path | None,
    protocols: Sequence[str | Protocol],
    segmenter: str,
    segmenter_weights: Path | None,
    inception_weights: Path | None,
    lpips_weights: Path | None,
    features: Mapping[str, Path],
    marks: Sequence[str | Path] = (),
) -> Inputs:
    """Open what the locations name; see `evaluate`.

    Raises `InputError` where files are missing, classes or the label maps of pairs differ, or nothing pairs.
    """
    named: tuple[Protocol, ...] = ()
    for name in protocols:
        chosen = (name,) if isinstance(name, Protocol) else find_protocols([name], training=fid_reference is not None)
        named = (*named, *chosen)
    if len({protocol.name for protocol in named}) != len(named) or not named:
        raise InputError("give one protocol or more, each once")
    training = [protocol.name for protocol in named if protocol.fid_reference == "training"]
    if training and fid_reference is None:
        raise InputError(
            f"protocol '{training[0]}' measures distances from training photographs; give them with --fid-reference"
        )
    if fid_reference is not None and not training:
        raise InputError("--fid-reference is used by no protocol; add --set fid_reference=training")

    synthesized = PictureSet.open(images, what="the folder of synthesized pictures")
    photographs = PictureSet.open(reference, what="the reference data set")
    others = {name: PictureSet.open(path, what=f"the baseline '{name}'") for name, path in baselines.items()}
    fid_photographs = None if fid_reference is None else PictureSet.open(fid_reference, what="the FID reference")
    for other in (photographs, *others.values(), *([fid_photographs] if fid_photographs else [])):
        refuse_other_classes(synthesized, other)
    unpaired, ids = _pair(synthesized, photographs)
    for name, pictures in others.items():
        if missing := sorted(ids - pictures.ids):
            raise InputError(
                f"baseline '{name}' has no picture of {len(missing)} of the {len(ids)} label maps (the first is "
                f"'{missing[0]}'), so its scores would not compare; synthesize the same maps"
            )

    marked = MarkedSet.open(marks, synthesized.space) if marks else None
    weights = find_segmenter_weights(segmenter, segmenter_weights, synthesized.space.classes)
    network = load_segmenter(segmenter, weights)
    inception, lpips = find_or_fetched(inception_weights, "Inception"), find_or_fetched(lpips_weights, "LPIPS")
    if inception is not None:
        Inception.load(inception)  # read once here, so that a bad file is found before any work
    loaded = {name: FeatureNetwork.load(path) for name, path in features.items()}
    return Inputs(
        synthesized=synthesized,
        photographs=photographs,
        baselines=others,
        fid_photographs=fid_photographs,
        protocols=tuple(
            fit_mapping(protocol, synthesized.space.classes, network.classes, source=weights) for protocol in named
        ),
        segmenter=network,
        weights=weights,
        inception=inception,
        lpips=lpips,
        lpips_title=None if lpips is None else LPIPS.load(lpips).title,
        networks=tuple(NetworkFile(name, features[name], network.sha256) for name, network in loaded.items()),
        kinds={name: network.kind for name, network in loaded.items()},
        ids=ids,
        unpaired=unpaired,
        pairs=compare_label_maps(synthesized, photographs, others, ids),
        marks=marked,
    )


def find_segmenter_weights(segmenter: str, weights: Path | None, classes: Sequence[str]) -> Path:
    """The weights that were given, those that come with spadework, or the fetched ones of a public segmenter.

    `classes` are those of the pictures. Raises `InputError` where there are none, or no such segmenter.
    """
    if weights is not None:
        return weights
    if segmenter == "deeplab" and tuple(classes) == SPACE.classes:
        shipped = LANDSCAPE.with_name("landscape-segmenter.safetensors")
        if not shipped.is_file():
            raise InputError(f"{shipped}, which comes with spadework, is gone; restore it, or give --segmenter-weights")
        return shipped
    if segmenter == "deeplab":
        raise InputError("segmenter 'deeplab' needs --segmenter-weights: the run directory of train-segmenter")
    if segmenter.startswith("hf:"):
        return Path(segmenter.removeprefix("hf:"))
    check_kind(segmenter)
    return find_weights(segmenter)


def refuse_other_classes(one: PictureSet, other: PictureSet) -> None:
    """Raise `InputError` where the label maps of `other` cannot be read by the label space of `one`.

    `other` may lack a don't-care id: that of `one` then never occurs in it (`filter --regions` adds one).
    """
    ours, theirs = one.space.classes, other.space.classes
    if ours == theirs and other.space.dont_care in (None, one.space.dont_care):
        return
    if len(ours) != len(theirs):
        difference = f"{len(ours)} classes there, {len(theirs)} here"
    elif ours != theirs:
        index = next(index for index, name in enumerate(ours) if name != theirs[index])
        difference = f"class {index} is '{ours[index]}' there, '{theirs[index]}' here"
    else:
        difference = f"don't-care is {one.space.dont_care} there, {other.space.dont_care} here"
    raise InputError(f"{other} is of other classes than {one}: {difference}; both must be of one data set")


def _pair(synthesized: PictureSet, photographs: PictureSet) -> tuple[dict[str, list[str]], frozenset[str]]:
    """The ids without partner, by set, and those with one."""
    generated, real = synthesized.ids, photographs.ids
    paired = generated & real
    if not paired:
        raise InputError(
            f"no picture in {synthesized} has the id of a photograph in {photographs} "
            f"(for example '{min(generated)}' and '{min(real)}'); give the data set whose label maps were synthesized"
        )
    return {"synthesized": sorted(generated - real), PHOTOGRAPHS: sorted(real - generated)}, paired
