"""The memory budget: what fits, what is reserved, and what the system says there is."""

from pathlib import Path

import pytest

from services.runtime.errors import DataApiError
from services.runtime.memory import available_bytes, resident_bytes
from services.store.memory import MemoryBudget
from services.store.settings import MemorySettings


def test_what_does_not_fit_is_refused_before_it_begins() -> None:
    budget = MemoryBudget(1600, lambda: 1000)

    with pytest.raises(DataApiError, match="memory") as refused, budget.reserve(501):
        raise AssertionError
    assert refused.value.code == "FAILED_WRITE_REQUEST"
    with budget.reserve(400):
        assert budget.used() == 1400
        assert not budget.would_fit(101)
        assert budget.would_fit(100)
    assert budget.used() == 1000


def test_what_is_shared_counts_once() -> None:
    budget = MemoryBudget(1600, lambda: 1000)
    one, other = object(), object()

    with budget.reserve(300, shared=one), budget.reserve(400, shared=one), budget.reserve(100, shared=other):
        assert budget.used() == 1500
        with pytest.raises(DataApiError), budget.reserve(100, shared=other), budget.reserve(1):
            raise AssertionError
    assert budget.used() == 1000


def test_what_was_reserved_counts_until_the_system_counts_it() -> None:
    used = [1000]
    budget = MemoryBudget(1600, lambda: used[0])

    with budget.reserve(400):
        used[0] = 1400
    assert budget.used() == 1400


def test_the_process_has_memory_and_less_than_there_is() -> None:
    assert 1_000_000 < resident_bytes() < available_bytes()
    assert MemoryBudget.of(MemorySettings(share=0.5)).limit == available_bytes() // 2
    assert MemoryBudget.of(MemorySettings(bytes=7)).limit == 7


@pytest.mark.parametrize(
    ("membership", "file", "limit"),
    [
        ("0::/a/b", "sys/fs/cgroup/a/b/memory.max", "1000000"),
        ("0::/a/b", "sys/fs/cgroup/a/memory.max", "1000000"),
        ("0::/", "sys/fs/cgroup/memory.max", "1000000"),
        ("0::/gone/by/namespace", "sys/fs/cgroup/memory.max", "1000000"),
        ("3:cpu:/x\n4:memory:/a", "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000"),
        ("4:hugetlb,memory:/a", "sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000"),
    ],
)
def test_a_container_has_less_than_the_machine(tmp_path: Path, membership: str, file: str, limit: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(membership + "\n")
    machine = available_bytes(tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(limit + "\n")

    assert available_bytes(tmp_path) == 1_000_000
    path.write_text("max\n")
    assert available_bytes(tmp_path) == machine
    path.write_text("9223372036854771712\n")
    assert available_bytes(tmp_path) == machine
