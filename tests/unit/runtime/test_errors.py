"""The catalogue, and errors on their way through an RPC."""

import ast
import pickle
from pathlib import Path

import grpc
import pytest

from services.runtime.errors import MAX_VALUE_CHARACTERS, DataApiError, catalogue
from services.runtime.rpc import error_to_status, status_to_error

SERVICES = Path(__file__).parents[3] / "services"


def test_every_definition_names_a_grpc_status_that_exists() -> None:
    unknown = {item.code: item.grpc for item in catalogue().values() if not hasattr(grpc.StatusCode, item.grpc)}

    assert unknown == {}


def test_every_family_is_one_of_the_data_api() -> None:
    assert {item.family for item in catalogue().values()} == {"REQUEST", "SERVER"}


def raised_in_source() -> list[tuple[str, str, frozenset[str], bool]]:
    """Return place, code, named details and whether more are passed on, of each `DataApiError("CODE", ...)`."""
    found = []
    for path in SERVICES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DataApiError" and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    names = frozenset(item.arg for item in node.keywords if item.arg) - {"document_ids"}
                    passes_on = any(item.arg is None for item in node.keywords)
                    found.append((f"{path.name}:{node.lineno}", code.value, names, passes_on))
    return found


def test_the_source_raises_only_codes_of_the_catalogue_with_the_details_they_name() -> None:
    wrong = [
        (place, code)
        for place, code, names, passes_on in raised_in_source()
        if code not in catalogue()
        or (catalogue()[code].details != names if not passes_on else not names <= catalogue()[code].details)
    ]

    assert wrong == []


def test_a_message_shows_details_without_expanding_them() -> None:
    error = DataApiError("UNKNOWN_KEYSPACE", keyspace="${car} {keyspace}")

    assert "'${car} {keyspace}'" in error.message


def test_a_long_detail_is_cut_and_says_so() -> None:
    error = DataApiError("UNKNOWN_KEYSPACE", keyspace="k" * (MAX_VALUE_CHARACTERS + 1))

    assert f"cut from {MAX_VALUE_CHARACTERS + 1} to {MAX_VALUE_CHARACTERS} characters" in error.message


def test_a_missing_detail_is_refused() -> None:
    with pytest.raises(KeyError):
        DataApiError("UNKNOWN_KEYSPACE")


def test_an_error_crosses_an_rpc_unchanged() -> None:
    error = DataApiError("DOCUMENT_ALREADY_EXISTS", id="'é'").about(b'"\xc3\xa9"', b"5")

    carried = status_to_error(error_to_status(error))

    assert carried is not None
    assert (carried.code, carried.message, carried.document_ids) == (error.code, error.message, error.document_ids)


def test_an_error_survives_pickling() -> None:
    error = DataApiError("UNKNOWN_KEYSPACE", keyspace="k").about(b"1")

    copy = pickle.loads(pickle.dumps(error))

    assert (copy.code, copy.message, copy.document_ids) == (error.code, error.message, error.document_ids)
