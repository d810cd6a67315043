"""A blind test: which of two sets of pictures people prefer, on a page of pairs, and what their votes say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.report import TEMPLATES
from evaluation.scoring.label_maps import likeness
from evaluation.scoring.picture_sets import Key, PictureSet, Selection
from pipeline.data.storage import base_name
from pipeline.errors import InputError
from pipeline.labels import class_channels
from pipeline.pages.render import write_page as write_page_file

QUESTION = "Which picture looks more like a photograph?"
Ties = Literal["excluded", "half"]
"""Ties are left out of a share, or count half for each set."""


class Vote(BaseModel):
    """One pair's."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str
    sample: int
    choice: Literal["left", "right", "tie"]
    bad: tuple[Literal["left", "right"], ...] = ()
    """Pictures that the voter marked as bad, chosen or not."""


class Votes(BaseModel):
    """What the page saves: one voter's."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Literal[1] = Field(alias="schema")
    page: str
    """A hash of the sets' names, the seed and the pairs."""
    first: str
    second: str
    seed: int
    votes: tuple[Vote, ...]


@dataclass(frozen=True)
class Preference:
    """What votes say about two sets of pictures."""

    first: str
    second: str
    first_wins: int
    second_wins: int
    ties: int
    left: int
    """Of the decided votes, those for the picture on the left, wherever its set was: about half, if voters looked."""
    first_bad: int = 0
    """Pictures of the first set that voters marked as bad, counted for each voter."""
    second_bad: int = 0

    @property
    def votes(self) -> int:
        """All of them, ties included."""
        return self.first_wins + self.second_wins + self.ties

    def share(self, ties: Ties = "excluded") -> tuple[float, tuple[float, float]] | None:
        """The share of votes for the first set, 0 to 1, and its 95% Wilson interval; None where no vote counts."""
        wins: float = self.first_wins
        count = self.first_wins + self.second_wins
        if ties == "half":
            wins, count = wins + self.ties / 2, self.votes
        return (wins / count, wilson_interval(wins, count)) if count else None

    def summary(self, ties: Ties = "excluded") -> str:
        """In words."""
        found = self.share(ties)
        counted = "ties count half for each" if ties == "half" else "ties left out"
        tied = "1 tie" if self.ties == 1 else f"{self.ties} ties"
        numbers = f"{self.first_wins} for {self.first}, {self.second_wins} for {self.second}, {tied}"
        if found is None:
            return f"No vote decides ({numbers}).{self._bad}"
        share, (low, high) = found
        decided = self.first_wins + self.second_wins
        left = f" The left picture was chosen in {self.left} of {decided} decided votes." if decided else ""
        return (
            f"{self.first} is preferred to {self.second} in {share:.1%} of the votes "
            f"({100 * low:.1f} to {100 * high:.1f}%, 95% Wilson, {counted}): {numbers}.{left}{self._bad}"
        )

    @property
    def _bad(self) -> str:
        if not self.first_bad + self.second_bad:
            return ""
        return f" Marked as bad: {self.first_bad} pictures of {self.first}, {self.second_bad} of {self.second}."


def wilson_interval(wins: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share `wins / count` (Wilson 1927), within 0 to 1.

    >>> [round(end, 4) for end in wilson_interval(8, 10)], [round(end, 4) for end in wilson_interval(0, 10)]
    ([0.4902, 0.9433], [0.0, 0.2775])
    """
    z = 1.959963984540054
    share = wins / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - reach), min(1.0, middle + reach)


def write_page(
    first: str | Path, second: str | Path, out: Path, *, pairs: int = 60, seed: int = 0, question: str = QUESTION
) -> int:
    """Write a page that shows pairs of pictures of the same label maps, and keeps votes; how many pairs it has.

    `first` and `second` are what `synthesize` wrote, or data sets with photographs. At most `pairs` pictures that both
    have (equal id and sample) are drawn by `seed`, which also decides what stands on the left; the page does not say
    from which set a picture is, nor does its source. One file, without references to any other.

    Raises `InputError` where a set is missing or unreadable, no picture is in both, label maps of one id differ, or
    `out` is no HTML file.
    """
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise InputError(f"{out} is no HTML file; name one, such as prefer.html")
    sets = [PictureSet.open(path, what="the set of pictures") for path in (first, second)]
    names = set_names(first, second)
    shared = set(sets[0].keys) & set(sets[1].keys)
    if not shared:
        raise InputError(
            f"{first} and {second} have no picture of the same id and sample; synthesize the same label maps"
        )
    keys = sorted(shared, key=lambda key: (_draw(seed, "order", key), key))[:pairs]
    both = [pictures.pictures(keys, Selection()) for pictures in sets]
    shown = []
    colours = sets[0].space.colour_table()
    for key, one, other in zip(keys, *both, strict=True):
        if likeness(one.label, other.label, sets[0].space.dont_care) == "other":
            raise InputError(f"'{key[0]}' is another label map in {second} than in {first}; give sets of the same maps")
        left, right = (one, other) if first_is_left(seed, key) else (other, one)
        label = colours[class_channels(one.label, sets[0].space)]
        shown.append({"id": key[0], "sample": key[1], "left": left.image, "right": right.image, "map": label})
    page: dict[str, str | int] = {"schema": 1, "first": names[0], "second": names[1], "seed": seed}
    page["page"] = hashlib.sha256(json.dumps([page, keys]).encode()).hexdigest()[:16]
    write_page_file(out, TEMPLATES / "prefer.html.j2", page=page, pairs=shown, question=question)
    return len(shown)


def set_names(first: str | Path, second: str | Path) -> tuple[str, str]:
    """What the page, and so its votes, call two sets: their last names, or the whole of them where those are equal."""
    names = base_name(first), base_name(second)
    return names if names[0] != names[1] else (str(first), str(second))


def first_is_left(seed: int, key: Key) -> bool:
    """Whether the first set's picture of a pair stands on the left; by chance, but always the same."""
    return _draw(seed, "side", key) % 2 == 0


def count_votes(files: Sequence[Path]) -> Preference:
    """What the files say that the page saved, of one voter each. Raises `InputError` as `read_votes`."""
    read = read_votes(files)
    first_wins, decided, ties, left = 0, 0, 0, 0
    bad = [0, 0]
    for voter in read:
        for vote in voter.votes:
            first_left = first_is_left(voter.seed, (vote.id, vote.sample))
            for side in set(vote.bad):
                bad[0 if (side == "left") == first_left else 1] += 1
            if vote.choice == "tie":
                ties += 1
                continue
            decided += 1
            left += vote.choice == "left"
            first_wins += (vote.choice == "left") == first_left
    return Preference(
        read[0].first,
        read[0].second,
        first_wins=first_wins,
        second_wins=decided - first_wins,
        ties=ties,
        left=left,
        first_bad=bad[0],
        second_bad=bad[1],
    )


def read_votes(files: Sequence[Path]) -> list[Votes]:
    """Read the files that the page saved, of one voter each.

    Raises `InputError` where a file is missing or none of the page's, files are of different pages, or there is none.
    """
    if not files:
        raise InputError("give a file of votes, which the page saves")
    read = [_read(Path(path)) for path in files]
    for path, other in zip(files[1:], read[1:], strict=True):
        if other.page != read[0].page:
            raise InputError(f"{path} has the votes of another page than {files[0]}; count them by themselves")
    return read


def _read(path: Path) -> Votes:
    try:
        return Votes.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise InputError(f"{path} is no file of votes; save them again from the page that `prefer` wrote") from None


def _draw(seed: int, what: str, key: Key) -> int:
    """A number of 64 bits, of which nothing in the page tells."""
    digest = hashlib.blake2b(f"{seed} {what} {key[1]} {key[0]}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
