"""The page of threats: every defence names tests, and every test that it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
#: Rows of the tables of threats: threat, defence, tests.
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.count(" | ") == 2 and not line.startswith(("| threat", "| ---"))
]
TESTS = sorted({test for row in ROWS for test in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row[2])})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_threat_has_a_defence_and_a_test(row: list[str]) -> None:
    assert row[1]
    assert re.fullmatch(r"`tests/[\w/]+\.py::\w+`(, `tests/[\w/]+\.py::\w+`)*", row[2].rstrip(" |"))


@pytest.mark.parametrize("test", TESTS)
def test_every_test_that_is_named_exists(test: str) -> None:
    path, _, name = test.partition("::")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, kinds)]

    assert name in {function.name for function in functions}
