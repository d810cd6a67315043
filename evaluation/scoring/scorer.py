"""A segmenter (and Inception, where its weights are given) at work: pictures in, image results out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, repeat, takewhile

import numpy as np
import torch

from evaluation.metrics.boundaries import boundary_counts
from evaluation.metrics.confusion import ConfusionMatrix
from evaluation.metrics.feature_networks import FeatureNetwork
from evaluation.metrics.inception import Inception
from evaluation.metrics.lpips import LPIPS
from evaluation.metrics.texture import TextureStatistics
from evaluation.scoring.image_results import Confusions, ImageResults
from evaluation.scoring.picture_sets import Picture
from evaluation.scoring.protocols import Protocol
from evaluation.scoring.textures import Textures
from evaluation.segmenters.base import Segmenter
from pipeline.data.images import resize_ids
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels
from pipeline.runtime.stages import in_order


@dataclass(frozen=True)
class _Seen:
    """What the networks say of N pictures."""

    predictions: dict[str, np.ndarray]
    """Classes int16 `[N, h, w]` by protocol."""
    features: np.ndarray
    inception: dict[str, np.ndarray]
    networks: dict[str, np.ndarray]


class ImageScorer:
    """Scores pictures by one or more protocols, with one pass of the segmenter for all that can share it."""

    def __init__(
        self,
        segmenter: Segmenter,
        space: LabelSpace,
        protocols: Sequence[Protocol],
        *,
        inception: Inception | None = None,
        lpips: LPIPS | None = None,
        networks: Mapping[str, FeatureNetwork] | None = None,
        batch_size: int = 16,
        device: str = "cpu",
    ) -> None:
        self.segmenter = segmenter
        self.space = space
        self.protocols = tuple(protocols)
        self.inception = inception
        self.lpips = lpips
        self.networks = dict(networks or {})
        self.batch_size = batch_size
        self.device = torch.device(device)

    def score(self, pictures: Iterable[Picture]) -> ImageResults | None:
        """The results of all pictures, in their order; None if there are none.

        Samples of one label map stand together. Pictures are read, and their pixels counted, in threads beside the
        networks: never more than a few batches are in memory. Raises `InputError`, which names a picture whose label
        map has ids beyond the classes.
        """
        spreads: list[np.ndarray] = []
        if self.lpips is not None:
            pictures = self._spread(pictures, self.lpips, spreads)
        batches = _batches(pictures, self.batch_size)
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "count") as counter:
            read = in_order(reader, lambda _: next(batches, None), repeat(None), ahead=1)
            seen = ((batch, self._see(batch)) for batch in takewhile(bool, read) if batch)
            parts = list(in_order(counter, lambda pair: self._count(*pair), seen, ahead=1))
        if not parts:
            return None
        return replace(ImageResults.joined(parts), lpips=np.concatenate(spreads) if spreads else None)

    def _spread(self, pictures: Iterable[Picture], lpips: LPIPS, spreads: list[np.ndarray]) -> Iterator[Picture]:
        """The pictures as they come, with the distances of each group added to `spreads`."""
        for _, group in groupby(pictures, key=lambda picture: picture.id):
            samples = list(group)
            if len({sample.image.shape for sample in samples}) > 1:
                raise InputError(f"the samples of label map '{samples[0].id}' are of different sizes")
            spreads.append(lpips.spread([sample.image for sample in samples]))
            yield from samples

    def predict(self, pictures: Sequence[Picture]) -> list[np.ndarray]:
        """Predicted classes int16 `[h, w]` of each, by the first protocol; for illustrations."""
        return [
            array
            for batch in _batches(pictures, self.batch_size)
            for array in self._predictions(batch)[0][self.protocols[0].name]
        ]

    def target(self, picture: Picture) -> np.ndarray:
        """What the prediction of a picture is compared with, by the first protocol: int16 `[h, w]`."""
        return self._target(picture, self.protocols[0])

    def _see(self, batch: list[Picture]) -> _Seen:
        """What the networks say of a batch."""
        predictions, features = self._predictions(batch)
        networks = {name: network(_shown(batch, self.protocols[0])) for name, network in self.networks.items()}
        return _Seen(predictions, features, self._inception_features(batch), networks)

    def _count(self, batch: list[Picture], seen: _Seen) -> ImageResults:
        """All that is left when the networks are done with a batch."""
        classes = len(self.segmenter.classes)
        confusions, boundaries = {}, {}
        for protocol in self.protocols:
            matrices, counts = [], []
            for picture, predicted in zip(batch, seen.predictions[protocol.name], strict=True):
                target = self._target(picture, protocol)
                matrix = ConfusionMatrix(classes)
                matrix.update(target, predicted)
                matrices.append(matrix)
                counts.append(boundary_counts(target, predicted, classes))
            confusions[protocol.name] = Confusions.of(matrices, classes)
            boundaries[protocol.name] = np.stack(counts)
        return ImageResults(
            ids=np.array([picture.id for picture in batch]),
            samples=np.array([picture.sample for picture in batch], np.int32),
            sizes=np.array([picture.image.shape[:2] for picture in batch], np.int32),
            confusions=confusions,
            boundaries=boundaries,
            features=seen.features,
            inception=seen.inception,
            texture=Textures.of([self._texture(picture) for picture in batch], len(self.space.classes)),
            networks=seen.networks,
        )

    def _inception_features(self, batch: list[Picture]) -> dict[str, np.ndarray]:
        """Features float32 `[N, 2048]` for each way in which the protocols make them; none without Inception."""
        if self.inception is None:
            return {}
        features = {}
        for protocol in {protocol.fid_features: protocol for protocol in self.protocols}.values():
            features[protocol.fid_features] = self.inception(_shown(batch, protocol), resizer=protocol.fid_resizer)
        return features

    def data_classes(self, picture: Picture) -> np.ndarray:
        """The data set's classes at the picture's own pixels, int32 `[H, W]`; don't-care is beyond them.

        Raises `InputError`, which names a picture whose label map has unknown ids.
        """
        try:
            return class_channels(resize_ids(picture.label, *picture.image.shape[:2]), self.space)
        except InputError as error:
            raise InputError(f"picture '{picture.id}': {error}") from None

    def _texture(self, picture: Picture) -> TextureStatistics:
        found = TextureStatistics(len(self.space.classes))
        found.update(picture.image, self.data_classes(picture))
        return found

    @torch.inference_mode()
    def _predictions(self, batch: list[Picture]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Predicted classes int16 `[N, h, w]` by protocol, and the segmenter's features by the first protocol."""
        images = torch.from_numpy(np.stack([picture.image for picture in batch])).to(self.device)
        images = images.permute(0, 3, 1, 2).float()  # [N, 3, H, W]
        picture_size, label_size = batch[0].image.shape[:2], batch[0].label.shape
        seen = {}
        predictions = {}
        for protocol in self.protocols:
            if protocol.input_fields not in seen:
                seen[protocol.input_fields] = protocol.predict(self.segmenter, images, label_size)
            scores = seen[protocol.input_fields].scores
            predictions[protocol.name] = protocol.classes(scores, picture_size, label_size)
        features = seen[self.protocols[0].input_fields].features
        return predictions, features.float().cpu().numpy()

    def _target(self, picture: Picture, protocol: Protocol) -> np.ndarray:
        try:
            return protocol.target(picture.label, self.space, picture.image.shape[:2])
        except InputError as error:
            raise InputError(f"picture '{picture.id}': {error}") from None


def _shown(batch: Sequence[Picture], protocol: Protocol) -> list[np.ndarray]:
    """uint8 `[H, W, 3]` each: what a network of distances is shown, photographs at the size that the protocol says."""
    own = protocol.fid_photographs == "own"
    return [p.original if own and p.original is not None else p.image for p in batch]


def _batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Neighbours of equal sizes, at most `size` of them."""
    batch: list[Picture] = []
    for picture in pictures:
        if batch and (
            len(batch) == size
            or picture.image.shape != batch[0].image.shape
            or picture.label.shape != batch[0].label.shape
        ):
            yield batch
            batch = []
        batch.append(picture)
    if batch:
        yield batch
