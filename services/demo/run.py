"""What `make demo` shows: a server started, documents inserted as text, questions answered by meaning."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table

_BATCH = 20
_COLLECTION = {
    "name": "solar_system",
    "options": {
        "vector": {
            "metric": "cosine",
            "service": {"provider": "local", "modelName": "sentence-transformers/all-MiniLM-L6-v2"},
        }
    },
}


@dataclass(frozen=True, slots=True)
class Question:
    """A search by text; `filter` narrows it."""

    text: str
    filter: dict[str, object] | None = None


QUESTIONS: Sequence[Question] = (
    Question("an ocean of liquid water hidden under a shell of ice"),
    Question("a spacecraft that landed on a comet"),
    Question("methane rain filling rivers and lakes", {"kind": "moon"}),
    Question("volcanoes that never stop erupting", {"kind": {"$ne": "mission"}}),
    Question("bringing samples back to Earth", {"kind": "mission", "launched": {"$gte": {"$date": 946684800000}}}),
    Question("worlds far beyond Neptune", {"radius_km": {"$gt": 400}}),
)


class DemoError(Exception):
    """The demonstration could not go on; the message says why."""


def run_demo(console: Console) -> None:
    """Start a server in a temporary folder, load the data set, search it, and stop the server."""
    documents = load_documents()
    with tempfile.TemporaryDirectory(prefix="orrery-demo-") as folder, _server(Path(folder)) as (url, token):
        console.print(f"[bold]Orrery serves {url}[/bold]; its data is in a temporary folder.")
        with httpx.Client(base_url=url, headers={"Token": token}, timeout=60, trust_env=False) as client:
            _send(client, "/v1/default_keyspace", {"createCollection": _COLLECTION})
            batches = [documents[at : at + _BATCH] for at in range(0, len(documents), _BATCH)]
            for batch in track(batches, f"Inserting {len(documents)} documents as text", console=console):
                _send(client, "/v1/default_keyspace/solar_system", {"insertMany": {"documents": batch}})
            for question in QUESTIONS:
                _show(console, question, _search(client, question))
    console.print("The server has stopped. `make up` serves until Ctrl-C.")


def load_documents() -> list[dict[str, Any]]:
    """Return the data set, each document with the text to embed in `$vectorize`."""
    lines = files("services.demo").joinpath("solar_system.jsonl").read_text("utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    return [{**item, "$vectorize": f"{item['name']}. {item['description']}"} for item in documents]


def _search(client: httpx.Client, question: Question) -> list[dict[str, Any]]:
    find = {
        "filter": question.filter or {},
        "sort": {"$vectorize": question.text},
        "projection": {"name": True, "kind": True, "parent": True, "target": True, "description": True},
        "options": {"limit": 3, "includeSimilarity": True},
    }
    answer = _send(client, "/v1/default_keyspace/solar_system", {"find": find})
    documents: list[dict[str, Any]] = answer["data"]["documents"]
    return documents


def _show(console: Console, question: Question, documents: Sequence[dict[str, Any]]) -> None:
    heading = f"“{question.text}”"
    if question.filter:
        heading += f"  where {json.dumps(question.filter)}"
    console.print(f"\n{heading}", style="bold", markup=False, emoji=False, highlight=False)
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("similarity", justify="right")
    table.add_column("name", style="bold")
    table.add_column("what it is")
    for document in documents:
        about = " of ".join(filter(None, (document["kind"], document.get("parent"))))
        description = document["description"].split(". ")[0].rstrip(".")
        table.add_row(f"{document['$similarity']:.3f}", document["name"], f"[dim]{about}:[/dim] {description}.")
    console.print(table)


def _send(client: httpx.Client, path: str, command: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(path, json=command).raise_for_status().json()
    if "errors" in answer:
        raise DemoError(answer["errors"][0]["message"])
    return answer


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, str]]:
    """Run `orrery up` on a free port; gives its URL and token."""
    token = secrets.token_urlsafe(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-m", "services.cli", "up", "--data-dir", str(folder), "--http", address],
        env={**os.environ, "ORRERY_TOKEN": token},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _await_ready(process)
        yield f"http://{address}", token
    finally:
        process.terminate()
        process.wait()


def _await_ready(process: subprocess.Popen[str]) -> None:
    started = time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("orrery: ready"):
            return
    raise DemoError(f"the server ended after {time.monotonic() - started:.0f} s; its messages are above")
