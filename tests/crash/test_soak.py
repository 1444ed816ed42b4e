"""A mixed load for a while: the store works through it, and what the soak calls growing is that.

`ORRERY_SOAK_SECONDS=600` has it run as long; from some minutes on nothing may grow.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.crash.soak import Window, growing, slope, soak, table

SECONDS = float(os.environ.get("ORRERY_SOAK_SECONDS", "10"))
#: Before so long a store still fills its caches.
LONG = 240
MIB = 1024 * 1024


@pytest.mark.timeout(60 + 2 * SECONDS)
def test_a_store_under_mixed_load_answers_everything_and_does_not_grow(tmp_path: Path) -> None:
    windows = soak(tmp_path, SECONDS, max(4, int(SECONDS / 15)))

    sys.stdout.write(table(windows) + "\n")
    kinds = {kind for window in windows for kind in window.latencies}
    assert kinds == {"insert", "update", "delete", "by_id", "by_filter", "by_vector", "in_order"}
    if SECONDS >= LONG:
        assert growing(windows) == []


def windows_of(resident: list[int]) -> list[Window]:
    """Return windows in which nothing but memory changes."""
    return [Window(at, size * MIB, {"log": 4 * MIB}, 100, {"insert": [0.001]}) for at, size in enumerate(resident)]


def test_a_slope_is_not_moved_by_outliers() -> None:
    assert slope([5, 5, 90, 5, 5, 5]) == 0
    assert slope([1, 3, 5, 7]) == 2


def test_memory_that_settles_is_flat() -> None:
    assert growing(windows_of([100, 150, 190, 200, 201, 199, 230, 200])) == []


def test_memory_that_goes_on_growing_is_told() -> None:
    (line,) = growing(windows_of([100, 110, 120, 130, 140, 150, 160, 170]))
    assert line.startswith("resident memory grew by")
