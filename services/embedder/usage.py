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
        #: What is spent of each budget, by its place and the day or month; read from the file when one begins.
        self._spent: dict[tuple[int, str], float] = {}

    def record(self, spender: Spender, used: Used) -> None:
        """Count what was used, now."""
        day = _today()
        with self._lock:
            for place, budget in enumerate(self._budgets):
                if (place, _period(budget, day)) in self._spent and _concerns(budget, spender):
                    self._spent[place, _period(budget, day)] += _amount(budget, used)
            self._unwritten[day, spender].add(used)

    def check(self, spender: Spender, tokens: float, money: float) -> list[str]:
        """Return warnings of budgets that are nearly spent.

        `tokens` and `money` are estimates of what a call will use. Raises `EMBEDDING_GATEWAY_RATE_LIMITED` where that
        is more than a budget has left.
        """
        warnings = []
        for place, budget in enumerate(self._budgets):
            if not _concerns(budget, spender):
                continue
            spent, most, more, unit = (
                self._spent_of(place, budget),
                budget.tokens or budget.money or 0,
                tokens,
                "tokens",
            )
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

    def _spent_of(self, place: int, budget: Budget) -> float:
        period = _period(budget, _today())
        with self._lock:
            if (place, period) not in self._spent:
                self._spent = {key: value for key, value in self._spent.items() if key[0] != place}
                self._spent[place, period] = self._counted(budget, period)
            return self._spent[place, period]

    def _counted(self, budget: Budget, period: str) -> float:
        """Return what was spent of a budget in a period: what the file has, and what is not written yet."""
        sql = "SELECT * FROM usage WHERE day >= ? AND day < ? AND provider = ?"
        rows = self._connection.execute(sql, (period, f"{period}~", budget.provider))
        written = [(Spender(*map(str, row[1:5])), Used(*row[5:])) for row in rows]
        waiting = [(spender, used) for (day, spender), used in self._unwritten.items() if day.startswith(period)]
        return sum(_amount(budget, used) for spender, used in written + waiting if _concerns(budget, spender))


def _period(budget: Budget, day: str) -> str:
    """Return the day, or its month, in which a budget counts."""
    return day if budget.period == "day" else day[: len("2026-11")]


def _amount(budget: Budget, used: Used) -> float:
    return used.tokens if budget.tokens is not None else used.money


def _concerns(budget: Budget, spender: Spender) -> bool:
    return (
        budget.provider == spender.provider
        and budget.key in (None, spender.key)
        and budget.database in (None, spender.database)
    )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
