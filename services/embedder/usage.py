"""What was used, by key and database: counted for a day and a month, kept on disk, and held against budgets."""

import dataclasses
import datetime
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from services.embedder.settings import Budget
from services.runtime.errors import DataApiError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, provider TEXT NOT NULL, name TEXT NOT NULL, database TEXT NOT NULL, model TEXT NOT NULL,
    calls INTEGER NOT NULL, texts INTEGER NOT NULL, cached INTEGER NOT NULL,
    tokens INTEGER NOT NULL, saved INTEGER NOT NULL, money REAL NOT NULL,
    PRIMARY KEY (day, provider, name, database, model)
) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    calls = calls + excluded.calls, texts = texts + excluded.texts, cached = cached + excluded.cached,
    tokens = tokens + excluded.tokens, saved = saved + excluded.saved, money = money + excluded.money
"""


@dataclass(frozen=True, slots=True)
class Spender:
    """Who uses what: provider, name of the stored key (empty for one that came with the request), database, model."""

    provider: str
    key: str
    database: str
    model: str


@dataclass(slots=True)
class Used:
    """What was used. `saved` are tokens that the cache spared; `money` is in the currency of the catalogue's prices."""

    calls: int = 0
    texts: int = 0
    cached: int = 0
    tokens: int = 0
    saved: int = 0
    money: float = 0.0

    def add(self, other: "Used") -> None:
        """Add another's figures."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one spender used on a day (ISO date, UTC)."""

    day: str
    spender: Spender
    used: Used


class UsageBook:
    """Counts what is used. Figures are written when `write` is called, which is not at every call."""

    def __init__(self, path: Path, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._lock = threading.Lock()
        self._connection = apsw.Connection(str(path))
        path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode = wal; PRAGMA synchronous = normal")
        self._connection.execute(_SCHEMA)
        self._unwritten: dict[tuple[str, Spender], Used] = defaultdict(Used)
        self._months: dict[str, dict[tuple[str, Spender], Used]] = {}

    def record(self, spender: Spender, used: Used) -> None:
        """Count what was used, now."""
        day = _today()
        with self._lock:
            self._unwritten[day, spender].add(used)
            self._month(day).setdefault((day, spender), Used()).add(used)

    def check(self, spender: Spender, tokens: float, money: float) -> list[str]:
        """Return warnings of budgets that are nearly spent.

        `tokens` and `money` are estimates of what a call will use. Raises `EMBEDDING_GATEWAY_RATE_LIMITED` where that
        is more than a budget has left.
        """
        warnings = []
        for budget in self._budgets:
            if not _concerns(budget, spender):
                continue
            spent, most, more, unit = self._spent(budget), budget.tokens or budget.money or 0, tokens, "tokens"
            if budget.money is not None:
                more, unit = money, "of money"
            where = ", ".join(
                part
                for part in (
                    f"provider {budget.provider}",
                    budget.key and f"key {budget.key}",
                    budget.database and f"database {budget.database}",
                )
                if part
            )
            state = f"{spent:g} of {most:g} {unit} for {where} are spent this {budget.period} (UTC)"
            if spent + more > most:
                problem = f"the budget does not allow it: {state}, and this call needs about {more:g}"
                raise DataApiError("EMBEDDING_GATEWAY_RATE_LIMITED", problem=problem)
            if spent + more >= budget.warn_at * most:
                warnings.append(state)
        return warnings

    def rows(self, since: str) -> list[UsageRow]:
        """Return what was used from a day (ISO date) on, by day and spender."""
        self.write()
        with self._lock:
            sql = "SELECT * FROM usage WHERE day >= ? ORDER BY day, provider, name, database, model"
            return [
                UsageRow(str(row[0]), Spender(*map(str, row[1:5])), Used(*row[5:]))
                for row in self._connection.execute(sql, (since,))
            ]

    def write(self) -> None:
        """Write what was counted."""
        with self._lock:
            if not self._unwritten:
                return
            rows = [
                (day, *dataclasses.astuple(who), *dataclasses.astuple(used))
                for (day, who), used in self._unwritten.items()
            ]
            with self._connection:
                self._connection.executemany(_ADD, rows)
            self._unwritten.clear()

    def close(self) -> None:
        """Write what was counted and close the file."""
        self.write()
        self._connection.close()

    def _spent(self, budget: Budget) -> float:
        today = _today()
        with self._lock:
            return sum(
                used.tokens if budget.tokens is not None else used.money
                for (day, spender), used in self._month(today).items()
                if (budget.period == "month" or day == today) and _concerns(budget, spender)
            )

    def _month(self, day: str) -> dict[tuple[str, Spender], Used]:
        """Return the figures of a day's month, read from the file when a month begins."""
        month = day[:7]
        if month not in self._months:
            sql = "SELECT * FROM usage WHERE day >= ? AND day < ?"
            rows = self._connection.execute(sql, (month, f"{month}~"))
            self._months = {month: {(str(row[0]), Spender(*map(str, row[1:5]))): Used(*row[5:]) for row in rows}}
        return self._months[month]


def _concerns(budget: Budget, spender: Spender) -> bool:
    return (
        budget.provider == spender.provider
        and budget.key in (None, spender.key)
        and budget.database in (None, spender.database)
    )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
