"""Memory that is freed is the system's again."""

import subprocess
import sys

import pytest

from services.runtime.memory import resident_bytes

#: Once a large block was freed, glibc by itself takes others from where small ones are, of which the last keeps all.
_GROWING = """
from services.runtime.memory import keep_little_free_memory, resident_bytes

keep_little_free_memory()
before = resident_bytes()
del bytearray(24 << 20)[:]
blocks = [bytes([1]) * (size << 20) for size in (2, 4, 8, 16) * 4]
last = bytes([1]) * (1 << 16)
taken = resident_bytes() - before
del blocks
print(taken >> 20, (resident_bytes() - before) >> 20)
"""


@pytest.mark.skipif(not resident_bytes(), reason="only Linux tells what a process has")
def test_large_blocks_are_given_back_as_soon_as_they_are_freed() -> None:
    told = subprocess.run([sys.executable, "-c", _GROWING], check=True, capture_output=True, text=True)
    taken, kept = map(int, told.stdout.split())
    assert taken >= 120
    assert kept <= 20
