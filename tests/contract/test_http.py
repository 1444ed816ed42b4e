"""The transport: paths, methods, headers, bodies and statuses."""

import http.client
import json
import socket
import time

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from tests.contract.api import Api, error_code

FIND = {"find": {}}


@pytest.mark.parametrize("path", ["/v1", "/api/json/v1"])
def test_both_prefixes_serve_every_level(api: Api, path: str) -> None:
    assert "keyspaces" in api.raw(path, {"findKeyspaces": {}}).json()["status"]
    assert "collections" in api.raw(f"{path}/default_keyspace", {"findCollections": {}}).json()["status"]
    assert error_code(api.raw(f"{path}/default_keyspace/none", FIND)) == "UNKNOWN_COLLECTION_OR_TABLE"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_post_is_answered(api: Api, method: str) -> None:
    response = api.http.request(method, "/v1", headers={"Token": api.token})

    assert (response.status_code, response.content) == (405, b"")


@pytest.mark.parametrize("path", ["/", "/v2", "/v1/a/b/c", "/api/v1", "/v1x"])
def test_other_paths_are_not_found(api: Api, path: str) -> None:
    response = api.raw(path, FIND)

    assert (response.status_code, response.content) == (404, b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_missing_token_comes_first(api: Api, method: str) -> None:
    response = api.http.request(method, "/v1", headers={"Content-Type": "text/plain"}, content=b"{")

    assert response.status_code == 401
    assert error_code(response) == "MISSING_AUTHENTICATION_TOKEN"
    assert "Token" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("token", ["wrong", "", "Cassandra:eA==:eA==", "AstraCS:x"])
def test_a_wrong_token_is_refused(api: Api, token: str) -> None:
    response = api.raw("/v1", {"findKeyspaces": {}}, headers={"Token": token})

    assert response.status_code == 401
    assert error_code(response) == "UNAUTHENTICATED_REQUEST"
    assert token == "" or token not in response.text


def test_the_old_header_counts_where_the_new_one_is_absent(api: Api) -> None:
    response = api.http.post("/v1", json={"findKeyspaces": {}}, headers={"X-Cassandra-Token": api.token})

    assert response.status_code == 200


def test_authorization_is_not_read(api: Api) -> None:
    response = api.http.post("/v1", json=FIND, headers={"Authorization": f"Bearer {api.token}"})

    assert response.status_code == 401


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", ""])
def test_other_content_types_are_refused(api: Api, content_type: str) -> None:
    response = api.http.post(
        "/v1", content=b'{"findKeyspaces": {}}', headers={"Token": api.token, "Content-Type": content_type}
    )

    assert response.status_code == 415
    assert error_code(response) == "UNSUPPORTED_CONTENT_TYPE"


def test_a_charset_is_fine(api: Api) -> None:
    response = api.raw("/v1", {"findKeyspaces": {}}, headers={"Content-Type": "application/json; charset=UTF-8"})

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{wrong}", "REQUEST_NOT_JSON"),
        (b"wrong", "REQUEST_NOT_JSON"),
        (b'{"find": {', "REQUEST_NOT_JSON"),
        (b'{"find": {"a": NaN}} }', "REQUEST_NOT_JSON"),
        (b'{"find": {"filter": {"a": 1, "a": 2}}} }', "REQUEST_NOT_JSON"),
        (b'{"find": {"filter": {"a": NaN}}}', "REQUEST_NOT_JSON"),
        (b'{"find": {"filter": {"a": "\xff"}}}', "REQUEST_NOT_JSON"),
        (b'{"find": {"filter": {"a": 1, "a": 2}}}', "REQUEST_NOT_JSON"),
        (b'{"find": {}, "find": {}}', "REQUEST_NOT_JSON"),
        (b"", "COMMAND_FIELD_VALUE_INVALID"),
        (b"null", "COMMAND_FIELD_VALUE_INVALID"),
        (b"{}", "REQUEST_STRUCTURE_MISMATCH"),
        (b"[]", "REQUEST_STRUCTURE_MISMATCH"),
        (b'"find"', "REQUEST_STRUCTURE_MISMATCH"),
        (b'{"find": {}, "findOne": {}}', "REQUEST_STRUCTURE_MISMATCH"),
        (b'{"find": 3}', "REQUEST_STRUCTURE_MISMATCH"),
        (b'{"find": {"options": {"limit": {}}}}', "REQUEST_STRUCTURE_MISMATCH"),
        (b'{"unknown": {}}', "COMMAND_UNKNOWN"),
        (b'{"createKeyspace": {}}', "COMMAND_UNKNOWN"),
        (b'{"find": {"unknown": 1}}', "COMMAND_FIELD_UNKNOWN"),
        (b'{"find": {"options": {"unknown": 1}}}', "COMMAND_FIELD_UNKNOWN"),
        (b'{"find": {"filter": {"a": ' + b"1" * 101 + b"}}}", "SHRED_DOC_LIMIT_VIOLATION"),
        (b'{"find": {"filter": ' + b'{"a":' * 1001 + b"1" + b"}" * 1001 + b"}}", "SHRED_DOC_LIMIT_VIOLATION"),
    ],
)
def test_a_body_that_is_no_command(api: Api, body: bytes, code: str) -> None:
    response = api.raw("/v1/default_keyspace/none", body)

    assert response.status_code == 200
    assert error_code(response) == code
    assert response.json().keys() == {"errors"}


@pytest.mark.parametrize("behind", [b"}", b" {}", b" trailing", b"\n]"])
def test_what_stands_behind_the_object_is_not_read(api: Api, behind: bytes) -> None:
    assert "keyspaces" in api.raw("/v1", b'{"findKeyspaces": {}}' + behind).json()["status"]


def test_an_unknown_command_names_its_level_and_the_known_ones(api: Api) -> None:
    message = api.raw("/v1/default_keyspace/none", {"fynd": {}}).json()["errors"][0]["message"]

    assert "'fynd'" in message
    assert "Collection Command" in message
    assert "[alterTable, countDocuments, createIndex," in message


def test_an_unknown_member_names_the_known_ones_sorted(api: Api) -> None:
    message = api.raw("/v1/default_keyspace/none", {"find": {"x": 1}}).json()["errors"][0]["message"]

    assert "'filter', 'options', 'projection', 'sort'" in message


def test_several_violations_give_several_errors(api: Api) -> None:
    body = {"find": {"options": {"limit": 0, "skip": -1}}}
    errors = api.raw("/v1/default_keyspace/none", body).json()["errors"]

    assert [error["errorCode"] for error in errors] == ["COMMAND_FIELD_VALUE_INVALID"] * 2
    assert "command.options.limit" in errors[0]["message"]
    assert "command.options.skip" in errors[1]["message"]


def test_an_error_object_has_exactly_its_members(api: Api) -> None:
    (error,) = api.raw("/v1/default_keyspace", {"deleteCollection": {}}).json()["errors"]

    assert error.keys() == {"id", "family", "scope", "errorCode", "title", "message"}
    assert (error["family"], error["scope"]) == ("REQUEST", "")


def test_a_body_over_the_limit_is_refused_before_it_is_read(api: Api) -> None:
    connection = http.client.HTTPConnection(api.host, api.port, timeout=30)
    connection.putrequest("POST", "/v1")
    connection.putheader("Token", api.token)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(20 * 1024 * 1024 + 1))
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


def test_the_upgrade_of_a_client_that_prefers_http_2_keeps_the_body(api: Api) -> None:
    connection = http.client.HTTPConnection(api.host, api.port, timeout=30)
    headers = {
        "Token": api.token,
        "Content-Type": "application/json",
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    }
    for _ in range(2):
        connection.request("POST", "/v1", json.dumps({"findKeyspaces": {}}), headers)
        response = connection.getresponse()
        assert response.status == 200
        assert b'"keyspaces"' in response.read()
    connection.close()


def test_http_2_in_clear_text_is_answered(api: Api) -> None:
    configuration = H2Configuration(client_side=True)
    client = H2Connection(config=configuration)
    client.initiate_connection()
    body = json.dumps({"findKeyspaces": {}}).encode()
    headers = {":method": "POST", ":path": "/v1", ":scheme": "http", ":authority": api.host}
    client.send_headers(1, [*headers.items(), ("token", api.token), ("content-type", "application/json")])
    client.send_data(1, body, end_stream=True)
    answer = b""
    ended = False
    with socket.create_connection((api.host, api.port), timeout=30) as connection:
        connection.sendall(client.data_to_send())
        while not ended:
            events = client.receive_data(connection.recv(65536))
            answer += b"".join(event.data for event in events if isinstance(event, DataReceived))
            ended = any(isinstance(event, StreamEnded) for event in events)
            connection.sendall(client.data_to_send())

    assert b'"keyspaces"' in answer


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/stargate/health", "/stargate/health/started"])
def test_health_needs_no_token(api: Api, path: str) -> None:
    response = api.http.get(path)

    assert response.status_code == 200
    assert response.json()["status"] == "UP"


@pytest.mark.parametrize(
    ("method", "path", "changed", "status"),
    [
        ("POST", "/v1", {"Token": "wrong"}, 401),
        ("POST", "/v1", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v1/a/b/c", {}, 404),
        ("PUT", "/v1", {}, 405),
    ],
)
def test_a_connection_is_used_again_after_a_refusal_that_did_not_need_the_body(
    api: Api, method: str, path: str, changed: dict[str, str], status: int
) -> None:
    body = b'{"findKeyspaces": {}}'
    headers = {"Token": api.token, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(api.host, api.port, timeout=30)
    connection.putrequest(method, path)
    for name, value in {**headers, **changed, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    used = connection.sock
    time.sleep(0.1)  # Clients send head and body by themselves; here, far apart.
    connection.send(body)
    refused = connection.getresponse()
    refused.read()
    assert refused.status == status

    connection.request("POST", "/v1", body, headers)
    assert connection.getresponse().status == 200
    assert connection.sock is used
    connection.close()


def test_a_caller_that_sends_too_large_a_body_gets_to_read_the_answer(api: Api) -> None:
    body = b'"' + b"x" * (21 * 1024 * 1024) + b'"'
    headers = {"Token": api.token, "Content-Type": "application/json"}
    for _ in range(8):
        connection = http.client.HTTPConnection(api.host, api.port, timeout=30)
        connection.request("POST", "/v1", body, headers)
        answer = connection.getresponse()

        assert (answer.status, answer.read()) == (413, b"")
        connection.request("POST", "/v1", b'{"findKeyspaces": {}}', headers)
        assert connection.getresponse().status == 200
        connection.close()


def test_a_caller_that_asks_before_it_sends_too_large_a_body_is_refused_at_once(api: Api) -> None:
    connection = http.client.HTTPConnection(api.host, api.port, timeout=30)
    connection.putrequest("POST", "/v1")
    connection.putheader("Token", api.token)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(21 * 1024 * 1024))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()
