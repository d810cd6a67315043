"""Whether progress is shown. Apart from the bars, whose library takes a quarter of the time in which help answers."""

from __future__ import annotations

_shown = True


def show_progress(shown: bool) -> None:
    """Whether bars of this process are shown from now on."""
    global _shown
    _shown = shown


def is_progress_shown() -> bool:
    """What `show_progress` was last told; at first, yes."""
    return _shown
