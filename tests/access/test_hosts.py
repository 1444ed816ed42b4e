"""The host name of a request chooses its database: in every form, and however somebody tries to confuse it."""

import json
import socket
from collections.abc import Callable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, StreamEnded, StreamReset

from tests.access.operating import Client, Operator
from tests.live import Orrery

FIND = json.dumps({"findKeyspaces": {}}).encode()
Make = Callable[..., Client]


def keyspace_of(database: str) -> str:
    """Return the keyspace that only this database has."""
    return database.replace("-", "_")


def exchange(server: Orrery, request: bytes) -> tuple[int, bytes]:
    """Send bytes and return status and body of the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def request_of(*lines: str, target: str = "/v1", version: str = "1.1") -> bytes:
    """Return a request with some header lines, whose answer ends the connection."""
    head = [f"POST {target} HTTP/{version}", *lines, "Content-Type: application/json", f"Content-Length: {len(FIND)}"]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1") + FIND


def test_every_form_of_a_databases_host_name_chooses_it(
    server: Orrery, operator: Operator, database: str, client: Make
) -> None:
    identifier = operator.create("by-id", "of_by_id")
    token = operator.token()

    for host in (f"{database}.localhost", f"{database}-eu-west1.data.example.org", f"{database.upper()}.LOCALHOST."):
        assert client(host=host, token=token).keyspaces() == [keyspace_of(database), "default_keyspace"], host
    for host in (f"{identifier}-eu-west1.data.example.org", f"{identifier.upper()}.localhost"):
        assert client(host=host, token=token).keyspaces() == ["of_by_id"], host
    operator.drop("by-id")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "orrery-gateway", "data.example.org", "[::1]"])
def test_hosts_that_name_no_database_mean_the_default_one(server: Orrery, client: Make, host: str) -> None:
    assert client(host=host, token=server.token).keyspaces() == ["default_keyspace"]


@pytest.mark.parametrize(
    "host",
    ["none.localhost", "none-eu-west1.data.example.org", "default.data.example.org", "default-us.data.example.org"],
)
def test_hosts_that_name_a_database_that_is_not_there_are_never_the_default_one(
    server: Orrery, operator: Operator, client: Make, host: str
) -> None:
    scoped = operator.token("default")

    wrong = client(host=host, token="wrong").send("/v1", {"findKeyspaces": {}})
    known = client(host=host, token=scoped).send("/v1", {"findKeyspaces": {}})
    operators = client(host=host, token=server.token).send("/v1", {"findKeyspaces": {}})

    # Who has no token for all databases learns nothing, the operator what is wrong.
    for response in (wrong, known):
        assert response.status_code == 401
        assert "none" not in response.text
        assert response.json()["errors"][0]["errorCode"] == "UNAUTHENTICATED_REQUEST"
    assert operators.status_code == 404
    assert operators.json()["errors"][0]["errorCode"] == "UNKNOWN_DATABASE"


def test_names_that_proxies_add_are_not_trusted(database: str, client: Make, server: Orrery) -> None:
    headers = {
        "X_Forwarded_Host": f"{database}.localhost",
        "Forwarded": f"host={database}.localhost",
        "X_Host": f"{database}.localhost",
        "X_Original_Host": f"{database}.localhost",
    }
    answer = client(host="localhost", token=server.token).answer("/v1", {"findKeyspaces": {}}, **headers)

    assert answer["status"]["keyspaces"] == ["default_keyspace"]


def test_several_hosts_are_refused(server: Orrery, operator: Operator, database: str) -> None:
    token = f"Token: {operator.token(database)}"
    mine, default = f"Host: {database}.localhost", "Host: localhost"

    for lines in ((mine, default), (default, mine), (mine, mine)):
        assert exchange(server, request_of(*lines, token)) == (400, b"")
    status, body = exchange(server, request_of(mine, token))
    assert (status, keyspace_of(database).encode() in body) == (200, True)


@pytest.mark.parametrize(
    "line",
    [
        "Host: localhost, {}.localhost",
        "Host: {}.localhost localhost",
        "Host: {}.localhost/x",
        "Host: user@{}.localhost",
        "Host: {}.localhost:80:80",
        "Host: {}%2elocalhost",
        "Host : {}.localhost",
        "Host: localhost\r\n {}.localhost",
        "Host: {}.localhost\x00",
    ],
)
def test_a_host_that_two_readers_could_read_apart_is_refused(
    server: Orrery, operator: Operator, database: str, line: str
) -> None:
    status, _ = exchange(server, request_of(line.format(database), f"Token: {operator.token(database)}"))

    assert status == 400


def test_a_target_with_a_host_of_its_own_has_to_be_that_of_the_request(
    server: Orrery, operator: Operator, database: str
) -> None:
    token = f"Token: {operator.token('default', role='read')}"
    host = f"{database}.localhost"

    assert exchange(server, request_of("Host: localhost", token, target=f"http://{host}/v1"))[0] == 400
    assert exchange(server, request_of(f"Host: {host}", token, target="http://localhost/v1"))[0] == 400
    assert exchange(server, request_of("Host: localhost", token, target="http://localhost/v1"))[0] == 200
    assert exchange(server, request_of(f"Host: {host}", token, target=f"http://{host}/v1"))[0] == 401


def test_of_several_tokens_none_is_taken(server: Orrery, operator: Operator, database: str) -> None:
    right, wrong = f"Token: {operator.token(database)}", "Token: wrong"
    host = f"Host: {database}.localhost"

    for lines in ((right, wrong), (wrong, right), (right, right)):
        assert exchange(server, request_of(host, *lines))[0] == 401


def test_a_request_of_an_early_http_without_a_host_is_for_the_default_database(server: Orrery) -> None:
    status, body = exchange(server, request_of(f"Token: {server.token}", version="1.0"))

    assert (status, json.loads(body)["status"]["keyspaces"]) == (200, ["default_keyspace"])


def test_the_authority_of_http_2_chooses_the_database(server: Orrery, operator: Operator, database: str) -> None:
    token = operator.token(database)

    chosen, refused = (
        over_http_2(server, [(":authority", authority)], token) for authority in (f"{database}.localhost", "localhost")
    )

    assert json.loads(chosen)["status"]["keyspaces"] == [keyspace_of(database), "default_keyspace"]
    assert b"UNAUTHENTICATED_REQUEST" in refused


def test_a_host_beside_another_authority_is_not_answered(server: Orrery, operator: Operator, database: str) -> None:
    token = operator.token("default", role="read")
    hosts = [(":authority", "localhost"), ("host", f"{database}.localhost")]

    assert over_http_2(server, hosts, token) == b""


def over_http_2(server: Orrery, hosts: list[tuple[str, str]], token: str) -> bytes:
    """Send a request over HTTP/2, its pseudo headers before the others, and return the body of the answer."""
    configuration = H2Configuration(client_side=True, validate_outbound_headers=False)
    client = H2Connection(config=configuration)
    client.initiate_connection()
    pseudo = [(":method", "POST"), (":path", "/v1"), (":scheme", "http")]
    pseudo += [item for item in hosts if item[0].startswith(":")]
    others = [item for item in hosts if not item[0].startswith(":")]
    client.send_headers(1, [*pseudo, *others, ("token", token), ("content-type", "application/json")])
    client.send_data(1, FIND, end_stream=True)
    answer = b""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(client.data_to_send())
        while True:
            events = client.receive_data(connection.recv(65536))
            answer += b"".join(event.data for event in events if isinstance(event, DataReceived))
            if any(isinstance(event, StreamEnded | StreamReset | ConnectionTerminated) for event in events):
                return answer
            connection.sendall(client.data_to_send())
