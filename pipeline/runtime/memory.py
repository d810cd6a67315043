"""How the process's memory allocator treats what is freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the allocator keep freed memory for the next tensor of that size; whether the system has such a setting.

    By default glibc hands every block of 32 MiB or more back to the kernel when it is freed, and the next pass pays for
    fresh, zeroed pages: 20,000 page faults for one 256x256 picture. For processes that run networks over and over.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
