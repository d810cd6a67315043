"""What the service takes at most, so that no client can fill its memory or hold it up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one process; a request beyond them is refused with a sentence."""

    max_body_bytes: int = 32 << 20
    """Of one request."""
    max_held_bytes: int = 128 << 20
    """Of the bodies of all requests that are being answered."""
    max_pixels: int = 1 << 22
    """Of a label map, an instance map or a photograph, before it is resized: 2048x2048. Looked at before decoding."""
    max_values: int = 1 << 19
    """Numbers, mostly, in the JSON of a request: 262144 runs. Counted before they are read, as each costs far more
    memory than its bytes."""
    max_samples: int = 64
    """Of a label map: sample numbers are below this."""
    max_requests: int = 256
    """That are being answered; others get 503."""
    max_queue: int = 64
    """Pictures that wait for the generator; others get 503."""
    max_group: int = 16
    """Pictures of one label map that are synthesized together, before the next label map has its turn."""
    answer_seconds: float = 60.0
    """From the first byte of a request to the last one of its answer."""
    head_seconds: float = 10.0
    """In which a client that connected has to send the head of its request."""
    body_seconds: float = 30.0
    """In which a client has to send its body."""
    max_saved: int = 10_000
    """Styles, and marks, that are kept for a checkpoint."""
