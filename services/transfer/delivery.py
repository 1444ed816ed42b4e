"""Delivering documents: a batch goes out until each of its documents is stored, or refused for itself.

Batches get smaller where an endpoint finds them too large or too slow, and larger again while all goes well.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.documents.codec import JsonValue, encode
from services.transfer.data_api import FATAL_CODES, Answer, DataApi, Patience, Problem, TooLargeError, TransientError
from services.transfer.errors import RefusedError
from services.transfer.sources.row import Rejection

_ALREADY_EXISTS = "DOCUMENT_ALREADY_EXISTS"
_UNFORESEEN = frozenset({"UNEXPECTED_SERVER_ERROR", "INTERNAL_SERVER_ERROR"})
#: Times that something unforeseen is tried again before it is taken for the document's own.
_UNFORESEEN_ATTEMPTS = 3
_SUCCESSES_TO_GROW = 8


class Stored(enum.Enum):
    """A document is in the collection: put there now, or before."""

    LOADED = enum.auto()
    THERE = enum.auto()


Result = Stored | Rejection


@dataclass(frozen=True, slots=True)
class Item:
    """A document on its way: the JSON text of its `_id`, and of all of it."""

    identifier: bytes
    json: bytes


class Delivery(Protocol):
    """How documents get into a collection."""

    async def deliver(self, items: Sequence[Item]) -> list[Result]:
        """Return what became of each document. Raises `TransferError` when nothing more can be delivered."""


class BatchSize:
    """How much goes into one command. Shrinks by halves, grows back by quarters."""

    def __init__(self, documents: int, size_bytes: int) -> None:
        self._most_documents, self._most_bytes = documents, size_bytes
        self.documents, self.bytes = documents, size_bytes
        self._successes = 0

    def shrink(self, items: Sequence[Item]) -> None:
        """Make commands half as large as one that was too large."""
        self.documents = max(1, min(self.documents, len(items)) // 2)
        self.bytes = max(1024, min(self.bytes, sum(len(item.json) for item in items)) // 2)
        self._successes = 0

    def cap_documents(self, items: Sequence[Item]) -> None:
        """Never again send as many documents as a command that had too many."""
        self.shrink(items)
        self._most_documents = self.documents

    def cap_bytes(self, items: Sequence[Item]) -> None:
        """Never again send as many bytes as a command that had too many."""
        self.shrink(items)
        self._most_bytes = self.bytes

    def succeeded(self) -> None:
        """Note that a command was answered as it should be."""
        self._successes += 1
        if self._successes >= _SUCCESSES_TO_GROW:
            self._successes = 0
            self.documents = min(self._most_documents, self.documents + self.documents // 4 + 1)
            self.bytes = min(self._most_bytes, self.bytes + self.bytes // 4)


class Inserting:
    """Delivers by insertMany; a document whose `_id` is there already is left as it is."""

    def __init__(self, api: DataApi, collection: str, size: BatchSize) -> None:
        self._api = api
        self._collection = collection
        self._size = size

    async def deliver(self, items: Sequence[Item]) -> list[Result]:
        """Insert documents."""
        results: dict[int, Result] = {}
        # What is to be sent, by position; with how often it met something unforeseen.
        pending: list[tuple[list[int], int]] = [(list(range(len(items))), 0)]
        patience = Patience(self._api.patience_seconds)
        while pending:
            group, unforeseen = pending.pop()
            sent = [items[at] for at in group]
            try:
                answer = await self._api.once(_insert_many(sent), self._collection)
            except TooLargeError:
                problem = Problem(f"{self._api.endpoint.host} takes no body of this size", "HTTP_413")
                pending.extend(self._apart(group, sent, problem, results, unforeseen))
                continue
            except TransientError as failure:
                if failure.slow and len(group) > 1:
                    self._size.shrink(sent)
                    pending.extend(_halves(group, unforeseen))
                else:
                    pending.append((group, unforeseen))
                await patience.pause(str(failure), failure.retry_after)
                continue
            responses = answer.status.get("documentResponses")
            if responses is None:
                pending.extend(await self._refused(group, sent, unforeseen, answer, patience, results))
                continue
            again, problem_again = _take(group, responses, answer, results, unforeseen)
            if len(again) < len(group):
                patience.restore()
            if again:
                pending.append((again, unforeseen + 1))
                await patience.pause(problem_again)
            else:
                self._size.succeeded()
        return [results[at] for at in range(len(items))]

    async def _refused(
        self,
        group: list[int],
        sent: Sequence[Item],
        unforeseen: int,
        answer: Answer,
        patience: Patience,
        results: dict[int, Result],
    ) -> list[tuple[list[int], int]]:
        """Return what is to be sent after a command that failed as a whole."""
        if not answer.errors:
            raise RefusedError("NO_ANSWER", f"{self._api.endpoint.host} did not say what became of the documents")
        problem = answer.errors[0]
        if problem.error_code in FATAL_CODES:
            raise RefusedError(problem.error_code, problem.message)
        if problem.transient and not (problem.error_code in _UNFORESEEN and unforeseen >= _UNFORESEEN_ATTEMPTS):
            await patience.pause(problem.message)
            if problem.slow and len(group) > 1:
                self._size.shrink(sent)
                return _halves(group, unforeseen)
            return [(group, unforeseen + 1)]
        return self._apart(group, sent, problem, results, unforeseen)

    def _apart(
        self, group: list[int], sent: Sequence[Item], problem: Problem, results: dict[int, Result], unforeseen: int
    ) -> list[tuple[list[int], int]]:
        """Return the halves of what is refused as a whole; one document alone is rejected."""
        if len(group) == 1:
            results[group[0]] = Rejection(problem.error_code, problem.message)
            return []
        if problem.error_code == "HTTP_413":
            self._size.cap_bytes(sent)
        elif problem.error_code == "COMMAND_FIELD_VALUE_INVALID":
            self._size.cap_documents(sent)
        return _halves(group, unforeseen)


class Replacing:
    """Delivers by findOneAndReplace, one document after the other; what is there is replaced."""

    def __init__(self, api: DataApi, collection: str) -> None:
        self._api = api
        self._collection = collection

    async def deliver(self, items: Sequence[Item]) -> list[Result]:
        """Replace documents, or create them."""
        return [await self._replace(item) for item in items]

    async def _replace(self, item: Item) -> Result:
        command = b'{"findOneAndReplace":{"filter":{"_id":%b},"replacement":%b,"projection":{"*":0},' % (
            item.identifier,
            item.json,
        )
        command += b'"options":{"upsert":true}}}'
        patience = Patience(self._api.patience_seconds)
        attempts = 0
        while True:
            try:
                answer = await self._api.once(command, self._collection)
            except TooLargeError:
                return Rejection("HTTP_413", f"{self._api.endpoint.host} takes no body of this size")
            except TransientError as failure:
                await patience.pause(str(failure), failure.retry_after)
                continue
            if not answer.errors:
                return Stored.LOADED
            problem, attempts = answer.errors[0], attempts + 1
            if problem.error_code in FATAL_CODES:
                raise RefusedError(problem.error_code, problem.message)
            if not problem.transient or (problem.error_code in _UNFORESEEN and attempts > _UNFORESEEN_ATTEMPTS):
                return Rejection(problem.error_code, problem.message)
            await patience.pause(problem.message)


def item_of(document: dict[str, JsonValue]) -> Item:
    """Return a document as it is sent."""
    return Item(encode(document["_id"]), encode(document))


def _insert_many(items: Sequence[Item]) -> bytes:
    documents = b",".join(item.json for item in items)
    # "ordered" is written out although it is the default: with Orrery a text that cannot be embedded then fails alone.
    return b'{"insertMany":{"documents":[%b],"options":{"ordered":false,"returnDocumentResponses":true}}}' % documents


def _halves(group: list[int], unforeseen: int) -> list[tuple[list[int], int]]:
    middle = len(group) // 2
    return [(group[middle:], unforeseen), (group[:middle], unforeseen)]


def _take(
    group: list[int], responses: list[dict[str, Any]], answer: Answer, results: dict[int, Result], unforeseen: int
) -> tuple[list[int], str]:
    """Note what became of each document; return those to send again, and why."""
    again: list[int] = []
    why = ""
    for at, response in zip(group, responses, strict=True):
        if response.get("status") == "OK":
            results[at] = Stored.LOADED
            continue
        index = response.get("errorsIdx")
        problem = answer.errors[index] if isinstance(index, int) and index < len(answer.errors) else Problem()
        lasting = problem.error_code in _UNFORESEEN and unforeseen >= _UNFORESEEN_ATTEMPTS
        if problem.error_code == _ALREADY_EXISTS:
            results[at] = Stored.THERE
        elif problem.transient and not lasting:
            again.append(at)
            why = problem.message
        else:
            results[at] = Rejection(problem.error_code, problem.message)
    return again, why
