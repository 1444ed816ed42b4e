"""The OpenAPI document is valid, says what the gateway really takes, and its examples run; the pages are guarded."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway.commands import COMMANDS
from services.gateway.limits import Limits
from services.gateway.openapi import document
from tests.live import Orrery

DOCUMENT = document(Limits())
EXAMPLES = [
    (path, name, example["value"])
    for path, operations in DOCUMENT["paths"].items()
    for name, example in operations["post"]["requestBody"]["content"]["application/json"]["examples"].items()
]


@pytest.fixture
def http(orrery: Orrery) -> Iterator[httpx.Client]:
    """A client of the live server with its token."""
    with httpx.Client(base_url=orrery.url, headers={"Token": orrery.token}, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def books(http: httpx.Client) -> Iterator[httpx.Client]:
    """The same, with the collection of the examples."""
    http.post("/v1/default_keyspace", json={"createCollection": {"name": "books"}})
    yield http
    http.post("/v1/default_keyspace", json={"deleteCollection": {"name": "books"}})


def schema_of(name: str) -> dict[str, Any]:
    """Return what the document says of a command's members."""
    schema = DOCUMENT["components"]["schemas"][f"{name[0].upper()}{name[1:]}Command"]
    return dict(schema["properties"][name]["properties"])


def url(path: str) -> str:
    return path.replace("{keyspace}", "default_keyspace").replace("{collection}", "books")


def test_the_document_is_valid(http: httpx.Client) -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    served = http.get("/api/json/openapi", params={"format": "json"})
    assert served.headers["content-type"] == "application/json"
    assert {**served.json(), "components": 0} == {**DOCUMENT, "components": 0}
    as_yaml = http.get("/api/json/openapi")
    assert as_yaml.headers["content-type"] == "application/yaml"
    assert yaml.safe_load(as_yaml.text) == served.json()


def test_every_example_runs(http: httpx.Client) -> None:
    order = {"/v1": 0, "/v1/{keyspace}": 1, "/v1/{keyspace}/{collection}": 2}
    dropping = [one for one in EXAMPLES if one[1] == "deleteCollection"]
    for path, name, body in [*sorted((e for e in EXAMPLES if e not in dropping), key=lambda e: order[e[0]]), *dropping]:
        answer = http.post(url(path), json=body)
        assert answer.status_code == 200
        assert "errors" not in answer.json(), f"{name}: {answer.text}"


@pytest.mark.parametrize("name", [name for _, name, _ in EXAMPLES])
def test_members_and_options_are_those_that_the_gateway_takes(books: httpx.Client, name: str) -> None:
    told = schema_of(name)
    assert set(told) == set(COMMANDS[name].members)
    if "options" not in told:
        return
    options = told["options"]
    if "$ref" in options:
        options = DOCUMENT["components"]["schemas"][options["$ref"].rpartition("/")[2]]
    path, example = next((path, value[name]) for path, other, value in EXAMPLES if other == name)
    answer = books.post(url(path), json={name: {**example, "options": {"noSuchOption": 1}}}).json()
    (error,) = answer["errors"]
    if not options["properties"]:
        assert error["errorCode"] == "COMMAND_ACCEPTS_NO_OPTIONS"
        return
    known = set(re.findall(r"'(\w+)'", error["message"])) - {"noSuchOption", "options", name}
    assert known == set(options["properties"])


@pytest.mark.parametrize("path", ["/", "/swagger-ui/", "/swagger-ui/page.js", "/swagger-ui/page.css"])
def test_pages_load_nothing_from_elsewhere(http: httpx.Client, path: str) -> None:
    answer = http.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    for loaded in re.findall(r'(?:href|src)="(/swagger-ui/[^"]+)"', answer.text):
        assert http.get(loaded).status_code == 200
    assert not re.search(r"https?://|<script>|\bstyle=|\bon\w+=", answer.text)


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/json/openapi", "/health/live", "/swagger-ui/"])
def test_pages_can_only_be_read(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={})
    assert (answer.status_code, answer.content) == (404, b"")
