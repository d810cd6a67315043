"""The section `data` of a recipe: where records are, and at which size networks see them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from pipeline.config.settings import Settings

LARGEST_PIXELS = 16 * 2**20
"""Of a picture that is synthesized: beyond, its feature maps take tens of gigabytes."""


def _read_location(value: Any) -> Any:
    """A URI as it is, a local path in its shortest form."""
    if isinstance(value, PurePath):
        return str(value)
    return str(PurePath(value)) if isinstance(value, str) and "://" not in value else value


Location = Annotated[str, BeforeValidator(_read_location)]
"""A local path, or a URI (`s3://`, `gs://`, ...) as `pipeline.data.storage` takes them."""


class Source(Settings):
    """One of several data sets to train on."""

    path: Location
    """As `data.train` takes a single one; also a folder that `synthesize` or `filter` wrote."""
    name: Annotated[str, Field(pattern=r"^[\w.-]*$", max_length=100)] = ""
    """Its own, which several sources need: a record is known by the source's name, its id and its sample."""
    weight: PositiveFloat | None = None
    """Its share of the records that are drawn, relative to the other sources' weights. None for all of them: in
    proportion to their records, so that an epoch has every record once."""
    count: PositiveInt | None = None
    """How many of its records are taken, chosen uniformly by the seed and each record's key, wherever that is stored; a
    larger count takes the same ones and more. None: all."""
    label_column: Annotated[str, Field(min_length=1)] = "label"
    """The column of label maps."""


def _kind_of_data(value: Any) -> str:
    return "sources" if isinstance(value, list | tuple) else "location"


class DataSettings(Settings):
    """Where the records are and the size at which networks see them."""

    train: Annotated[
        Annotated[Location, Tag("location")] | Annotated[tuple[Source, ...], Tag("sources")],
        Discriminator(_kind_of_data),
    ]
    """Parquet file, folder of them or pattern with `*`, local or at a URI, with label maps and photographs (see
    `prepare`); or a list of them, each with `path`, `name` and the other fields of `Source`."""
    validation: Location
    """The same, for samples and scores; never trained on."""
    height: PositiveInt
    """Rows of the pictures that the generator makes."""
    width: PositiveInt
    """Columns of the pictures that the generator makes."""
    preprocess: Literal["fixed", "resize_and_crop", "scale_width", "scale_short_side", "none"] = "fixed"
    """How training records are resized before a random part of `width` x `height` is cut out of them: to that very
    size; to a width of `load_size` with the proportions of the crop (286 for 256x256 in the public training); to a
    width, or a short side, of `load_size` with the record's own proportions; or not at all. Label maps always by
    nearest neighbour."""
    load_size: Annotated[int, Field(gt=0, le=16384)] | None = None
    """What records are resized to before cropping; only where `preprocess` says so."""
    resample: Literal["lanczos", "bicubic"] = "lanczos"
    """How photographs are resized, antialiased either way."""
    flip: bool = True
    """Mirror half of the training pairs."""
    window_mib: PositiveInt = 512
    """Encoded records among which an epoch is shuffled, and of which a worker holds up to three times as much. A larger
    data set is read in such windows, of row groups in random order; a smaller one is shuffled as a whole."""

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.height * self.width > LARGEST_PIXELS:
            raise ValueError(f"{self.width}x{self.height} pictures have more than {LARGEST_PIXELS} pixels; take fewer")
        takes_size = self.preprocess not in ("fixed", "none")
        if takes_size != (self.load_size is not None):
            fix = "give it" if takes_size else "leave it out, or take another preprocess"
            raise ValueError(f"load_size is {self.load_size} with preprocess '{self.preprocess}'; {fix}")
        if self.load_size is not None:
            short = self.preprocess == "scale_short_side"
            least = min(self.height, self.width) if short else self.width
            if self.load_size < least:
                raise ValueError(
                    f"load_size is {self.load_size}, but crops are {self.width}x{self.height}; make it {least} or more"
                )
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("train is an empty list; name a source, or a single file")
        if len(names) > 1 and not all(names):
            raise ValueError("train has several sources, one of them without a name; give each a name of its own")
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"train has two sources named '{repeated}'; give each a name of its own")
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("train has sources with a weight and without; give all of them one, or none")
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """What `train` names, also where it is a single location."""
        return (Source(path=self.train),) if isinstance(self.train, str) else self.train
