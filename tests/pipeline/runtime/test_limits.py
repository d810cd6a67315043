import pytest

from pipeline.errors import InputError
from pipeline.runtime.limits import check_processes


def test_counts_of_processes() -> None:
    check_processes("--threads", 1)
    check_processes("--threads", 1024)
    check_processes("--workers", 0, least=0)
    for count in (0, 1025, 10**9):
        with pytest.raises(InputError, match=rf"^--threads is {count}; give 1 to 1024$"):
            check_processes("--threads", count)
    with pytest.raises(InputError, match=r"^--workers is -1; give 0 to 1024$"):
        check_processes("--workers", -1, least=0)
