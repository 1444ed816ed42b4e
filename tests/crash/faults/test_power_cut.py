"""Syncs fail and the power is cut: what the kernel took for written and was not is in nobody's file.

The library keeps beside the files what a power cut leaves of them. Bytes whose sync failed are not in it, though the
next sync succeeds.
"""

import errno
import random
import threading
import time

import pytest

from tests.crash.faults.disk import ALL, DATABASE, WAL, FaultyDisk
from tests.crash.faults.test_disk import insert, seen, until_accepted
from tests.crash.model import Model, Reader, Writer, running
from tests.crash.process import StoreProcess

ROUNDS = 6
WRITERS = 4


def test_a_power_cut_leaves_what_was_acknowledged_and_nothing_else(store: StoreProcess, disk: FaultyDisk) -> None:
    model = Model()
    model.create(store.rpc)
    assert insert(store, model, 1) is None
    disk.fail(WAL, sync_errno=errno.EIO)
    assert insert(store, model, 2) is not None
    assert model.versions(2) == {0, None}
    disk.heal()
    until_accepted(store, model, 3)

    store.kill()
    disk.cut_power()
    store.start()

    assert model.find_all(store.rpc) == {1: 0, 3: 0}


@pytest.mark.timeout(300)
def test_syncs_fail_while_writers_write_then_the_power_is_cut(store: StoreProcess, disk: FaultyDisk) -> None:
    model = Model(padding=6000)
    model.create(store.rpc)
    for number in range(1, ROUNDS + 1):
        stop = threading.Event()
        writers = [Writer(store.rpc, model, number * 100 + writer, stop, seen) for writer in range(WRITERS)]
        with running(*writers, Reader(store.rpc, model, number, stop)):
            for _ in range(3):
                model.wait_for_writes(random.randint(10, 120))
                disk.fail(
                    random.choice([ALL, WAL, DATABASE]), sync_errno=errno.EIO, sync_failures=random.choice([1, 2, -1])
                )
                time.sleep(random.uniform(0.05, 0.4))
                disk.heal()
                while model.acknowledged.acquire(blocking=False):
                    pass
            model.wait_for_writes(random.randint(1, 60))
            store.kill()
        disk.cut_power()
        store.start()
        model.check(store.rpc)
    model.check_indexes(store.rpc, model.check(store.rpc), 200)
