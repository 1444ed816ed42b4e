"""The pytest plugin: `orrery_server` runs once a session, `orrery_database` is fresh for each test.

pytest imports this module in every run of whoever has Orrery installed: everything else is imported by the fixtures.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_orrery.database import OrreryDatabase
    from pytest_orrery.server import OrreryServer

_RECORD = "--orrery-record"
_server = pytest.StashKey["OrreryServer"]()
_log_begin = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the server."""
    parser.getgroup("orrery").addoption(
        _RECORD, action="store_true", help="ask the embedding providers and write their vectors to orrery_recordings"
    )
    parser.addini("orrery_data_dir", "folder of the server's data, kept afterwards; a temporary one by default")
    parser.addini("orrery_isolation", "what each test gets: a database (default) or a keyspace", default="database")
    parser.addini("orrery_environment", "NAME=VALUE for the server, one a line", type="linelist")
    parser.addini("orrery_arguments", "more arguments of `orrery up`", type="args")
    parser.addini("orrery_keys", "PROVIDER NAME VARIABLE: provider keys to store, one a line", type="linelist")
    parser.addini("orrery_recordings", "file of recorded vectors that replaces the embedding providers")


@pytest.fixture(scope="session")
def orrery_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrreryServer]:
    """Run Orrery: `orrery up` on a free port, once a session; with pytest-xdist, once a worker."""
    from pytest_orrery.server import OrreryServer, ProviderKey, ServerError

    record = bool(pytestconfig.getoption(_RECORD))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    folder = _path(pytestconfig, "orrery_data_dir")
    recordings = _path(pytestconfig, "orrery_recordings")
    try:
        if record and recordings is None:
            raise ValueError(f"{_RECORD} writes the file that `orrery_recordings` names: set it")
        if record and worker:
            raise ValueError(f"{_RECORD} writes one file: run it without pytest-xdist (-n 0)")
        if recordings is not None and not record and not recordings.is_file():
            raise ValueError(f"orrery_recordings: there is no {recordings}: make it with {_RECORD}")
        server = OrreryServer(
            tmp_path_factory.mktemp("orrery") if folder is None else folder / worker,
            environment=dict(_variable(line) for line in pytestconfig.getini("orrery_environment")),
            arguments=pytestconfig.getini("orrery_arguments"),
            keys=[ProviderKey.parse(line) for line in pytestconfig.getini("orrery_keys")],
            recordings=recordings,
            record=record,
            isolation=pytestconfig.getini("orrery_isolation"),
        )
        with server:
            pytestconfig.stash[_server] = server
            yield server
    except (ServerError, ValueError) as problem:
        raise pytest.fail.Exception(f"orrery: {problem}", pytrace=False) from None


@pytest.fixture
def orrery_database(orrery_server: OrreryServer) -> Iterator[OrreryDatabase]:
    """Make an empty database for one test; it is gone afterwards."""
    with orrery_server.database() as database:
        yield database


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember how much the server had said before a test."""
    server = item.config.stash.get(_server, None)
    item.stash[_log_begin] = server.log_bytes() if server is not None else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the server said during a test that failed."""
    report = yield
    server = item.config.stash.get(_server, None)
    if report.failed and server is not None and "orrery_server" in getattr(item, "fixturenames", ()):
        said = server.log(item.stash.get(_log_begin, 0))
        if said:
            report.sections.append(("Orrery's log", said))
    return report


def _path(config: pytest.Config, name: str) -> Path | None:
    """Return a setting that is a path, relative to the root of the tests."""
    value = str(config.getini(name) or "")
    return config.rootpath / value if value else None


def _variable(line: str) -> tuple[str, str]:
    name, separator, value = line.partition("=")
    if not separator:
        raise ValueError(f"orrery_environment: {line!r} is no NAME=VALUE")
    return name.strip(), value.strip()
