"""What is counted and logged of requests by the settings."""

from typing import Any

import pytest
import structlog

from services.gateway.envelope import Answer
from services.gateway.exchange import Request, Response
from services.gateway.fields import Fields
from services.gateway.http.body import Body
from services.gateway.metrics import GatewayMetrics
from services.gateway.observation import Call, Observation, current
from services.gateway.observer import Observer
from services.gateway.settings import HttpSettings, LogSettings, MetricsSettings, load_settings
from services.runtime.errors import DataApiError
from services.runtime.line_rate import LineRate

FAILED = Answer(errors=[DataApiError("UNKNOWN_KEYSPACE", keyspace="nowhere")])


def observed(database: str = "shop") -> Observation:
    observation = Observation(database, keyspace="ks", name="books", path_names=2)
    members = {"filter": {"a": 1}}
    observation.understood("findOne", Fields(members, ("filter",), place="findOne"))
    return observation


def request(method: str, path: str) -> Request:
    return Request(method, path, path, Body(HttpSettings(), 0, False, lambda: None))


def logged(settings: LogSettings, answer: Answer) -> list[Any]:
    with structlog.testing.capture_logs() as lines:
        Observer(GatewayMetrics(), settings).finished(observed(), answer)
    return [line["event"] for line in lines]


@pytest.mark.parametrize(
    ("commands", "good", "failed"),
    [("errors", [], ["command"]), ("all", ["command"], ["command"]), ("none", [], [])],
)
def test_which_commands_are_logged(commands: Any, good: list[str], failed: list[str]) -> None:
    settings = LogSettings(commands=commands)
    assert logged(settings, Answer()) == good
    assert logged(settings, FAILED) == failed


def test_slow_ones_are_logged_whatever_the_setting() -> None:
    assert logged(LogSettings(commands="none", slow_milliseconds=1e-9), Answer()) == ["slow command"]
    assert logged(LogSettings(commands="none", slow_milliseconds=0), Answer()) == []


def test_slow_ones_are_counted_all_and_logged_so_many_a_second() -> None:
    metrics = GatewayMetrics()
    observer = Observer(metrics, LogSettings(slow_milliseconds=1e-9), LineRate(3, lambda: 0.0))
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            observer.finished(observed(), Answer())
    assert [line["event"] for line in lines] == ["slow command"] * 3
    assert (
        'orrery_gateway_slow_commands_total{command="FindOneCommand",module="sgv2-jsonapi",tenant="SINGLE-TENANT"} 5.0'
        in metrics.page("")[0].decode()
    )


@pytest.mark.parametrize(("tenants", "tenant"), [("one", "SINGLE-TENANT"), ("databases", "shop")])
def test_the_tenant_is_one_or_the_database(tenants: Any, tenant: str) -> None:
    metrics = GatewayMetrics(MetricsSettings(tenants=tenants))
    observer = Observer(metrics)
    observation = observed()
    observation.calls.append(Call("store", "FindDocuments", "OK", 0.25))
    observer.finished(observation, Answer(data={"document": None}))
    observer.answered(observation, request("POST", "/v1/ks/books"), Response(503, b"0123456789"))

    text = metrics.page("")[0].decode()
    assert f'tenant="{tenant}"' in text
    assert ('tenant="SINGLE-TENANT"' in text) == (tenants == "one")
    assert (
        f'http_server_requests_counter_total{{error="true",module="sgv2-jsonapi",tenant="{tenant}"}} 1.0' in text
    ) == (tenants == "databases")
    assert 'outcome="SERVER_ERROR",status="503"' in text.replace('module="sgv2-jsonapi",', "").replace(
        'method="POST",', ""
    )
    assert (
        'orrery_gateway_rpc_seconds_sum{code="OK",method="FindDocuments",module="sgv2-jsonapi",service="store"} 0.25'
        in text
    )


def test_paths_and_methods_that_are_none_have_one_label_each() -> None:
    metrics = GatewayMetrics()
    for number in range(5):
        Observer(metrics).answered(Observation("shop"), request(f"METHOD{number}", f"/{number}"), Response(404))
    found = {
        line for line in metrics.page("")[0].decode().splitlines() if line.startswith("http_server_requests_seconds_c")
    }
    (line,) = found
    assert 'method="OTHER"' in line
    assert 'uri="NOT_FOUND"' in line
    assert line.endswith(" 5.0")


def test_settings_come_from_variables_too() -> None:
    environment = {
        "ORRERY_GATEWAY_LOG_COMMANDS": "all",
        "ORRERY_GATEWAY_LOG_SLOW_MILLISECONDS": "250",
        "ORRERY_GATEWAY_LOG_ACCESS": "true",
        "ORRERY_GATEWAY_METRICS_TENANTS": "databases",
    }
    settings = load_settings(environment)
    assert settings.log == LogSettings(commands="all", slow_milliseconds=250, access=True)
    assert settings.metrics == MetricsSettings(tenants="databases")


def test_outside_of_requests_nothing_is_kept() -> None:
    current().calls.append(Call("store", "ListKeyspaces", "OK", 1))
    assert current().calls == []
