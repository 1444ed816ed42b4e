"""What was used: counted, kept, and held against budgets."""

from pathlib import Path

import pytest

from services.embedder.settings import Budget
from services.embedder.usage import Spender, UsageBook, Used
from services.runtime.errors import DataApiError

OPENAI = Spender("openai", "team", "shop", "text-embedding-3-small")


def test_figures_add_up_and_outlive_the_process(tmp_path: Path) -> None:
    book = UsageBook(tmp_path / "usage.db", [])
    for _ in range(3):
        book.record(OPENAI, Used(calls=1, texts=2, cached=1, tokens=10, saved=4, money=0.5))
    book.close()

    again = UsageBook(tmp_path / "usage.db", [])
    again.record(OPENAI, Used(calls=1, texts=1, tokens=1))
    (row,) = again.rows("2000-01-01")
    assert row.spender == OPENAI
    assert row.used == Used(calls=4, texts=7, cached=3, tokens=31, saved=12, money=1.5)
    assert again.rows("2999-01-01") == []
    again.close()


def test_a_budget_warns_and_then_refuses(tmp_path: Path) -> None:
    book = UsageBook(tmp_path / "usage.db", [Budget("openai", "day", tokens=100, warn_at=0.5)])
    assert book.check(OPENAI, 10, 0) == []
    book.record(OPENAI, Used(tokens=45))
    (warning,) = book.check(OPENAI, 10, 0)
    assert "45 of 100 tokens" in warning
    book.record(OPENAI, Used(tokens=50))

    with pytest.raises(DataApiError) as refused:
        book.check(OPENAI, 10, 0)
    assert refused.value.code == "EMBEDDING_GATEWAY_RATE_LIMITED"
    assert "95 of 100 tokens" in refused.value.message
    book.close()


def test_a_budget_holds_after_a_restart(tmp_path: Path) -> None:
    first = UsageBook(tmp_path / "usage.db", [])
    first.record(OPENAI, Used(tokens=95))
    first.close()
    book = UsageBook(tmp_path / "usage.db", [Budget("openai", "month", tokens=100)])

    with pytest.raises(DataApiError):
        book.check(OPENAI, 10, 0)
    book.close()


@pytest.mark.parametrize(
    ("budget", "concerned"),
    [
        (Budget("openai", "day", money=1.0), True),
        (Budget("openai", "day", money=1.0, key="team"), True),
        (Budget("openai", "day", money=1.0, key="other"), False),
        (Budget("openai", "day", money=1.0, database="shop"), True),
        (Budget("openai", "day", money=1.0, database="other"), False),
        (Budget("cohere", "day", money=1.0), False),
    ],
)
def test_a_budget_is_for_its_key_and_database(tmp_path: Path, budget: Budget, concerned: bool) -> None:
    book = UsageBook(tmp_path / "usage.db", [budget])
    book.record(OPENAI, Used(money=2.0))

    if concerned:
        with pytest.raises(DataApiError, match="of money"):
            book.check(OPENAI, 0, 0.1)
    else:
        assert book.check(OPENAI, 0, 0.1) == []
    book.close()


@pytest.mark.parametrize("amounts", [{}, {"tokens": 1, "money": 1.0}])
def test_a_budget_is_in_tokens_or_in_money(amounts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either"):
        Budget("openai", "day", **amounts)  # type: ignore[arg-type]
