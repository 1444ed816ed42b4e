"""The configurations of the load tests: what ghz would be told is right, whether it is installed or not."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from orrery.embedder.v1 import embedder_pb2
from orrery.store.v1 import store_pb2

from benchmarks.load import bodies, ghz, http
from benchmarks.load.cases import BATCH, CASES, CONFIGURATIONS, Case, load_thresholds
from benchmarks.load.target import Certificates, Target
from benchmarks.machine import ROOT

RPC_CASES = [case for case in CASES if case.service != "gateway"]
PROTO_FILES = {"embedder": embedder_pb2.DESCRIPTOR.name, "store": store_pb2.DESCRIPTOR.name}
#: What the configurations may set, of all that ghz knows: a misspelt name would be ignored.
KNOWN = {
    "name", "call", "proto", "import-paths", "insecure", "concurrency", "duration", "duration-stop", "timeout",
    "data", "data-file",
}  # fmt: skip
TARGET = Target("a test", "http://127.0.0.1:1", "token", "unix:/store.sock", "unix:/embedder.sock", "db", "ks")


def rendered(body: Any) -> Any:
    """Return a body as ghz sends it: its templates as something that is both text and Base64."""
    text = re.sub(r"{{.*?}}", base64.b64encode(b"{}").decode(), json.dumps(body))
    return json.loads(text)


def messages(settings: dict[str, Any]) -> list[Any]:
    """Return the requests of a configuration, as messages of its method. Raises for a field that there is not."""
    service_name, _, method_name = settings["call"].partition("/")
    service = descriptor_pool.Default().FindServiceByName(service_name)
    kind = message_factory.GetMessageClass(service.methods_by_name[method_name].input_type)
    found = settings["data"] if "data" in settings else json.loads((ROOT / settings["data-file"]).read_text())
    return [json_format.ParseDict(rendered(one), kind()) for one in (found if isinstance(found, list) else [found])]


def test_every_case_of_an_rpc_has_a_configuration_and_every_case_a_threshold() -> None:
    assert {path.stem for path in CONFIGURATIONS.glob("*")} == {case.name for case in RPC_CASES}
    assert set(http.COMMANDS) == {case.name for case in CASES} - {case.name for case in RPC_CASES}
    thresholds = load_thresholds()
    assert set(thresholds.cases) == {case.name for case in CASES}
    assert thresholds.callers == (1, 8, 32, 64)
    assert thresholds.error_share == 0


@pytest.mark.parametrize("case", RPC_CASES, ids=lambda case: case.name)
def test_a_configuration_names_a_method_and_sends_its_requests(case: Case) -> None:
    raw = json.loads(case.configuration.read_text())
    assert set(raw) <= KNOWN
    assert raw["proto"] == f"protos/{PROTO_FILES[case.service]}"
    assert (ROOT / raw["proto"]).is_file() and raw["import-paths"] == ["protos"]

    settings = ghz.configuration(case, TARGET, "books")

    assert settings["host"] == f"unix:/{case.service}.sock"
    assert messages(settings)


def test_search_and_insert_go_to_the_collection_with_whole_vectors() -> None:
    search, insert = (
        messages(ghz.configuration(case, TARGET, "books")) for case in RPC_CASES if case.service == "store"
    )

    reference = store_pb2.CollectionRef(database="db", keyspace="ks", name="books")
    assert {one.collection.SerializeToString() for one in (*search, *insert)} == {reference.SerializeToString()}
    assert all(len(one.sort.vector) == 4 * bodies.DIMENSION for one in search)
    written = [document.vector.values for one in insert for document in one.documents]
    assert len(written) == len(set(written)) == bodies.INSERTIONS * BATCH
    assert {len(values) for values in written} == {4 * bodies.DIMENSION}


def test_a_template_of_a_document_has_no_quote_that_go_would_see_escaped() -> None:
    (first, *_) = bodies.insert_requests(bodies.collection_reference("db", "ks", "books"))
    templates = [document["json"] for document in first["documents"]]

    assert all(json.dumps(template) == f'"{template}"' for template in templates)
    assert all(template.startswith("{{ dict `_id` newUUID `name` `") for template in templates)


def test_embed_is_asked_for_the_target_database_with_the_service_that_was_given() -> None:
    given = {"provider": "local", "model": "sentence-transformers/all-MiniLM-L6-v2"}
    target = Target("a test", "http://127.0.0.1:1", "token", embedder="unix:/e", database="db", embedding_service=given)

    (request,) = messages(ghz.configuration(CASES[0], target, ""))

    assert request.database == "db"
    assert json_format.MessageToDict(request.service) == given


def test_a_deployment_is_called_by_mutual_tls() -> None:
    certificates = Certificates(Path("/ca.pem"), Path("/caller.pem"), Path("/caller.key"))
    target = Target("a test", "https://x", "token", store="dns:///store:7070", certificates=certificates)

    settings = ghz.configuration(RPC_CASES[-1], target, "books")

    assert "insecure" not in settings
    assert (settings["cacert"], settings["cert"], settings["key"]) == ("/ca.pem", "/caller.pem", "/caller.key")
    assert "token" not in repr(target)


@pytest.mark.parametrize("name", http.COMMANDS)
def test_commands_are_of_one_kind_and_no_larger_than_a_message_may_be(name: str) -> None:
    commands = [json.loads(command) for command in http.COMMANDS[name]()]

    assert {kind for command in commands for kind in command} == {
        {"http-find-one": "findOne", "http-find": "find", "http-insert-many": "insertMany"}[name]
    }
    if name == "http-insert-many":
        assert all(len(command["insertMany"]["documents"]) == BATCH for command in commands)
