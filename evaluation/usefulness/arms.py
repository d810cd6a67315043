"""What is compared: segmenters trained on real photographs, on synthetic pictures, and on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import InputError


@dataclass(frozen=True)
class SyntheticSet:
    """Pictures that `synthesize` or `filter` wrote."""

    path: str
    """Or URI."""
    label_column: str = "label"
    """`label_trusted` for what `filter --regions` wrote."""


@dataclass(frozen=True)
class Arm:
    """One mixture of training data; each is trained on with every seed."""

    real: int
    """Photographs."""
    fraction: Fraction
    """Of all real ones."""
    synthetic: str | None = None
    """The name of a synthetic set."""

    @property
    def name(self) -> str:
        """As in tables: `real 1/4 + filtered`."""
        real = "" if not self.real else "real" if self.fraction == 1 else f"real {self.fraction}"
        return " + ".join(part for part in (real, self.synthetic) if part)


def list_arms(
    photographs: int,
    synthetic: Sequence[str],
    *,
    fractions: Sequence[Fraction],
    mixed_at: Sequence[Fraction],
    mixed_only: bool = False,
) -> list[Arm]:
    """Real subsets (the curve), each synthetic set alone (unless `mixed_only`) and beside the `mixed_at` subsets.

    Raises `InputError` where a fraction is not one or leaves no photograph, and where no arm has synthetic pictures.
    """
    if mixed_only and not mixed_at:
        raise InputError("no segmenter would see synthetic pictures; give fractions to mix at, or leave out mixed_only")
    for fraction in (*fractions, *mixed_at):
        if not 0 < fraction <= 1:
            raise InputError(f"{fraction} is no fraction of the real photographs; give numbers above 0, up to 1")
    counts = {fraction: round(photographs * fraction) for fraction in {*fractions, *mixed_at, Fraction(1)}}
    for fraction, count in counts.items():
        if count < 2:
            raise InputError(f"{fraction} of {photographs} real photographs is {count}; take larger fractions")
    order = sorted(counts)
    arms = [Arm(counts[fraction], fraction) for fraction in order]
    if not mixed_only:
        arms += [Arm(0, Fraction(0), name) for name in synthetic]
    return [*arms, *(Arm(counts[part], part, name) for name in synthetic for part in order if part in mixed_at)]


def parse_fractions(text: str) -> tuple[Fraction, ...]:
    """Fractions from a text with commas between them; `InputError` where it is none.

    >>> parse_fractions("1/8, 0.5,1")
    (Fraction(1, 8), Fraction(1, 2), Fraction(1, 1))
    """
    try:
        return tuple(_parse_fraction(part.strip()) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"'{text}' is no list of fractions, such as 1/8,1/4,1/2,1") from None


def _parse_fraction(text: str) -> Fraction:
    if "/" not in text and not 0 < float(text) <= 1:  # `Fraction` would write out 1e999999999
        raise ValueError(text)
    return Fraction(text)


def parse_sets(texts: Sequence[str], label_columns: Sequence[str]) -> dict[str, SyntheticSet]:
    """`NAME=PATH`, or `PATH` for a single set named `synthetic`; and `NAME=COLUMN` of their label columns.

    Raises `InputError` for texts of another form, a name that comes twice, and columns of unknown sets.

    >>> parse_sets(["images/"], [])
    {'synthetic': SyntheticSet(path='images/', label_column='label')}
    >>> parse_sets(["s3://maps/images?scheme=http"], [])["synthetic"].path
    's3://maps/images?scheme=http'
    """
    paths: dict[str, str] = {}
    for text in texts:
        name, path = _named(text, "--synthetic") if has_name(text) or len(texts) > 1 else ("synthetic", text)
        if name in paths:
            raise InputError(f"--synthetic {text}: there are two sets of the name '{name}'")
        paths[name] = path
    columns = dict(_named(text, "--label-column") for text in label_columns)
    if unknown := columns.keys() - paths.keys():
        raise InputError(f"--label-column of '{sorted(unknown)[0]}', but the synthetic sets are {', '.join(paths)}")
    return {name: SyntheticSet(path, columns.get(name, "label")) for name, path in paths.items()}


def has_name(text: str) -> bool:
    """Whether a text is `NAME=PATH` and not a path alone; a URI has such signs of its own."""
    return "=" in text.partition("://")[0]


def _named(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"{option} {text}: write NAME=VALUE, such as filtered={value or 'images-filtered/'}")
    return name, value


def check_names(sets: Mapping[str, SyntheticSet]) -> None:
    """Refuse (`InputError`) names that would be taken for real photographs."""
    for name in sets:
        if name == "real" or name.startswith("real "):
            raise InputError(f"a synthetic set cannot be called '{name}'; real photographs are")
