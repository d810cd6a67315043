"""The memory bank of a generator that pastes (SIMS): which one, whether it fits, and the canvases of records."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.config import Recipe
from pipeline.data.storage import absolute, is_uri, local_path
from pipeline.errors import InputError
from pipeline.networks.baselines.sims_synthesis import SIMSSynthesis
from pipeline.networks.generators import AnyGenerator
from pipeline.runtime.seeding import record_seed
from pipeline.segments.bank import MemoryBank
from pipeline.segments.paste import OwnPictures, Pasted, SegmentPaster
from pipeline.segments.placing import SegmentPlacing

NOTICE = (
    "These pictures will hold verbatim pieces of the photographs in the memory bank: their licence and privacy apply. "
    "The column sources names the record of each piece."
)


def find_bank(recipe: Recipe, bank: str | None) -> str | None:
    """Where the memory bank is that a job needs, absolute: `bank` if given, else the one of the recipe.

    None for generators that need none; `InputError` where one is given for these, and where there is none.
    """
    settings = recipe.generator
    if settings.kind != "sims":
        if bank is not None:
            raise InputError(
                f"the checkpoint's generator is of kind {settings.kind}, which pastes nothing; leave out --bank"
            )
        return None
    assert settings.bank is not None  # The recipe has seen to it.
    found = absolute(settings.bank if bank is None else bank)
    if not is_uri(found) and not local_path(found).is_file():
        hint = (
            "give --bank, a file that `spadework prepare bank` makes" if bank is None else "make it with prepare bank"
        )
        wrong = "is no file" if local_path(found).exists() else "is not there"
        raise InputError(f"the checkpoint pastes pieces of a memory bank, and {found} {wrong}; {hint}")
    return found


def bank_digest(bank: str, recipe: Recipe) -> str:
    """A hash of a memory bank; `InputError` where it is none, or of other classes than the recipe's."""
    opened = MemoryBank(bank)
    opened.check_space(recipe.labels)
    return opened.digest


def open_paster(
    recipe: Recipe, generator: AnyGenerator, bank: str | Path | None, own_pictures: OwnPictures = "refuse"
) -> SegmentPaster | None:
    """What makes the canvases of a recipe's generator, None for those that need none; raises `InputError` as
    `find_bank`, and for a bank that does not fit."""
    found = find_bank(recipe, None if bank is None else str(bank))
    settings = recipe.generator
    if found is None or settings.kind != "sims":
        return None
    assert isinstance(generator, SIMSSynthesis)
    return SegmentPaster(
        MemoryBank(found),
        recipe.labels,
        order=settings.order,
        paste=settings.paste,
        own_pictures=own_pictures,
        placing=SegmentPlacing(generator),
    )


def paste_record(
    paster: SegmentPaster, label: np.ndarray, instance: np.ndarray | None, *, record: str, seed: int
) -> Pasted:
    """The canvas of a record's label map `[H, W]`, drawn from the seed and its id; `InputError` as `paste` raises."""
    return paster.paste(label, instance, record=record, rng=np.random.default_rng(record_seed(seed, record, 0)))
