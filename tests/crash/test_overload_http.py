"""What callers of the Data API see of a store that is asked too much: an error of the Data API, with HTTP 200."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.live import Orrery


def test_a_refusal_is_an_error_of_the_data_api(tmp_path: Path) -> None:
    environment = {"ORRERY_STORE_ADMISSION_RUNNING": "2", "ORRERY_STORE_ADMISSION_WAITING": "0"}
    with (
        Orrery(tmp_path, environment=environment) as orrery,
        httpx.Client(base_url=orrery.url, headers={"Token": orrery.token}, timeout=30, trust_env=False) as client,
    ):
        path = "/v1/default_keyspace"
        assert client.post(path, json={"createCollection": {"name": "c"}}).json() == {"status": {"ok": 1}}

        def insert(number: int) -> httpx.Response:
            documents = [{"text": "x" * 5000, "at": os.getpid()} for _ in range(50)]
            return client.post(f"{path}/c", json={"insertMany": {"documents": documents}})

        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(insert, range(60)))

    assert {answer.status_code for answer in answers} == {200}
    errors = [error for answer in answers for error in answer.json().get("errors", ())]
    assert errors
    assert {error["errorCode"] for error in errors} == {"UNAVAILABLE_DATABASE"}
    assert "send the request again in about" in errors[0]["message"]
    assert any("errors" not in answer.json() for answer in answers)
