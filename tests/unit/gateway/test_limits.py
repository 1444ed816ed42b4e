"""Limits: each one named, documented, and set by name."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

from services.documents import rules
from services.gateway import limits
from services.gateway.limits import Limits, override

DOCUMENT = Path(__file__).parents[3] / "docs" / "limits.md"


def settings() -> dict[str, object]:
    """Return every limit by name with its default."""
    own = {item.name: getattr(Limits(), item.name) for item in dataclasses.fields(Limits) if item.name != "document"}
    document = {item.name: getattr(Limits().document, item.name) for item in dataclasses.fields(rules.DocumentLimits)}
    return own | document


def test_every_limit_is_documented_with_its_default() -> None:
    text = DOCUMENT.read_text()

    missing = [name for name, value in settings().items() if f"| `{name}` | {value} |" not in text]
    assert missing == []


def test_every_limit_has_a_docstring() -> None:
    (definition,) = ast.parse(inspect.getsource(Limits)).body
    assert isinstance(definition, ast.ClassDef)
    documented = [
        before.target.id
        for before, after in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    ]

    assert documented == [item.name for item in dataclasses.fields(limits.Limits)]


def test_a_limit_is_set_by_name() -> None:
    changed = override(Limits(), {"find_page_documents": "20", "max_depth": "4"})

    assert (changed.find_page_documents, changed.document.max_depth) == (20, 4)
    assert changed.insert_many_documents == Limits().insert_many_documents


@pytest.mark.parametrize(
    ("name", "value", "says"), [("no_such", "1", "find_page_documents"), ("max_depth", "x", "'x'")]
)
def test_what_is_no_limit_is_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        override(Limits(), {name: value})
