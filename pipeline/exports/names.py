"""File names of exported pictures: the names that records had, wherever a file system can have them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

NAME_LENGTH = 120
"""File names may have 255 bytes; this leaves room for suffixes."""

_PART = re.compile(r'(?!\.\.?$)(?!-)[^\x00-\x1f\x7f<>:"\\|?*/]*[^\x00-\x1f\x7f<>:"\\|?*/. ]')
"""A folder or file on any system: no reserved characters, and neither a dot nor a blank at the end."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(record: str, sample: int, *, several: bool) -> str:
    """A name for a picture without folders: its id where that is safe on every system, else cleaned, with a checksum.

    `several` pictures of a label map are told apart by their sample.

    >>> safe_name("frame_7", 0, several=False), safe_name("frame_7", 2, several=True)
    ('frame_7', 'frame_7-s2')
    >>> safe_name("a/b: c", 0, several=False)
    'a_b_c-212e4b10'
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", record)[:NAME_LENGTH]
    # Names that differ in capitals only are one file on some systems.
    if name != record or name != name.lower() or name.startswith("-"):
        name = f"{name.strip('-')}-{_checksum(record)}"
    return f"{name}-s{sample}" if several else name


_FILE_EXTENSIONS = (".png", ".jpg", ".webp", ".img", ".txt", ".xml")
"""Of the files that exports name after pictures."""


def find_clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names of which one's file could be a folder of the other, on a system that knows no capitals; None: no two.

    >>> find_clash(["a", "b/c", "A.png/x"]), find_clash(["a", "a/x", "a.b/x"])
    (('a', 'A.png/x'), None)
    """
    files = {name.casefold(): name for name in names}
    for folded, name in files.items():
        parts = folded.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            for extension in _FILE_EXTENSIONS:
                if above.endswith(extension) and (other := files.get(above.removesuffix(extension))) is not None:
                    return other, name
    return None


class OriginalNames:
    """File names of pictures: their ids, with folders, so that joins by file name work.

    >>> names = OriginalNames(["bonn/x_19", "Bonn/X_19", "a: b", "bonn/y"], several=False)
    >>> [names.of(record, 0) for record in ("bonn/x_19", "Bonn/X_19", "a: b", "bonn/y")]
    ['bonn/x_19-cd8c8825', 'Bonn/X_19-3abc22a4', 'a_b-75cd1899', 'bonn/y']
    """

    def __init__(self, records: Iterable[str], *, several: bool) -> None:
        self._several = several
        counts = Counter(record.casefold() for record in set(records))
        self._shared = {name for name, count in counts.items() if count > 1}

    def of(self, record: str, sample: int) -> str:
        """The name of a record's picture, without an extension; cleaned, with a checksum, where no file has its id.

        Ids that differ in capitals only, which are one file on some systems, have a checksum too.
        """
        parts = record.split("/")
        if not all(_PART.fullmatch(part) and not _RESERVED.fullmatch(part) for part in parts) or any(
            len(part.encode()) > NAME_LENGTH for part in parts
        ):
            return safe_name(record, sample, several=self._several)
        name = f"{record}-{_checksum(record)}" if record.casefold() in self._shared else record
        return f"{name}-s{sample}" if self._several else name


def _checksum(record: str) -> str:
    return hashlib.sha256(record.encode()).hexdigest()[:8]
