"""Label spaces, and the step from a label map to the integer codes that every network takes.

A *label map* holds class ids as its file stores them. A *code* is what the networks see at a pixel:

    code = 1 + 2 * class + edge        (0 is reserved for "outside the image")

where `edge` is 1 on the border of an object instance, if the label space uses instance edges. The
one-hot tensor of the SPADE paper is a function of the codes (`one_hot`), and is seldom needed.
"""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import InputError

if TYPE_CHECKING:
    import torch

MAX_CLASSES = 4096

Colour = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]


class LabelSpace(BaseModel):
    """The classes of a data set and how a generator sees them.

    Raises (as a pydantic error, which recipes turn into an `InputError`) where the palette's length is
    not the number of classes, class names repeat, or the don't-care id is one of the classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]
    """Class names; the position is the id in the label map."""
    palette: tuple[Colour, ...] = ()
    """One RGB colour (0 to 255) a class; distinct colours are made up where none are given."""
    dont_care: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The stored id that means "unknown". The generator sees it as one more class; scores leave it out."""
    instance_edges: bool = False
    """Whether the borders of object instances are an input (Sec. 4 of the paper; needs instance maps)."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, fields: Any) -> Any:
        if not (isinstance(fields, dict) and isinstance(fields.get("classes"), (list, tuple))):
            return fields
        # Files of earlier versions have names with runs of blanks.
        names = [" ".join(name.split()) if isinstance(name, str) else name for name in fields["classes"]]
        return {**fields, "classes": names, "palette": fields.get("palette") or distinct_colours(len(names))}

    @model_validator(mode="after")
    def _check(self) -> LabelSpace:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(self.classes)} classes; give one each")
        if len(set(self.classes)) != len(self.classes):
            repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
            raise ValueError(f"class names repeat: {', '.join(repeated)}")
        if self.dont_care is not None and self.dont_care < len(self.classes):
            raise ValueError(
                f"dont_care is {self.dont_care}, which is class '{self.classes[self.dont_care]}'; "
                f"it must be {len(self.classes)} or more"
            )
        return self

    @property
    def class_channels(self) -> int:
        """Channels of the one-hot part: the classes, and one for don't-care where there is such an id."""
        return len(self.classes) + (self.dont_care is not None)

    @property
    def channels(self) -> int:
        """Channels of a generator's semantic input (the public `semantic_nc`)."""
        return self.class_channels + self.instance_edges

    @property
    def codes(self) -> int:
        """How many codes there are, the one for "outside" included: codes are `0 .. codes - 1`."""
        return 1 + 2 * self.class_channels

    def colour_table(self) -> np.ndarray:
        """uint8 `[class_channels, 3]`: a colour for each class channel, don't-care black."""
        table = np.zeros((self.class_channels, 3), np.uint8)
        table[: len(self.classes)] = self.palette
        return table


def distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """`count` RGB colours that differ in hue (golden-ratio steps) and lightness; always the same ones."""
    colours = []
    for index in range(count):
        lightness = 0.35 + 0.3 * ((index * 7) % 5) / 4
        red, green, blue = colorsys.hls_to_rgb((index * 0.618034) % 1.0, lightness, 0.75)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def class_channels(label: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Stored ids to class channels: `[H, W]` of any integer type to int32 `[H, W]` in `0 .. class_channels - 1`.

    The don't-care id becomes the last channel. Raises `InputError` for any other id beyond the classes.
    """
    count = len(space.classes)
    known = label < count
    if label.dtype.kind == "i":
        known &= label >= 0
    if known.all():
        return label.astype(np.int32)
    other = np.unique(label[~known])
    wrong = [int(value) for value in other if value != space.dont_care]
    if wrong:
        listed = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        dont_care = "there is no don't-care id" if space.dont_care is None else f"don't-care is {space.dont_care}"
        hint = "give prepare folder --map-ids, which says what each id becomes"
        if wrong == [255] and count == 2:
            hint = "for masks of 0 and 255, give prepare folder --map-ids with the lines '0 0' and '255 1'"
        raise InputError(f"label map has id {listed}, but the classes are 0 to {count - 1} and {dont_care}; {hint}")
    return np.where(known, label, count).astype(np.int32)


def instance_edges(instance: np.ndarray) -> np.ndarray:
    """Bool `[H, W]`: pixels any of whose four neighbours belongs to another instance (as pix2pixHD and SPADE do)."""
    edges = np.zeros(instance.shape, bool)
    across = instance[:, 1:] != instance[:, :-1]
    down = instance[1:, :] != instance[:-1, :]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:, :] |= down
    edges[:-1, :] |= down
    return edges


def encode(label: np.ndarray, instance: np.ndarray | None, space: LabelSpace, *, regions: bool = False) -> np.ndarray:
    """A label map (and instance map) `[H, W]` to codes, int32 `[H, W]`.

    With `regions` the number of each pixel's region goes in above the codes, for `split_codes`: regions are the pairs
    of a class and an instance that occur, in their order.

    >>> space = LabelSpace(classes=("sky", "sea"), dont_care=255)
    >>> encode(np.array([[0, 1, 255]], np.uint8), None, space).tolist()
    [[1, 3, 5]]

    Raises `InputError` for ids beyond the classes, a missing instance map where the label space needs
    one, or regions do, and an instance map of another size.
    """
    channels = class_channels(label, space)
    codes = 1 + 2 * channels
    if not space.instance_edges and not regions:
        return codes
    if instance is None:
        what = "label space uses instance edges" if space.instance_edges else "generator has a style for each instance"
        raise InputError(f"the {what}, but the record has no instance map")
    if instance.shape != label.shape:
        raise InputError(f"instance map is {_size(instance)} but its label map is {_size(label)}")
    if space.instance_edges:
        codes += instance_edges(instance)
    if regions:
        pairs = channels.astype(np.int64) << 32 | instance.astype(np.uint32)
        _, numbers = np.unique(pairs, return_inverse=True)
        codes += (space.codes - 1) * numbers.reshape(codes.shape).astype(np.int32)
    return codes


Codes = TypeVar("Codes", "np.ndarray", "torch.Tensor")


def split_codes(codes: Codes, space: LabelSpace) -> tuple[Codes, Codes]:
    """What `encode` with `regions` put together: the codes, and the number of the region of each pixel from 0 on.

    >>> space = LabelSpace(classes=("sky", "sea"))
    >>> label, instance = np.array([[0, 1, 1]], np.uint8), np.array([[0, 7, 9]], np.uint8)
    >>> [part.tolist() for part in split_codes(encode(label, instance, space, regions=True), space)]
    [[[1, 3, 3]], [[0, 1, 2]]]
    """
    regions = (codes.clip(min=1) - 1) // (space.codes - 1)
    return codes - regions * (space.codes - 1), regions


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


def one_hot(codes: torch.Tensor, space: LabelSpace, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Codes `[N, H, W]` to the semantic input of the paper, float `[N, channels, H, W]`: classes, then the edge map."""
    import torch

    dtype = dtype or torch.get_default_dtype()
    planes = torch.zeros(codes.shape[0], space.channels, *codes.shape[1:], dtype=dtype, device=codes.device)
    code = codes.long() - 1
    planes.scatter_(1, (code // 2).unsqueeze(1), 1.0)
    if space.instance_edges:
        planes[:, -1] = (code % 2).to(dtype)
    return planes


def colourise(label: np.ndarray, space: LabelSpace) -> np.ndarray:
    """A label map of stored ids `[H, W]` to its picture, uint8 `[H, W, 3]`; `InputError` for ids beyond the classes."""
    return space.colour_table()[class_channels(label, space)]
