"""Networks on whose features distances are measured, from local folders and files: DINOv2, CLIP, torchvision's.

Each sees pictures as the reference implementation of its metric shows them to it, whatever a stored preprocessor says:
dgm-eval for FD-DINOv2 (Stein et al., NeurIPS 2023), the authors' cmmd for CMMD (Jayasumana et al., CVPR 2024), and
torchvision's own transforms for its classifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.models as models
from PIL import Image
from torch import nn

from pipeline.errors import InputError
from pipeline.pretrained.state_dicts import fill, read_state_dict, refuse_nonfinite, sha256_of

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIPS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of red, green and blue, of 0 to 1."""
DINOV2_SIDE = 224
DINOV2_MODELS = ("dinov2", "dinov2_with_registers")
CLIP_MODELS = ("clip", "clip_vision_model")

CLASSIFIERS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "alexnet", "vgg16", "vgg19"),
    *("mobilenet_v3_large", "efficientnet_b0", "convnext_tiny", "convnext_base", "vit_b_16", "vit_l_16", "swin_t"),
)
"""Of torchvision, told apart by the names and shapes of their weights."""


@dataclass(frozen=True)
class Kind:
    """What a network is called, and what its features are."""

    title: str
    """Of its family, as in FD-DINOv2."""
    model: str
    reference: str
    """Whose preprocessing, and which."""
    dimensions: int
    clip: bool = False
    """Whether the features are CLIP's of length 1, so that their Gaussian MMD is CMMD."""

    @property
    def description(self) -> str:
        """In a line."""
        return f"{self.model}, {self.dimensions} dimensions; {self.reference}"


class FeatureNetwork:
    """Pictures to feature vectors."""

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        prepare: Callable[[np.ndarray], torch.Tensor],
        kind: Kind,
        *,
        sha256: str,
        device: torch.device | str = "cpu",
    ) -> None:
        """`prepare` takes a picture, uint8 `[H, W, 3]`, to a network's input, float `[3, h, w]` of one size."""
        self.network = network
        self.prepare = prepare
        self.kind = kind
        self.sha256 = sha256
        self.device = torch.device(device)

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> FeatureNetwork:
        """A folder of transformers (DINOv2, with or without registers, or CLIP), or a weights file of torchvision.

        Nothing is fetched, only safetensors are read from folders, and no code that comes with a model is run. Raises
        `InputError` where it is anything else, incomplete, or holds weights that are NaN or infinite.
        """
        return _load_folder(cls, path, device) if path.is_dir() else _load_file(cls, path, device)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 RGB `[H, W, 3]` each, of any sizes, to float32 `[N, dimensions]`."""
        pixels = torch.stack([self.prepare(image) for image in images]).to(self.device)
        return self.network(pixels).float().cpu().numpy()


def dinov2_input(image: np.ndarray) -> torch.Tensor:
    """uint8 `[H, W, 3]` to float32 `[3, 224, 224]`, as dgm-eval's `models/dinov2.py`: Pillow's bicubic, not cropped."""
    return _normalise(_resize(Image.fromarray(image), DINOV2_SIDE), IMAGENET)


def clip_input(image: np.ndarray, side: int) -> torch.Tensor:
    """uint8 `[H, W, 3]` to float32 `[3, side, side]`, as cmmd's `io_util.py` and `embedding.py`.

    The square in the middle, resized by Pillow's bicubic filter.
    """
    height, width = image.shape[:2]
    square = min(height, width)
    top, left = (height - square) // 2, (width - square) // 2
    return _normalise(_resize(Image.fromarray(image[top : top + square, left : left + square]), side), CLIPS)


def _resize(picture: Image.Image, side: int) -> np.ndarray:
    return np.array(picture.resize((side, side), Image.Resampling.BICUBIC))


def _normalise(image: np.ndarray, statistics: tuple[Sequence[float], Sequence[float]]) -> torch.Tensor:
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    return (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - mean) / deviation


def _load_folder(cls: type[FeatureNetwork], path: Path, device: torch.device | str) -> FeatureNetwork:
    model = _read_model(path).eval().requires_grad_(False).to(device)
    config, digest = model.config, sha256_of(*sorted(path.glob("*.safetensors")))
    if hasattr(config, "projection_dim"):
        side = config.image_size
        kind = Kind(
            "CLIP",
            f"CLIP ViT/{config.patch_size} at {side}",
            f"cmmd: square in the middle, bicubic to {side}, embeddings of length 1",
            config.projection_dim,
            clip=True,
        )

        def embed(pixels: torch.Tensor) -> torch.Tensor:
            embedded = model(pixel_values=pixels).image_embeds
            return embedded / embedded.norm(dim=-1, keepdim=True)

        return cls(embed, lambda image: clip_input(image, side), kind, sha256=digest, device=device)
    name = "DINOv2" if config.model_type == "dinov2" else "DINOv2 with registers"
    reference = f"dgm-eval: bicubic to {DINOV2_SIDE}, normalised class token"
    kind = Kind("DINOv2", f"{name} ViT/{config.patch_size}", reference, config.hidden_size)

    def token(pixels: torch.Tensor) -> torch.Tensor:
        return model(pixel_values=pixels).pooler_output

    return cls(token, dinov2_input, kind, sha256=digest, device=device)


def _read_model(path: Path) -> Any:
    """A whole model of transformers, of a kind that is known here; `InputError` for anything else."""
    try:
        from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection
        from transformers.utils import logging as progress
    except ImportError:
        raise InputError(f"features {path} need the extra [hf]: pip install 'spadework[hf]'") from None
    if not any(path.glob("*.safetensors")) or not (path / "config.json").is_file():
        raise InputError(f"features {path} lack config.json or *.safetensors; give a model's folder of transformers")
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        kind = AutoConfig.from_pretrained(path, local_files_only=True).model_type
        if kind not in (*DINOV2_MODELS, *CLIP_MODELS):
            raise InputError(f"features {path} are of a '{kind}'; known are {', '.join(KNOWN)}")
        builder: Any = CLIPVisionModelWithProjection if kind in CLIP_MODELS else AutoModel
        model, report = builder.from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(f"features {path} cannot be loaded ({reason})") from None
    finally:
        if shown:
            progress.enable_progress_bar()
    # transformers draws what a file lacks at random, and only logs that it does.
    if missing := sorted(report["missing_keys"]):
        raise InputError(f"features {path} lack weights ({', '.join(missing[:3])}, ...); copy the folder again")
    refuse_nonfinite(model.state_dict(), source=f"features {path}")
    return model


KNOWN = ("DINOv2 and CLIP (folders of transformers)", "torchvision's classifiers (files)")


def _load_file(cls: type[FeatureNetwork], path: Path, device: torch.device | str) -> FeatureNetwork:
    state = read_state_dict(path)
    name = next((name for name in CLASSIFIERS if _fits(name, state)), None)
    if name is None:
        raise InputError(f"features {path} are of none of torchvision's {', '.join(CLASSIFIERS)}")
    network = models.get_model(name, weights=None).eval()
    fill(network, state, source=f"features {path}")
    dimensions = _cut(network)
    # Two generations of weights differ in their resizing; the file's name tells which it is of.
    weights = list(models.get_model_weights(name))
    chosen = next((one for one in weights if one.url.endswith(f"/{path.name}")), weights[0])
    transforms = chosen.transforms()
    side, crop = transforms.resize_size[0], transforms.crop_size[0]
    kind = Kind(
        name,
        f"torchvision's {name}",
        f"torchvision: short side {side} ({transforms.interpolation.value}), middle {crop}, before the last layer",
        dimensions,
    )

    def prepare(image: np.ndarray) -> torch.Tensor:
        return transforms(Image.fromarray(image))

    network = network.requires_grad_(False).to(device)
    return cls(lambda pixels: network(pixels).flatten(1), prepare, kind, sha256=sha256_of(path), device=device)


def _fits(name: str, state: dict[str, torch.Tensor]) -> bool:
    """Whether a classifier has weights of these names and shapes."""
    with torch.device("meta"):
        own = models.get_model(name, weights=None).state_dict()
    counted = "num_batches_tracked"
    names = {key for key in own if not key.endswith(counted)}
    return names == {key for key in state if not key.endswith(counted)} and all(
        own[key].shape == state[key].shape for key in names
    )


def _cut(network: nn.Module) -> int:
    """Take the last linear layer away; returns the dimensions of its input."""
    name, layer = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return layer.in_features
