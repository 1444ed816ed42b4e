"""An application on a host of its own: inserts documents and searches for each, and tells what became of every request.

Reads the addresses and the collection from its arguments and the token from TOKEN; goes on until standard input ends.
Writes a JSON object a line for each attempt: when, what, how long, and what was wrong. An insert that failed is sent
again until it is acknowledged; a search is not. A connection is used for as long as the gateway keeps it open.
"""

import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from typing import Any

CALLERS = 4
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.2


class Connection(http.client.HTTPSConnection):
    """HTTPS to a name at an address that is given, as a resolver would find it."""

    def __init__(self, name: str, address: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=60, context=context)
        self._place, self._tls = (address, port), context

    def connect(self) -> None:
        """Open the connection."""
        self.sock = self._tls.wrap_socket(
            socket.create_connection(self._place, self.timeout), server_hostname=self.host
        )


def ask(connection: Connection, path: str, command: dict[str, Any]) -> tuple[Any, str | None]:
    """Send a command and return its answer, and what was wrong with it."""
    headers = {"Content-Type": "application/json", "Token": os.environ["TOKEN"]}
    try:
        connection.request("POST", path, json.dumps(command), headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as problem:
        connection.close()
        return None, f"{type(problem).__name__}: {problem}"
    if response.status != 200:
        return None, f"HTTP {response.status}"
    answer = json.loads(body)
    return answer, ", ".join(error["errorCode"] for error in answer.get("errors", ())) or None


def run(number: int, connection: Connection, path: str, stop: threading.Event, writing: threading.Lock) -> None:
    """Insert and search until told to stop."""

    def attempt(kind: str, name: str, command: dict[str, Any]) -> tuple[Any, str | None]:
        began = time.monotonic()
        answer, wrong = ask(connection, path, command)
        if kind == "find" and wrong is None and answer["data"]["document"] != {"_id": name}:
            wrong = f"found {answer['data']['document']} instead of {name}"
        line = {"at": began, "seconds": time.monotonic() - began, "kind": kind, "id": name, "wrong": wrong}
        with writing:
            print(json.dumps(line), flush=True)
        return answer, wrong

    count = 0
    while not stop.wait(PAUSE_SECONDS):
        count += 1
        name = f"{number}-{count}"
        text = f"What caller {number} has to say for the {count}th time"
        insert = {"insertOne": {"document": {"_id": name, "$vectorize": text}}}
        # One that was made although its answer was lost is found to be there when it is sent again.
        while (wrong := attempt("insert", name, insert)[1]) and wrong != "DOCUMENT_ALREADY_EXISTS":
            time.sleep(RETRY_SECONDS)
        attempt("find", name, {"findOne": {"sort": {"$vectorize": text}, "projection": {"_id": 1}}})


def main(name: str, address: str, port: str, ca: str, path: str) -> None:
    """Run all callers until standard input ends."""
    context = ssl.create_default_context(cafile=ca)
    stop, writing = threading.Event(), threading.Lock()
    threads = [
        threading.Thread(target=run, args=(n, Connection(name, address, int(port), context), path, stop, writing))
        for n in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
