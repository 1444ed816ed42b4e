"""How much memory the process has and may have, as the operating system counts it."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Version 1 says "no limit" by a number near the largest of 63 bits.
_NO_LIMIT = 1 << 60
#: Options of glibc's `mallopt`: the size from which on a block is the system's own, and how many places there are that
#: threads take smaller ones from.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
_LARGE_BLOCK, _ARENAS = 1 << 20, 2


def resident_bytes() -> int:
    """Return the memory that the process has; 0 where the system does not tell (it is not Linux)."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except FileNotFoundError:
        return 0


def available_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the machine, or of the container (cgroup version 1 or 2) where that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    return min([machine, *_cgroup_limits(root)])


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Yield the limits of the process's control groups and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            home, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            home, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's, of which only the last part, or nothing, is there.
        folder = home / path.lstrip("/")
        for place in [folder, *folder.parents]:
            if place.is_relative_to(home) and (limit := _number(place / name)) is not None and limit < _NO_LIMIT:
                yield limit


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def keep_little_free_memory() -> None:
    """Have the C library keep less of what is freed for later; where it is another one than glibc, nothing.

    For the start of a process, because it holds for what is allocated from then on.

    By default glibc takes the size of what was freed, up to 32 MB, for what is going to be used again, and keeps it:
    an index that grows by doubling leaves behind half of what it takes. And each thread keeps memory of its own.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _LARGE_BLOCK)
        set_option(_ARENA_MAX, _ARENAS)


def give_back_free_memory() -> None:
    """Have the C library give the system back what has been freed; where it is another one than glibc, nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
