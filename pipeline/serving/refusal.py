"""An answer that is no success, in one sentence."""

from __future__ import annotations

import json


class Refusal(Exception):
    """What a client is told: a status of 4xx or 5xx and one sentence, as `InputError` is told as 400."""

    def __init__(self, status: int, sentence: str, *, retry_after: int | None = None, reason: str = "") -> None:
        """`retry_after` seconds the client may come again; `reason` is a word for the metrics."""
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after, self.reason = status, sentence, retry_after, reason

    @property
    def body(self) -> bytes:
        """What is sent: the sentence as JSON."""
        return json.dumps({"error": self.sentence}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers
