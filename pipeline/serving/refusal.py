"""An answer that is no success, in one sentence."""

from __future__ import annotations


class Refusal(Exception):
    """What a client is told: a status of 4xx or 5xx and one sentence, as `InputError` is told as 400."""

    def __init__(self, status: int, sentence: str, *, retry_after: int | None = None, reason: str = "") -> None:
        """`retry_after` seconds the client may come again; `reason` is a word for the metrics."""
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after, self.reason = status, sentence, retry_after, reason
