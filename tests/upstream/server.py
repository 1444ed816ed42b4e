"""A provider of embeddings for tests: a real HTTP server that speaks every provider's format (formats.py).

A request's path starts with the provider's id; `url_of` gives a provider's URL with its placeholders.

It embeds with the real local model; vectors of other dimensions are that model's, repeated or cut and scaled to
length one. It misbehaves when told to, in the ways providers do.

    python -m tests.upstream.server --token SECRET      prints its URL and serves until Ctrl-C
"""

import argparse
import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np

from services.embedder.minilm import DIMENSION, loaded_model
from tests.upstream.formats import FORMATS, Call, Format, Refusal, Wanted, path_of

Answer = tuple[int, dict[str, str], bytes]


def embed(texts: Sequence[str], dimension: int) -> list[list[float]]:
    """Return a vector of a dimension for each text, of length one, similar where the texts are."""
    vectors = loaded_model().embed(texts)
    repeated = np.tile(vectors, (1, -(-dimension // DIMENSION)))[:, :dimension]
    scaled = repeated / np.linalg.norm(repeated, axis=1, keepdims=True)
    return [[float(str(value)) for value in row] for row in scaled.astype(np.float32)]


class Upstream:
    """The server. `behave` sets how the next requests are answered; `requests` are those that came."""

    def __init__(self, token: str, port: int = 0) -> None:
        self.token = token
        self.requests: list[dict[str, Any]] = []
        self._more_tokens: list[str] = []
        self._behaviour: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._refused_word: str | None = None
        self._most_characters: int | None = None
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                # A caller that gave up has hung up.
                with suppress(BrokenPipeError, ConnectionResetError):
                    upstream.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def url_of(self, provider: str) -> str:
        """Return the URL of a provider, as ORRERY_PROVIDER_<ID>_URL takes it."""
        return self.url + path_of(provider)

    def environment(self) -> dict[str, str]:
        """Return the variables that send the requests of every provider here."""
        return {f"ORRERY_PROVIDER_{provider.upper()}_URL": self.url_of(provider) for provider in FORMATS}

    def __enter__(self) -> "Upstream":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve in this thread."""
        self._server.serve_forever()

    def behave(self, behaviour: str, times: int = 1, **details: Any) -> None:
        """Answer the next requests in a bad way; see `_misbehave` for the ways."""
        with self._lock:
            self._behaviour.extend([(behaviour, details)] * times)

    def accept(self, token: str) -> None:
        """Take one more key, as a provider does while a team changes its key."""
        with self._lock:
            self._more_tokens.append(token)

    def refuse(self, word: str) -> None:
        """Refuse every request with a text that holds a word, as providers refuse a whole batch for one text."""
        self._refused_word = word

    def refuse_longer_than(self, characters: int) -> None:
        """Refuse every request with a text that is longer."""
        self._most_characters = characters

    def reset(self) -> None:
        """Behave well, take the one key, and forget the requests."""
        with self._lock:
            self._behaviour.clear()
            self._more_tokens.clear()
            self.requests.clear()
            self._refused_word, self._most_characters = None, None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        raw = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        provider, path = _provider_of(request.path)
        call = Call(path, json.loads(raw), headers, raw, request.path)
        with self._lock:
            self.requests.append({"provider": provider, "path": path, "body": call.body, "headers": headers})
            behaviour = self._behaviour.pop(0) if self._behaviour else None
        if behaviour is not None and behaviour[0] == "cut_off":
            self._cut_off(request)
            return
        if behaviour is not None and behaviour[0] == "slow":
            time.sleep(behaviour[1]["seconds"])
            behaviour = None
        if provider not in FORMATS:
            status, more, content = 404, {}, b"{}"
        elif behaviour is not None:
            status, more, content = self._misbehave(*behaviour, call, FORMATS[provider])
        else:
            status, more, content = self._embed(call, FORMATS[provider])
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", **more, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    def _embed(self, call: Call, spoken: Format) -> Answer:
        try:
            wanted = self._checked(call, spoken)
            self._check_texts(wanted.texts)
        except Refusal as refusal:
            return refusal.status, {}, json.dumps(spoken.refuse(str(refusal))).encode()
        tokens = sum(loaded_model().word_pieces(text) for text in wanted.texts)
        answer = spoken.answer(embed(wanted.texts, wanted.dimension), tokens, call.body)
        return 200, {}, json.dumps(answer).encode()

    def _checked(self, call: Call, spoken: Format) -> Wanted:
        for token in tuple(self._more_tokens):
            with suppress(Refusal):
                return spoken.check(call, token)
        return spoken.check(call, self.token)

    def _check_texts(self, texts: Sequence[str]) -> None:
        if self._refused_word is not None and any(self._refused_word in text for text in texts):
            raise Refusal(400, "an input is not acceptable")
        if self._most_characters is not None and any(len(text) > self._most_characters for text in texts):
            raise Refusal(400, "an input is too long: it exceeds the maximum of tokens")

    def _misbehave(self, behaviour: str, details: dict[str, Any], call: Call, spoken: Format) -> Answer:
        count = len(spoken.read_texts(call.body))

        def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
            return status, headers or {}, json.dumps({**spoken.refuse(message), **more}).encode()

        def vectors(rows: list[Any]) -> Answer:
            return 200, {}, json.dumps(spoken.answer(rows, count, call.body)).encode()

        answers = {
            "unauthorized": lambda: error(401, spoken.bad_key),
            "echo_key": lambda: error(403, f"the key {self.token} is not allowed"),
            "bad_request": lambda: error(400, details.get("message", "the input is too long")),
            "rate_limited": lambda: error(
                429,
                "Rate limit reached",
                {"Retry-After": str(details["retry_after"])} if "retry_after" in details else {},
            ),
            "loading": lambda: error(503, "Model is currently loading", estimated_time=details.get("seconds", 0.2)),
            "failing": lambda: error(500, "internal trouble"),
            "gateway_timeout": lambda: error(504, "upstream timed out"),
            "wrong_count": lambda: vectors([[0.5] * 384] * (count + 1)),
            "wrong_dimension": lambda: vectors([[0.5] * 7] * count),
            "not_finite": lambda: vectors([[float("nan")] * 384] * count),
            "not_numbers": lambda: vectors([["x"] * 384] * count),
            "not_json": lambda: (200, {}, b"<html>busy</html>"),
            "error_with_200": lambda: error(200, "quota exceeded"),
            "empty": lambda: (200, {}, b"{}"),
        }
        return answers[behaviour]()

    @staticmethod
    def _cut_off(request: BaseHTTPRequestHandler) -> None:
        """Announce a long answer, send the start of it, and hang up."""
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", "100000")
        request.end_headers()
        request.wfile.write(b"[[0.1, 0.2")
        request.wfile.flush()
        request.close_connection = True


def _provider_of(path: str) -> tuple[str, str]:
    """Return the provider that a path names and the rest of it; two providers are also known by their own paths."""
    if path.startswith("/hf-inference/"):
        return "huggingface", path
    if path == "/v1/embeddings":
        return "jinaAI", path
    provider, _, rest = path.removeprefix("/").partition("/")
    return provider, f"/{rest}"


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--token", required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    server = Upstream(arguments.token, arguments.port)
    print(server.url, flush=True)  # noqa: T201 - what the command is for
    server.serve()


if __name__ == "__main__":
    main()
