"""A disk with faults: `faults.c` built, preloaded into a store, and told what to do while it runs."""

import errno
import mmap
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("faults.c")
_NAMES = (
    "files",
    "write_errno",
    "write_bytes",
    "short_writes",
    "sync_errno",
    "sync_failures",
    "sync_micros",
    "read_errno",
    "change_errno",
    "opened",
    "written",
    "synced",
    "failed",
)
_WISHES = _NAMES[:9]
WAL, DATABASE, MEMORY, OTHER = 1, 2, 4, 8
ALL = WAL | DATABASE | MEMORY | OTHER


def build(folder: Path) -> Path:
    """Build the library in a folder; skip the test where there is no compiler that can."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("faults of the disk need Linux and a C compiler (cc, gcc or clang)")
    library = folder / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{compiler} cannot build faults.c (are libc's headers there?): {done.stderr.strip()[:200]}")
    return library


class FaultyDisk:
    """The disk below a folder, for the processes that get `environment`."""

    def __init__(self, library: Path, below: Path) -> None:
        below.mkdir(parents=True, exist_ok=True)
        self.below = below
        self.durable = below.with_name("durable")
        self.durable.mkdir()
        page = below.parent / "faults.page"
        page.write_bytes(b"\0" * mmap.PAGESIZE)
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTS_BELOW": str(below),
            "FAULTS_CONTROL": str(page),
            "FAULTS_DURABLE": str(self.durable),
        }

    def cut_power(self) -> None:
        """Leave of the files what was synced. For when no process has them open."""
        shutil.rmtree(self.below)
        shutil.copytree(self.durable, self.below)

    def __getattr__(self, name: str) -> int:
        """Return a counter or a wish."""
        if name not in _NAMES:
            raise AttributeError(name)
        (value,) = struct.unpack_from("q", self._page, 8 * _NAMES.index(name))
        return int(value)

    def fail(self, files: int = ALL, **wishes: int) -> None:
        """Have operations on some files fail from now on, and all others work."""
        self.heal()
        wishes = {"sync_failures": -1, **wishes, "files": files}
        for name in _WISHES:
            # `files` comes first, and says what the others are about: it is set when they are.
            if name != "files":
                self._set(name, wishes.get(name, 0))
        self._set("files", files)

    def heal(self) -> None:
        """Have everything work."""
        self._set("files", 0)
        for name in _WISHES:
            self._set(name, 0)

    def full(self, bytes_left: int = 0, files: int = ALL) -> None:
        """Have a full disk, after some more bytes."""
        self.fail(files, write_errno=errno.ENOSPC, write_bytes=bytes_left)

    def read_only(self) -> None:
        """Have a file system that can only be read."""
        self.fail(ALL, write_errno=errno.EROFS, change_errno=errno.EROFS)

    def wait_until_failed(self, seconds: float = 20) -> None:
        """Wait until something has failed from now on."""
        seen, end = self.failed, time.monotonic() + seconds
        while self.failed == seen:
            assert time.monotonic() < end, "nothing has failed"
            time.sleep(0.005)

    def _set(self, name: str, value: int) -> None:
        struct.pack_into("q", self._page, 8 * _NAMES.index(name), value)
