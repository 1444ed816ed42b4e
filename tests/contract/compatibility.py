"""docs/compatibility.md, made of what the contract suite sends and is answered.

Every request of the suite is taken apart into the features it uses: commands, their members, operators, forms of
values. A feature is in the table because a test sent it, and its state is what the server answered; a test that
passes has judged that answer.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"

#: The sections of the document, in order: the kind of a feature, its heading, and what stands above the table.
SECTIONS = (
    ("command", "Commands", "`/v1`, `/v1/{keyspace}` or `/v1/{keyspace}/{collection}`, with or without `/api/json`."),
    ("member", "Members of commands", "What may stand beside a command's name, options included."),
    ("filter", "Filters", "Operators, and the forms of paths and values."),
    ("update", "Updates", "Operators and their modifiers."),
    ("projection", "Projections", ""),
    ("sort", "Sorts", ""),
    ("value", "Values in documents", "Extended JSON and the special members."),
    ("error", "Error codes", "Every code that a test provokes. The state tells the HTTP status."),
)

_INTRODUCTION = """# Compatibility

Made by `make compatibility` from a run of `tests/contract`: do not edit. Each line is a feature that the suite sends
to a live server over HTTP; `works` says that the server carried it out, `refused` that it answers with the code the
Data API has for a feature that is not there. Cases count the tests that use the feature.
"""

_MEMBERS_WITH_GRAMMAR = {"filter", "update", "projection", "sort", "document", "documents", "replacement"}
_EXTENSIONS = ("$date", "$uuid", "$objectId", "$binary")


@dataclass
class _Seen:
    tests: set[str] = field(default_factory=set)
    worked: bool = False
    codes: set[str] = field(default_factory=set)


class Observations:
    """What a run of the suite has seen."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = defaultdict(_Seen)

    def add(self, test: str, body: Any, status: int, answer: Any) -> None:
        """Take in one request and its answer."""
        envelope = answer if isinstance(answer, Mapping) else {}
        errors = envelope.get("errors", [])
        codes = {error["errorCode"] for error in errors}
        for feature in set(features(body)):
            seen = self._seen[feature]
            seen.tests.add(test)
            seen.worked |= status == 200 and not errors
            seen.codes |= codes
        outcome = envelope.get("status")
        warnings = outcome.get("warnings", []) if isinstance(outcome, Mapping) else []
        for kind, items in (("error", errors), ("warning", warnings)):
            for item in items:
                seen = self._seen["error", item["errorCode"]]
                seen.tests.add(test)
                seen.codes.add(f"HTTP {status}" if kind == "error" else "warning")

    def document(self) -> str:
        """Return the Markdown of docs/compatibility.md."""
        parts = [_INTRODUCTION]
        for kind, heading, note in SECTIONS:
            rows = sorted((name, seen) for (of, name), seen in self._seen.items() if of == kind)
            rows = [(name, seen) for name, seen in rows if _belongs(kind, seen)]
            parts.append(f"## {heading}\n")
            if note:
                parts.append(f"{note}\n")
            parts.append("| feature | state | cases |\n| --- | --- | ---: |")
            parts.append("\n".join(f"| `{name}` | {_state(kind, seen)} | {len(seen.tests)} |" for name, seen in rows))
            parts.append("")
        return "\n".join(parts)


def differences(page: str, run: str) -> list[str]:
    """Return in which lines two documents differ, for a reader; none where the page says what the run has seen.

    Errors of the run that the page lacks, and how often each was seen, do not count: which ones a service that is
    killed or slow is answered with depends on the moment.
    """
    errors = next(heading for kind, heading, _ in SECTIONS if kind == "error")
    said, seen = _rows_of(page), _rows_of(run)
    found = [f"- {line}" for heading, line in said.items() if seen.get(heading) != line]
    found += [f"+ {line}" for heading, line in seen.items() if said.get(heading) != line]
    lost = [f"- {errors}: {name}" for heading, name in said if heading == errors and (heading, name) not in seen]
    return [line for line in found if errors not in line] + lost


def _rows_of(document: str) -> dict[tuple[str, str], str]:
    """Return the rows of the tables of a document, by heading and name."""
    rows, heading = {}, ""
    for line in document.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| `"):
            name = line.split("|")[1].strip()
            rows[heading, name] = f"{heading}: {line}"
    return rows


def _belongs(kind: str, seen: _Seen) -> bool:
    """Tell whether a feature is one: what was only ever refused for being unknown is a test's mistake on purpose."""
    return kind == "error" or seen.worked or bool(seen.codes & _NOT_THERE)


#: Codes that tell of a feature that is not there, where other codes tell of bad input.
_NOT_THERE = {
    "UNSUPPORTED_COLLECTION_COMMAND",
    "RERANKING_FEATURE_NOT_ENABLED",
    "LEXICAL_FEATURE_NOT_ENABLED",
    "LEXICAL_NOT_ENABLED_FOR_COLLECTION",
}


def _state(kind: str, seen: _Seen) -> str:
    if kind == "error":
        return ", ".join(sorted(seen.codes))
    return "works" if seen.worked else "refused: " + ", ".join(f"`{code}`" for code in sorted(seen.codes & _NOT_THERE))


def features(body: Any) -> Iterator[tuple[str, str]]:
    """Yield the features that a body uses, as kind and name."""
    if not isinstance(body, Mapping) or len(body) != 1:
        return
    command, members = next(iter(body.items()))
    yield "command", command
    if not isinstance(members, Mapping):
        return
    for name, value in members.items():
        yield "member", f"{command}.{name}"
        if name == "filter":
            yield from _filter(value)
        elif name == "update" and isinstance(value, Mapping):
            yield from _update(value)
        elif name == "projection" and isinstance(value, Mapping):
            yield from _projection(value)
        elif name == "sort" and isinstance(value, Mapping):
            yield from _sort(value)
        elif name in _MEMBERS_WITH_GRAMMAR:
            yield from _values(value)
        elif name == "options":
            yield from _options(f"{command}.options", value)


def _options(place: str, options: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(options, Mapping):
        return
    for name, value in options.items():
        yield "member", f"{place}.{name}"
        if name not in ("authentication", "parameters", "replication", "analyzer"):
            yield from _options(f"{place}.{name}", value)
        if isinstance(value, str) and name in ("metric", "sourceModel", "type", "returnDocument", "filterModelStatus"):
            yield "member", f"{place}.{name} = {value}"


def _filter(clause: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(clause, Mapping):
        return
    for name, value in clause.items():
        if name in ("$and", "$or") and isinstance(value, list):
            yield "filter", name
            for item in value:
                yield from _filter(item)
        elif name == "$not":
            yield "filter", name
            yield from _filter(value)
        else:
            yield from _condition(name, value)


def _condition(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if path == "_id":
        yield "filter", "path _id"
    elif path.startswith("$"):
        yield "filter", f"path {path}"
    elif "&" in path:
        yield "filter", "path with & escapes"
    elif any(segment.isdigit() for segment in path.split(".")[1:]):
        yield "filter", "path with an array index"
    elif "." in path:
        yield "filter", "dotted path"
    operators = isinstance(value, Mapping) and any(name.startswith("$") for name in value)
    if not operators or any(name in _EXTENSIONS for name in value):
        yield "filter", f"value alone: {_form(value)}"
        return
    for operator, operand in value.items():
        yield "filter", operator
        yield "filter", f"{operator} of {_form(operand)}"


def _update(update: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for operator, operands in update.items():
        yield "update", operator
        if not isinstance(operands, Mapping):
            continue
        for path, operand in operands.items():
            if path.startswith("$"):
                yield "update", f"{operator} of {path}"
            elif "." in path:
                yield "update", f"{operator} of a nested path"
            if operator in ("$push", "$addToSet") and isinstance(operand, Mapping):
                for modifier in operand:
                    if modifier.startswith("$"):
                        yield "update", f"{operator} with {modifier}"


def _projection(projection: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, value in projection.items():
        if isinstance(value, Mapping):
            yield "projection", "$slice" if "$slice" in value else "nested object"
        else:
            name = path if path.startswith("$") or path in ("*", "_id") else "nested path" if "." in path else "field"
            yield "projection", f"{name}: {'1' if value else '0'}"


def _sort(sort: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if len(sort) > 1:
        yield "sort", "several fields"
    for path, value in sort.items():
        if path.startswith("$"):
            yield "sort", f"{path} by {_form(value)}"
        else:
            yield "sort", f"{'_id' if path == '_id' else 'nested path' if '.' in path else 'field'}: {value}"


def _values(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name.startswith("$"):
                yield "value", f"{name} ({_form(item)})"
            yield from _values(item)


def _form(value: Any) -> str:
    """Return what kind of value it is."""
    if isinstance(value, Mapping):
        return next((name for name in value if name in _EXTENSIONS), "object")
    kinds = ((bool, "boolean"), (str, "string"), (int | float, "number"), (list, "array"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "null")


#: What the running suite has seen.
observed = Observations()
