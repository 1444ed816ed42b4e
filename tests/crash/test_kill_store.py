"""`kill -9` of the store while writers run: what was acknowledged is there, what was not is whole or absent."""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import Orrery

ROUNDS = 4
WRITERS = 4
ROUND_SECONDS = 1.5
DIMENSION = 8


@dataclass
class Model:
    """What writers know: documents acknowledged as inserted, and the highest acknowledged value of each counter."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inserted: dict[str, list[float]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    attempted: dict[str, int] = field(default_factory=dict)


def send(client: httpx.Client, command: dict[str, Any]) -> dict[str, Any]:
    """Run a command on the collection and return its answer."""
    answer: dict[str, Any] = client.post("/v1/default_keyspace/crash", json=command).json()
    return answer


def write(orrery: Orrery, model: Model, writer: int, stop: threading.Event) -> None:
    """Insert documents and count up one's own counter, remembering what was acknowledged."""
    counter = f"counter-{writer}"
    with httpx.Client(base_url=orrery.url, headers={"Token": orrery.token}, timeout=30, trust_env=False) as client:
        number = 0
        while not stop.is_set():
            number += 1
            batch = {
                f"{writer}-{time.time_ns()}-{at}": [random.uniform(-1, 1) for _ in range(DIMENSION)] for at in range(5)
            }
            documents = [
                {"_id": key, "writer": writer, "number": number, "$vector": vector} for key, vector in batch.items()
            ]
            answer = send(client, {"insertMany": {"documents": documents, "options": {"ordered": True}}})
            acknowledged = answer.get("status", {}).get("insertedIds", [])
            with model.lock:
                model.inserted.update({key: batch[key] for key in acknowledged})
                model.attempted[counter] = model.attempted.get(counter, 0) + 1
            # Two fields change together or not at all.
            update = {"$inc": {"n": 1, "m": 1}}
            options = {"upsert": True, "returnDocument": "after"}
            answer = send(
                client, {"findOneAndUpdate": {"filter": {"_id": counter}, "update": update, "options": options}}
            )
            if "data" in answer:
                with model.lock:
                    model.counters[counter] = answer["data"]["document"]["n"]


@pytest.mark.timeout(180)
def test_every_acknowledged_write_survives(tmp_path: Path) -> None:
    model = Model()
    with Orrery(tmp_path) as orrery:
        client = httpx.Client(base_url=orrery.url, headers={"Token": orrery.token}, timeout=30, trust_env=False)
        options = {"vector": {"dimension": DIMENSION, "metric": "euclidean"}}
        creation = {"createCollection": {"name": "crash", "options": options}}
        assert client.post("/v1/default_keyspace", json=creation).json() == {"status": {"ok": 1}}
        for _ in range(ROUNDS):
            stop = threading.Event()
            writers = [threading.Thread(target=write, args=(orrery, model, writer, stop)) for writer in range(WRITERS)]
            for thread in writers:
                thread.start()
            time.sleep(random.uniform(0.3, ROUND_SECONDS))
            os.kill(orrery.child("store"), signal.SIGKILL)
            # The supervisor starts the store again; the gateway waits for it.
            time.sleep(random.uniform(0, 0.3))
            stop.set()
            for thread in writers:
                thread.join()
            check(client, model)
        assert len(model.inserted) > 100
        client.close()


def check(client: httpx.Client, model: Model) -> None:
    """Find every acknowledged document by id, by filter and by vector, and every counter whole."""
    everything: dict[str, dict[str, Any]] = {}
    for writer in range(WRITERS):
        state = None
        while True:
            page = {"pageState": state} if state else {}
            answer = send(client, {"find": {"filter": {"writer": writer}, "options": page}})
            everything.update({document["_id"]: document for document in answer["data"]["documents"]})
            state = answer["data"]["nextPageState"]
            if state is None:
                break
    assert model.inserted.keys() <= everything.keys()
    for key in random.sample(sorted(model.inserted), min(40, len(model.inserted))):
        by_id = send(client, {"findOne": {"filter": {"_id": key}}})
        assert by_id["data"]["document"] == everything[key]
        by_vector = send(client, {"find": {"sort": {"$vector": model.inserted[key]}, "options": {"limit": 1}}})
        assert by_vector["data"]["documents"][0]["_id"] == key
    for counter, value in model.counters.items():
        document = send(client, {"findOne": {"filter": {"_id": counter}}})["data"]["document"]
        assert document["n"] == document["m"]
        assert value <= document["n"] <= model.attempted[counter]
