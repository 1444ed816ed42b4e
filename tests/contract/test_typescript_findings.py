"""What running the TypeScript client's whole API brought to light."""

import http.client

from tests.contract.api import Api


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
