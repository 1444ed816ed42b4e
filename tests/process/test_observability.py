"""What operators see of a running Orrery: metrics, log lines and traces of all three services, and no content."""

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.collector import Collector, ReceivedSpan
from tests.conftest import PROVIDER_SECRET
from tests.live import Orrery, free_port
from tests.upstream.server import Upstream

#: Content that no metric, log line or span may have.
MARKED = "zanzibar-7f3a"
ENDPOINT = "/v1/default_keyspace/texts"
SERVICE = {
    "provider": "huggingface",
    "modelName": "sentence-transformers/all-MiniLM-L6-v2",
    "authentication": {"providerKey": "test-key"},
}


@dataclass
class Observed:
    """A live Orrery with everything switched on, and what it lets see."""

    server: Orrery
    collector: Collector
    http: httpx.Client
    store_metrics: str
    embedder_metrics: str

    def post(self, path: str, command: str, /, headers: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
        sent = {"Token": self.server.token, **(headers or {})}
        return dict(self.http.post(path, json={command: members}, headers=sent).json())

    def lines(self, **members: object) -> list[dict[str, Any]]:
        """Return the log lines with these members."""
        assert self.server.log is not None
        parsed = [json.loads(line) for line in self.server.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in parsed if all(line.get(name) == value for name, value in members.items())]

    def line(self, **members: object) -> dict[str, Any]:
        """Return the one log line with these members; it may be written just after the answer."""
        until = time.monotonic() + 10
        while not (found := self.lines(**members)) and time.monotonic() < until:
            time.sleep(0.05)
        (line,) = found
        return line

    def samples(self, url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = text_string_to_metric_families(self.http.get(url).text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value for it in families for sample in it.samples
        }

    def value(self, url: str, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels."""
        wanted = frozenset(labels.items())
        return sum(value for (found, has), value in self.samples(url).items() if found == name and wanted <= has)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    store, embedder = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with Upstream(PROVIDER_SECRET) as upstream, Collector() as collector:
        environment = {
            **upstream.environment(),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "ORRERY_STORE_METRICS": store,
            "ORRERY_EMBEDDER_METRICS": embedder,
            "ORRERY_GATEWAY_LOG_COMMANDS": "all",
            "ORRERY_GATEWAY_LOG_ACCESS": "true",
            "ORRERY_GATEWAY_LOG_SLOW_MILLISECONDS": "0.001",
            "ORRERY_GATEWAY_LOG_SLOW_LINES_PER_SECOND": "1000000",
            "ORRERY_STORE_LOG_SLOW_MILLISECONDS": "0.001",
            "ORRERY_STORE_LOG_SLOW_LINES_PER_SECOND": "1000000",
            "ORRERY_LOG_LEVEL": "debug",
        }
        with Orrery(folder / "data", environment=environment, log=folder / "log") as server:
            server.add_key("huggingface", "test-key", PROVIDER_SECRET, "default")
            with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
                running = Observed(server, collector, http, f"http://{store}/metrics", f"http://{embedder}/metrics")
                options = {"vector": {"service": SERVICE}}
                running.post("/v1/default_keyspace", "createCollection", name="texts", options=options)
                documents = [{"_id": f"{MARKED}-{n}", "n": n, "$vectorize": f"{MARKED} {n}"} for n in range(3)]
                inserted = running.post(ENDPOINT, "insertMany", documents=documents)
                assert "errors" not in inserted, inserted
                yield running


# --- metrics --------------------------------------------------------------------


def test_a_command_is_timed_with_the_labels_of_the_reference(observed: Observed) -> None:
    find: dict[str, Any] = {"sort": {"$vectorize": MARKED}, "filter": {"n": {"$gt": 0}}}
    before = observed.value("/metrics", "command_processor_process_seconds_count", command="FindCommand")
    observed.post(ENDPOINT, "find", **find)

    text = observed.http.get("/metrics").text
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("command_processor_process_seconds_count{") and 'SIMILARITY_SORT_WITH_FILTERS"' in line
    ]
    for label in (
        'command="FindCommand"',
        'tenant="SINGLE-TENANT"',
        'error="false"',
        'error_code="NA"',
        'vector_enabled="true"',
        'feature_vectorize="true"',
        'feature_vector="false"',
        'feature_lexical="false"',
        'feature_hybrid_string="false"',
        'feature_hybrid_limits_number="false"',
        'feature_hybrid_limits_vector="false"',
        'feature_hybrid_limits_lexical="false"',
        'module="sgv2-jsonapi"',
    ):
        assert label in line
    assert observed.value("/metrics", "command_processor_process_seconds_count", command="FindCommand") == before + 1
    samples = observed.samples("/metrics")
    quantiles = {
        dict(labels).get("quantile") for name, labels in samples if name == "command_processor_process_seconds"
    }
    assert quantiles == {"0.5", "0.98", "0.99"}
    assert observed.value("/metrics", "command_processor_process_seconds_max", command="FindCommand") > 0
    assert all(dict(labels).get("module") == "sgv2-jsonapi" for _, labels in samples)
    assert observed.value("/metrics", "index_usage_count_total", command="FindCommand", query_dbl_values="true") >= 1


def test_an_error_is_counted_by_its_full_code(observed: Observed) -> None:
    observed.post("/v1/default_keyspace/nothing", "findOne")

    found = observed.value(
        "/metrics", "command_processor_process_seconds_count", error_code="REQUEST_SCHEMA_UNKNOWN_COLLECTION_OR_TABLE"
    )
    assert found == 1


def test_requests_documents_and_embeddings_are_counted(observed: Observed) -> None:
    sizes = {"command": "InsertManyCommand", "tenant": "SINGLE-TENANT"}
    assert observed.value("/metrics", "json_docs_written_sum", **sizes) == 3
    assert observed.value("/metrics", "json_bytes_written_sum", **sizes) > 3 * len(MARKED)
    used = {**sizes, "embedding_provider": "huggingface", "embedding_model": SERVICE["modelName"]}
    assert observed.value("/metrics", "vectorize_call_duration_seconds_count", **used) == 1
    assert observed.value("/metrics", "vectorize_input_bytes_sum", **used) == 3 * len(f"{MARKED} 0")
    posted = {"method": "POST", "outcome": "SUCCESS", "status": "200", "uri": "/v1/{keyspace}/{collection}"}
    assert observed.value("/metrics", "http_server_requests_seconds_count", **posted) >= 1
    assert observed.http.post(ENDPOINT, json={}).status_code == 401
    refused = {**posted, "outcome": "CLIENT_ERROR", "status": "401"}
    assert observed.value("/metrics", "http_server_requests_seconds_count", **refused) >= 1
    assert observed.value("/metrics", "process_open_fds") > 0


def test_metrics_come_as_text_or_as_openmetrics(observed: Observed) -> None:
    text = observed.http.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    asked = observed.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.text.endswith("# EOF\n")


def test_the_store_tells_its_calls_its_collections_and_its_commits(observed: Observed) -> None:
    observed.post(ENDPOINT, "findOne", filter={"n": 1})
    texts = {"database": "default", "keyspace": "default_keyspace", "collection": "texts"}

    def value(name: str, **labels: str) -> float:
        return observed.value(observed.store_metrics, f"orrery_store_{name}", **labels)

    assert value("rpcs_total", method="InsertDocuments", code="OK") == 1
    assert value("rpc_seconds_count", method="FindDocuments") >= 1
    assert value("collection_documents", **texts) >= 3
    assert value("collection_vectors", **texts) >= 3
    assert value("collection_index", kind="exact", **texts) == 1
    assert value("collection_file_bytes", **texts) > 0
    assert value("commit_seconds_count") >= 1
    assert value("lane_running", lane="reads") == 0
    assert value("collections", state="open") == 1
    assert value("memory_bytes") > 0


def test_the_embedder_tells_its_calls(observed: Observed) -> None:
    assert observed.value(observed.embedder_metrics, "orrery_embedder_rpcs_total", method="Embed", code="OK") >= 1
    assert observed.value(observed.embedder_metrics, "orrery_embedder_texts_total", provider="huggingface") >= 3


# --- health ---------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/health", "/stargate/health"])
def test_health_tells_of_each_service(observed: Observed, prefix: str) -> None:
    for path in ("", "/ready"):
        ready = observed.http.get(prefix + path).json()
        assert ready["status"] == "UP"
        found = {check["name"]: (check["status"], check["data"]) for check in ready["checks"]}
        assert found["gateway"] == ("UP", {"draining": False})
        for service in ("store", "embedder"):
            status, data = found[service]
            assert (status, data["serving"]) == ("UP", "SERVING")
    for path in ("/live", "/started"):
        (check,) = observed.http.get(prefix + path).json()["checks"]
        assert check["data"]["uptimeSeconds"] >= 0


# --- logs -----------------------------------------------------------------------


def test_a_request_has_one_id_in_the_lines_of_all_services(observed: Observed) -> None:
    own = f"mine-{secrets.token_hex(4)}"
    observed.post(ENDPOINT, "find", {"X-Request-Id": own}, sort={"$vectorize": "a query"})

    line = observed.line(request_id=own, event="command")
    assert line["commandName"] == "find"
    assert (line["tenant"], line["namespaceName"], line["collectionName"]) == (
        "SINGLE-TENANT",
        "default_keyspace",
        "texts",
    )
    assert (line["documentsReceived"], line["documentsReturned"]) == ("NA", "3")
    assert line["errorList"] == []
    assert line["milliseconds"] >= max(line["storeMilliseconds"], line["embedderMilliseconds"]) > 0
    access = observed.line(request_id=own, event="access")
    assert (access["method"], access["path"], access["status"]) == ("POST", ENDPOINT, 200)
    assert {line["service"] for line in observed.lines(request_id=own)} == {"gateway", "embedder", "store"}


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "new\\nline", '"quoted"'])
def test_an_id_that_is_not_well_formed_is_replaced(observed: Observed, given: str) -> None:
    keyspace = f"unknown_{secrets.token_hex(4)}"
    observed.post(f"/v1/{keyspace}", "findCollections", {"X-Request-Id": given})

    line = observed.line(event="command", namespaceName=keyspace)
    assert line["request_id"] != given
    assert len(line["request_id"]) == 32


def test_no_answer_has_a_request_id(observed: Observed) -> None:
    answer = observed.http.post(ENDPOINT, json={"findOne": {}}, headers={"Token": "wrong", "X-Request-Id": "mine"})
    assert not [name for name in answer.headers if "request" in name.lower()]


def test_an_error_is_logged_by_the_id_that_the_caller_has(observed: Observed) -> None:
    answer = observed.post(ENDPOINT, "insertOne", document={"_id": f"{MARKED}-0"})
    (error,) = answer["errors"]

    said = {name: error[name] for name in ("id", "family", "scope", "errorCode")}
    assert observed.line(event="command", errorList=[said])["commandName"] == "insertOne"


def test_a_slow_command_is_logged_by_its_shape(observed: Observed) -> None:
    filter_ = {"$and": [{"n": {"$gte": 1}}, {"name": MARKED}, {"tags": {"$in": [MARKED, "b"]}}]}
    observed.post(ENDPOINT, "find", {"X-Request-Id": "slow-one"}, filter=filter_, sort={"n": 1}, options={"limit": 5})

    line = observed.line(request_id="slow-one", event="slow command")
    assert line["filter"] == {"$and": [{"n": {"$gte": "number"}}, {"name": "string"}, {"tags": {"$in": "array of 2"}}]}
    assert line["sort"] == {"n": "number"}
    assert line["options"] == {"limit": 5}
    assert line["sortType"] == "SORT_BY_FIELD"
    rpc = observed.line(request_id="slow-one", event="slow rpc")
    assert (rpc["method"], rpc["collection"], rpc["filtered"], rpc["sort"]) == (
        "FindDocuments",
        "texts",
        True,
        "fields",
    )


# --- traces ---------------------------------------------------------------------


def test_a_trace_leads_through_all_services_to_the_provider(observed: Observed) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    header = {"traceparent": f"00-{trace}-{caller}-01"}
    observed.post(ENDPOINT, "find", header, sort={"$vectorize": f"{MARKED} traced"})

    spans = observed.collector.trace(trace, lambda spans: len(spans) >= 6)
    by_name = {span.name: span for span in spans}

    def path(span: ReceivedSpan) -> list[str]:
        above = [other for other in spans if other.id == span.parent]
        return [*(path(above[0]) if above else []), f"{span.service}: {span.name}"]

    root = "orrery-gateway: POST /v1/{keyspace}/{collection}"
    assert by_name["POST /v1/{keyspace}/{collection}"].parent == caller
    assert path(by_name["request huggingface"]) == [
        root,
        "orrery-gateway: embedder.Embed",
        "orrery-embedder: orrery.embedder.v1.EmbedderService/Embed",
        "orrery-embedder: request huggingface",
    ]
    assert path(by_name["orrery.store.v1.StoreService/FindDocuments"]) == [
        root,
        "orrery-gateway: store.FindDocuments",
        "orrery-store: orrery.store.v1.StoreService/FindDocuments",
    ]
    attributes = by_name["POST /v1/{keyspace}/{collection}"].attributes
    assert attributes["orrery.command"] == "find"
    assert (attributes["orrery.database"], attributes["orrery.collection"]) == ("default", "texts")
    assert attributes["orrery.documents_returned"] == 3
    assert by_name["orrery.store.v1.StoreService/FindDocuments"].attributes["orrery.collection"] == "texts"


def test_a_failed_command_is_a_failed_span_with_its_code(observed: Observed) -> None:
    trace = secrets.token_hex(16)
    header = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    observed.post("/v1/default_keyspace/nothing", "findOne", header)

    spans = observed.collector.trace(trace, lambda spans: any(span.service == "orrery-gateway" for span in spans))
    (root,) = [span for span in spans if span.name.startswith("POST")]
    assert root.failed
    assert root.attributes["error.type"] == "UNKNOWN_COLLECTION_OR_TABLE"


def test_finds_that_share_a_call_are_linked_to_it(observed: Observed) -> None:
    traces = [secrets.token_hex(16) for _ in range(60)]

    def find(trace: str) -> None:
        header = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
        observed.post(ENDPOINT, "find", header, sort={"$vector": [0.1] * 384})

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(find, traces))
    until = time.monotonic() + 20
    while time.monotonic() < until:
        together = [span for span in observed.collector.spans if span.name == "store.FindDocumentsTogether"]
        if any(span.links for span in together):
            break
        time.sleep(0.1)
    shared = next(span for span in together if span.links)
    roots = {span.id for span in observed.collector.spans if span.trace in traces and span.name.startswith("POST")}
    assert {shared.parent, *shared.links} <= roots


# --- secrecy --------------------------------------------------------------------


def test_nothing_that_operators_see_has_content_or_secrets(observed: Observed) -> None:
    observed.post(
        ENDPOINT, "updateOne", filter={"name": MARKED}, update={"$set": {"name": MARKED, "$vectorize": MARKED}}
    )
    observed.post(ENDPOINT, "findOne", filter={"name": {"$regex": MARKED}})
    observed.post(ENDPOINT, "find", {"x-embedding-api-key": f"{MARKED}-key"}, sort={"$vectorize": MARKED})
    time.sleep(1)

    assert observed.server.log is not None
    seen = {
        "logs": observed.server.log.read_text(),
        "traces": "".join(observed.collector.raw),
        "gateway": observed.http.get("/metrics").text,
        "store": observed.http.get(observed.store_metrics).text,
        "embedder": observed.http.get(observed.embedder_metrics).text,
    }
    for place, text in seen.items():
        assert len(text) > 1000
        for secret in (MARKED, PROVIDER_SECRET, observed.server.token):
            assert secret not in text, f"{secret} is in the {place}"
