"""Any semantic-segmentation model of Hugging Face transformers, with the preprocessing that is stored beside it.

SegFormer, UPerNet and their kin, which give class scores, and Mask2Former and MaskFormer, which give masks of classes.
Needs the extra `[hf]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.segmenters.base import Prediction, Scales, TrainableSegmenter
from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import refuse_nonfinite, sha256_of

PREFIX = "hf:"
"""`--segmenter hf:PATH` or `hf:OWNER/NAME`."""

MASK_MODELS = ("mask2former", "maskformer")


class HuggingFaceSegmenter(TrainableSegmenter):
    """Class scores at the model's own resolution."""

    def __init__(self, source: str, model: Any, processor: Any) -> None:
        super().__init__()
        self.kind = PREFIX + source
        self.network = model
        if model.config.model_type in MASK_MODELS:
            self.scores_are = "probabilities"
        self.processor = processor
        labels = model.config.id2label
        self.classes = tuple(str(labels[index]).lower() for index in sorted(labels))
        self.feature_name = f"last backbone or encoder map of {model.config.model_type}, mean over the picture"
        with torch.inference_mode():
            # The config says it in as many ways as there are models.
            self.feature_dimensions = self(torch.zeros(1, 3, 64, 64)).features.shape[1]
        self.feature_name += f", {self.feature_dimensions} dimensions"

    @classmethod
    def load(cls, source: str) -> HuggingFaceSegmenter:
        """From a folder or a model's id; only safetensors are read and no code that comes with a model is run.

        Raises `InputError` where transformers is not installed or there is no such model.
        """
        AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation = (
            _transformers(source)
        )
        try:
            config = AutoConfig.from_pretrained(source)
            masks = config.model_type in MASK_MODELS
            builder = AutoModelForUniversalSegmentation if masks else AutoModelForSemanticSegmentation
            model = builder.from_pretrained(source, use_safetensors=True)
            processor = AutoImageProcessor.from_pretrained(source)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"segmenter {PREFIX}{source} cannot be loaded ({_first_line(error)})") from None
        refuse_nonfinite(model.state_dict(), source=f"segmenter {PREFIX}{source}")
        made = cls(source, model.eval(), processor)
        files = sorted(Path(source).glob("*.safetensors"))
        commit = getattr(config, "_commit_hash", None)
        made.sha256 = sha256_of(*files) if files else (None if commit is None else f"commit {commit}")
        return made

    @classmethod
    def new(cls, source: str, classes: Sequence[str]) -> HuggingFaceSegmenter:
        """A model to be trained, for other classes: the weights in the folder `source` where there are any that fit.

        New weights are drawn from torch's generator. Raises `InputError` where transformers is not installed, or the
        model gives masks rather than class scores.
        """
        AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, _ = _transformers(source)
        names = dict(enumerate(classes))
        try:
            config = AutoConfig.from_pretrained(
                source, id2label=names, label2id={name: number for number, name in names.items()}
            )
            if config.model_type in MASK_MODELS:
                raise InputError(f"segmenter {PREFIX}{source} gives masks; models of class scores can be trained")
            stored = any(Path(source).glob("*.safetensors")) or not Path(source).is_dir()
            model = (
                AutoModelForSemanticSegmentation.from_pretrained(
                    source, config=config, ignore_mismatched_sizes=True, use_safetensors=True
                )
                if stored
                else AutoModelForSemanticSegmentation.from_config(config)
            )
            processor = AutoImageProcessor.from_pretrained(source)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"segmenter {PREFIX}{source} cannot be loaded ({_first_line(error)})") from None
        return cls(source, model.eval(), processor)

    def forward(self, images: torch.Tensor, *, scales: Scales = "own") -> Prediction:
        """float `[N, 3, H, W]` in 0 to 255; the model has one scale of its own."""
        pictures = list(images.round().clamp(0, 255).to(torch.uint8))
        inputs = self.processor(images=pictures, return_tensors="pt")
        outputs = self.network(pixel_values=inputs["pixel_values"].to(images.device), output_hidden_states=True)
        if hasattr(outputs, "class_queries_logits"):
            # Each query is a mask and a class (or none, the last): the score of a class is the sum over queries.
            classes = outputs.class_queries_logits.softmax(-1)[..., :-1]  # [N, queries, classes]
            masks = outputs.masks_queries_logits.sigmoid()  # [N, queries, h, w]
            return Prediction(torch.einsum("nqc,nqhw->nchw", classes, masks), _pool(outputs.encoder_last_hidden_state))
        return Prediction(outputs.logits, _pool(outputs.hidden_states[-1]))

    def save(self, folder: Path) -> None:
        """Write model and preprocessing as `load` takes them."""
        self.network.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        """See `Segmenter.describe`."""
        known = (
            "do_resize",
            "size",
            "resample",
            "do_rescale",
            "rescale_factor",
            "do_normalize",
            "image_mean",
            "image_std",
        )
        fields = {name: value for name, value in self.processor.to_dict().items() if name in known}
        return {"kind": self.kind, "model": self.network.config.model_type, **fields, "features": self.feature_name}


def _transformers(source: str) -> tuple[Any, Any, Any, Any]:
    """The classes of transformers that load a config, a processor, and either kind of model."""
    try:
        from transformers import (
            AutoConfig,
            AutoImageProcessor,
            AutoModelForSemanticSegmentation,
            AutoModelForUniversalSegmentation,
        )
    except ImportError:
        raise InputError(f"segmenter {PREFIX}{source} needs the extra [hf]: pip install 'spadework[hf]'") from None
    return AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _pool(features: torch.Tensor) -> torch.Tensor:
    """`[N, C, h, w]`, or tokens `[N, L, C]`, to `[N, C]`."""
    return features.mean((2, 3)) if features.ndim == 4 else features.mean(1)
