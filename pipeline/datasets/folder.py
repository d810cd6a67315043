"""Any folder of label maps, with folders of photographs and instance maps whose file names fit, or COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.data.images import Palette, Resample, decode_label
from pipeline.datasets import coco
from pipeline.datasets.convert import Skipped, Summary
from pipeline.datasets.endings import find_endings, strip
from pipeline.datasets.files import PICTURE_SUFFIXES, Source, convert_files, list_pictures, pair, relabelled
from pipeline.datasets.id_maps import NAMED_ID_MAPS, read_id_map
from pipeline.datasets.palette_file import read_palette
from pipeline.datasets.splits import divide
from pipeline.datasets.starter import StarterRecipe
from pipeline.datasets.text_file import read_lines
from pipeline.errors import InputError
from pipeline.labels import LabelSpace, class_channels

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".webp")
"""Of pictures that can be no label maps."""


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of the ids; empty lines and lines that start with # do not count.

    Raises `InputError` where the file cannot be read.
    """
    return tuple(line for _, line in read_lines(path, "class list"))


def prepare(
    labels: Path,
    out: Path,
    *,
    images: Path | None = None,
    instances: Path | None = None,
    connected_instances: str | None = None,
    classes: Path | None = None,
    palette: Path | None = None,
    map_ids: str | Path | None = None,
    dont_care: int | None = None,
    label_suffix: str | None = None,
    image_suffix: str | None = None,
    instance_suffix: str | None = None,
    validation: float = 0.1,
    split: Path | None = None,
    group_by: str | None = None,
    recipe: Path | None = None,
    size: tuple[int, int] | None = None,
    resample: Resample = "lanczos",
    workers: int | None = None,
    skip_bad: bool = False,
) -> Summary:
    """Convert folders of files that belong together by name, or a COCO annotation file; returns what was written.

    `size` is height and width, to which photographs are resized by `resample`.

    Names are compared without their extension and what the names of their kind end in (`_gtFine_labelIds`), which is
    found where one way alone fits (`endings.py`). The class names come from the file `classes` or `palette`; `map_ids`
    is a file for `read_id_map`, or the name of one in `NAMED_ID_MAPS`, which has its classes. `connected_instances`
    names classes, with commas between, whose connected regions become instances. A share `validation` of the records
    goes to validation.parquet (0: none, 1: all), the rest to train.parquet; `split` and `group_by` are those of
    `divide`. `recipe` is a file to which a starter recipe is written.

    Where `labels` is a JSON file, it is COCO's, of instances or panoptic (then `instances` is the folder of its PNGs).

    Raises `InputError` where the class names are unknown or differ, no label map is found, names fit in several ways,
    and as `convert_files`.
    """
    starter = None if recipe is None else StarterRecipe.open(recipe, has_images=images is not None)
    divided: dict[str, Any] = {"validation": validation, "split": split, "group_by": group_by}
    written: dict[str, Any] = {"size": size, "resample": resample, "workers": workers, "skip_bad": skip_bad}
    suffixes = {"label_suffix": label_suffix, "image_suffix": image_suffix, "instance_suffix": instance_suffix}
    named: dict[str, Any] = {"classes": classes, "palette": palette, "map_ids": map_ids}
    if labels.is_file():
        _refuse_with_coco(labels, **named, connected_instances=connected_instances, **suffixes)
        summary = coco.prepare(
            labels, out, images=images, panoptic=instances, dont_care=dont_care, **divided, **written
        )
    else:
        if instances is not None and connected_instances is not None:
            raise InputError("give one of --instances and --connected-instances")
        meaning = _Meaning.find(**named, dont_care=dont_care, things=connected_instances)
        groups = _match(labels, images, instances, suffixes, meaning)
        splits = divide(groups.sources, **divided, endings=groups.endings)
        splits[0].skipped.extend(groups.skipped)
        space = meaning.space.model_copy(update={"instance_edges": bool(instances or meaning.things)})
        options: dict[str, Any] = {"palette": meaning.palette, "relabel": meaning.relabel, "things": meaning.things}
        summary = convert_files(out, "folder", space, splits, **options, **written)
        summary.notes.extend(groups.notes)
    if starter is not None:
        summary.notes.append(starter.write(summary))
    return summary


def _refuse_with_coco(labels: Path, **options: object) -> None:
    """Annotation files have what these options are for."""
    if labels.suffix.lower() != ".json":
        raise InputError(f"{labels} is a file; give the folder of label maps, or a COCO annotation file (.json)")
    for name, value in options.items():
        if value is not None:
            raise InputError(f"a COCO annotation file says itself what --{name.replace('_', '-')} is for; leave it out")


@dataclass(frozen=True)
class _Meaning:
    """What the values of label files stand for."""

    space: LabelSpace
    palette: Palette | None
    relabel: Mapping[int, int] | None
    things: Sequence[int]
    """Classes whose connected regions become instances."""

    @classmethod
    def find(
        cls,
        *,
        classes: Path | None,
        palette: Path | None,
        map_ids: str | Path | None,
        dont_care: int | None,
        things: str | None,
    ) -> _Meaning:
        """That of the options."""
        colours = read_palette(palette) if palette else None
        named = NAMED_ID_MAPS.get(str(map_ids)) if map_ids else None
        names = read_classes(classes) if classes else colours.classes if colours else named.classes if named else None
        if names is None:
            raise InputError("the class names are unknown; give --classes with a name a line, or --palette")
        if classes and colours and names != colours.classes:
            raise InputError(
                f"{classes} and {palette} name different classes; give one of them, or the same names in order"
            )
        if named and names != named.classes:
            raise InputError(f"--map-ids {map_ids} has classes of its own; leave out --classes and --palette")
        if dont_care is None:
            dont_care = colours.dont_care if colours else named.dont_care if named else None
        shown = colours.colours if colours else named.colours if named else ()
        try:
            space = LabelSpace(classes=names, palette=shown, dont_care=dont_care)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"{classes or palette or map_ids}: {reason}") from None
        relabel = named.ids if named else read_id_map(Path(map_ids)) if map_ids else None
        return cls(space, colours.ids if colours else None, relabel, _things(things, space))

    def fits(self, path: Path) -> bool:
        """Whether a file can be read as a label map of these classes."""
        try:
            label = decode_label(path.read_bytes(), self.palette)
            class_channels(label if self.relabel is None else relabelled(label, self.relabel), self.space)
        except (InputError, OSError):
            return False
        return True


def _things(names: str | None, space: LabelSpace) -> list[int]:
    """Positions of the classes that are named with commas between."""
    if names is None:
        return []
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in space.classes]:
        raise InputError(f"--connected-instances names '{unknown[0]}', and the classes are {', '.join(space.classes)}")
    if not wanted:
        raise InputError("--connected-instances names no class; write such as car,person")
    return sorted({space.classes.index(name) for name in wanted})


@dataclass(frozen=True)
class _Groups:
    """Files that belong together."""

    sources: Sequence[Source]
    skipped: Sequence[Skipped]
    endings: Sequence[str]
    """What names may have behind a record's."""
    notes: Sequence[str]
    """What was found out, a sentence each."""


def _match(
    labels: Path,
    images: Path | None,
    instances: Path | None,
    suffixes: Mapping[str, str | None],
    meaning: _Meaning,
) -> _Groups:
    """The files of each record, by their names."""
    maps, photographs = _list(labels, images, suffixes["label_suffix"], suffixes["image_suffix"])
    numbered = list_pictures(instances, suffix=suffixes["instance_suffix"] or "") if instances else None
    endings = find_endings(
        maps,
        photographs,
        numbered,
        fits=meaning.fits,
        given=[option.removesuffix("_suffix") for option, suffix in suffixes.items() if suffix is not None],
    )
    stripped = strip(maps, endings.label)
    taken = set(stripped.values())
    others = [
        None if files is None else strip({name: path for name, path in files.items() if path not in taken}, ending)
        for files, ending in ((photographs, endings.image), (numbered, endings.instance))
    ]
    sources, skipped = pair(stripped, *others)
    if not sources:
        lonely = next(files for files in others if files and not files.keys() & stripped.keys())
        raise InputError(
            f"no file of {labels} has a partner of the same name: there is {min(maps)}, and {min(lonely)}; name what "
            "they end in with --label-suffix, --image-suffix and --instance-suffix"
        )
    found = {"label maps": endings.label, "photographs": endings.image, "instance maps": endings.instance}
    told = ", ".join(f"{kind} are *{ending}" for kind, ending in found.items() if ending)
    ends = [ending for ending in (*suffixes.values(), endings.label, endings.image) if ending]
    return _Groups(sources, skipped, ends, [f"By their names {told}."] if told else [])


def _list(
    labels: Path, images: Path | None, label_suffix: str | None, image_suffix: str | None
) -> tuple[dict[str, Path], dict[str, Path] | None]:
    """Label maps and photographs by name; in one folder what is JPEG beside PNGs are the photographs."""
    label, image = label_suffix or "", image_suffix or ""
    if images is None:
        return list_pictures(labels, suffix=label), None
    if _same(images, labels):
        lossless = [suffix for suffix in PICTURE_SUFFIXES if suffix not in LOSSY_SUFFIXES]
        try:
            photographs = list_pictures(images, suffix=image, extensions=LOSSY_SUFFIXES)
        except InputError:  # PNGs alone
            return list_pictures(labels, suffix=label), list_pictures(images, suffix=image)
        return list_pictures(labels, suffix=label, extensions=lossless), photographs
    return list_pictures(labels, suffix=label), list_pictures(images, suffix=image)


def _same(folder: Path | None, labels: Path) -> bool:
    return folder is not None and folder.resolve() == labels.resolve()
