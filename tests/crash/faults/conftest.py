"""A store on a disk with faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faults.disk import FaultyDisk, build
from tests.crash.process import StoreProcess


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of faults, built once."""
    return build(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> FaultyDisk:
    """The disk of the store."""
    return FaultyDisk(library, tmp_path / "data")


@pytest.fixture
def store(disk: FaultyDisk, tmp_path: Path) -> Iterator[StoreProcess]:
    """A store on the disk."""
    store = StoreProcess(tmp_path, disk.environment)
    yield store
    disk.heal()
    store.stop()
