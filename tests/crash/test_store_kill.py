"""The store is killed at random moments while clients write: nothing acknowledged is lost, nothing half applied."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.model import Model, Reader, Writer, running
from tests.crash.process import StoreProcess

ROUNDS = 3
WRITERS = 4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    yield store
    store.stop()


def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_applied(store: StoreProcess) -> None:
    model = Model()
    model.create(store.rpc)
    kill_in_rounds(store, model, ROUNDS)
    model.check_indexes(store.rpc, model.check(store.rpc))
    assert store.stop() == 0


def kill_in_rounds(store: StoreProcess, model: Model, rounds: int) -> None:
    """Have writers and readers at work, kill the store at a random moment, start and check it; so many times."""
    for number in range(1, rounds + 1):
        stop = threading.Event()
        writers = [Writer(store.rpc, model, number * 100 + writer, stop) for writer in range(WRITERS)]
        with running(*writers, Reader(store.rpc, model, number, stop)):
            model.wait_for_writes(random.randint(40, 300))
            store.kill()
        store.start()
        model.check(store.rpc)
