"""The OpenAPI document: made of the commands, the limits and the error catalogue that the gateway itself works with.

`openapi.yaml` adds what those do not have: summaries, types of members, examples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import yaml

from services.gateway.command import Command, Level
from services.gateway.commands import COMMANDS, unsupported
from services.gateway.limits import Limits
from services.runtime.errors import catalogue

_PATHS = {Level.DATABASE: "/v1", Level.KEYSPACE: "/v1/{keyspace}", Level.COLLECTION: "/v1/{keyspace}/{collection}"}
_IDS = {Level.DATABASE: "database", Level.KEYSPACE: "keyspace", Level.COLLECTION: "collection"}
#: Answered with one and the same error whatever is asked.
_NOT_OFFERED = frozenset(command.name for command in unsupported.COMMANDS) | {"findRerankingProviders"}
_LIMIT = "limit "
_KEY_HEADERS = ("x-embedding-api-key", "x-embedding-access-id", "x-embedding-secret-id")


def document(limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI document (3.1) of a gateway with these limits."""
    told = _with_limits(_told(), limits)
    codes = sorted(catalogue())
    told["schemas"]["Error"]["properties"]["errorCode"]["enum"] = codes
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Orrery Data API",
            "version": version("orrery"),
            "description": "One JSON object with one command is posted; errors come with HTTP status 200 and `errors`.",
        },
        "servers": [{"url": "/"}, {"url": "/api/json", "description": "The prefix of clients in their Astra mode."}],
        "security": [{"token": []}],
        "paths": {path: {"post": _operation(level, told, limits)} for level, path in _PATHS.items()},
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "Token"}},
            "schemas": {**told["schemas"], **_commands(told)},
        },
    }


@cache
def as_json(limits: Limits) -> bytes:
    """Return the document as JSON."""
    return json.dumps(document(limits)).encode()


@cache
def as_yaml(limits: Limits) -> bytes:
    """Return the document as YAML."""
    # Through JSON, so that nothing is written as an alias of something alike.
    return bytes(yaml.safe_dump(json.loads(as_json(limits)), sort_keys=False, allow_unicode=True, encoding="utf-8"))


def offered(told: Mapping[str, Any]) -> list[Command]:
    """Return the commands that the document has, in the order of its examples."""
    return [COMMANDS[name] for name in told["commands"] if name not in _NOT_OFFERED]


def _told() -> dict[str, Any]:
    text = files("services.gateway").joinpath("openapi.yaml").read_text(encoding="utf-8")
    told: dict[str, Any] = yaml.safe_load(text)
    missing = COMMANDS.keys() - _NOT_OFFERED ^ told["commands"].keys()
    if missing:
        raise ValueError(f"openapi.yaml and the commands differ in {', '.join(sorted(missing))}")
    return told


def _with_limits(value: Any, limits: Limits) -> Any:
    """Return a value with the limits that it names."""
    if isinstance(value, dict):
        return {name: _with_limits(inner, limits) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_limits(inner, limits) for inner in value]
    if isinstance(value, str) and value.startswith(_LIMIT):
        return getattr(limits, value.removeprefix(_LIMIT))
    return value


def _operation(level: Level, told: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    commands = [command for command in offered(told) if command.level is level]
    names = [part[1:-1] for part in _PATHS[level].split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in zip(names, ("default_keyspace", "books"), strict=False)
    ]
    parameters += [
        {"name": name, "in": "header", "schema": {"type": "string"}, "description": "A key of the embedding provider."}
        for name in _KEY_HEADERS
    ]
    examples = {
        command.name: {
            "summary": told["commands"][command.name]["summary"],
            "value": {command.name: told["commands"][command.name]["example"]},
        }
        for command in commands
    }
    return {
        "operationId": f"{_IDS[level]}Command",
        "summary": f"Run a command of the {_IDS[level]}.",
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": f"At most {limits.body_bytes} bytes.",
            "content": {
                "application/json": {
                    "schema": {"oneOf": [_reference(_schema_name(command)) for command in commands]},
                    "examples": examples,
                }
            },
        },
        "responses": {
            "200": _answer("The answer, or what went wrong in `errors`."),
            "401": _answer("The token is missing, wrong, or not allowed to do this."),
            "413": {"description": "The body is too large."},
            "415": _answer("The body is not JSON by its content type."),
            "429": _answer("The token, or the address, sent more than it may; `Retry-After` says when to come again."),
        },
    }


def _commands(told: Mapping[str, Any]) -> dict[str, Any]:
    return {_schema_name(command): _command_schema(command, told) for command in offered(told)}


def _command_schema(command: Command, told: Mapping[str, Any]) -> dict[str, Any]:
    own = told["commands"][command.name]
    options = own.get("options", {})
    if "$ref" not in options:
        options = {"type": "object", "properties": options, "additionalProperties": False}
    members = {name: options if name == "options" else told["members"][name] for name in command.members}
    arguments: dict[str, Any] = {"type": "object", "properties": members, "additionalProperties": False}
    if "required" in own:
        arguments["required"] = own["required"]
    schema: dict[str, Any] = {
        "type": "object",
        "description": own["summary"],
        "properties": {command.name: arguments},
        "required": [command.name],
        "additionalProperties": False,
    }
    if command.replacement is not None:
        schema["deprecated"] = True
        schema["description"] += f" Use {command.replacement}."
    return schema


def _schema_name(command: Command) -> str:
    return f"{command.name[0].upper()}{command.name[1:]}Command"


def _answer(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _reference("Answer")}}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
