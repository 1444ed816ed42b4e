"""PostgreSQL with pgvector, by psycopg and pgvector's adapter. Runs in the peers' environment.

Settings of a search are those that pgvector's documentation advises: an index on the field of the filter, of which the
planner makes use where it selects little, and scans of the graph that go on until enough documents pass the filter.
"""

import asyncio
import json
import struct
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from pgvector.psycopg import register_vector_async

from benchmarks.store.cases import Task
from benchmarks.store.clients import CallFailedError, Client
from benchmarks.store.dataset import DIMENSION, TOP
from benchmarks.store.documents import Documents

Float32 = NDArray[np.float32]

#: Begin and end of the binary form of COPY; see its documentation.
_COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_COPY_END = struct.pack(">h", -1)
_JSONB_VERSION = b"\1"
_MAINTENANCE_MEMORY = "4GB"


class Postgres(Client):
    """A table with an index on the category, and one on the vectors, which is built once the table is loaded."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._table = task.collection
        self._idle: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
        self._connections: list[psycopg.AsyncConnection[Any]] = []

    async def open(self) -> None:
        """Connect as often as there are clients."""
        self._connections.clear()
        self._idle = asyncio.Queue()
        place = f"host={self._task.target.address} user=postgres dbname=postgres"
        for _ in range(self._task.clients):
            connection = await psycopg.AsyncConnection.connect(place, autocommit=True)
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            await register_vector_async(connection)
            await connection.execute("SET hnsw.iterative_scan = relaxed_order")
            if self._task.effort is not None:
                await connection.execute(f"SET hnsw.ef_search = {int(self._task.effort)}")
            self._connections.append(connection)
            self._idle.put_nowait(connection)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            await connection.close()

    async def create(self) -> None:
        """Create the table. Its vectors lie in its rows, where they are read fastest."""
        await self._run(
            f"CREATE TABLE {self._table} (id bigint PRIMARY KEY, text text, category text, number integer, "
            f"place jsonb, embedding vector({DIMENSION}))"
        )
        await self._run(f"ALTER TABLE {self._table} ALTER COLUMN embedding SET STORAGE PLAIN")
        await self._run(f"CREATE INDEX ON {self._table} (category)")

    async def drop(self) -> None:
        """Drop the table."""
        await self._run(f"DROP TABLE {self._table}")

    async def before_load(self) -> None:
        """Drop the index on the vectors: to build it after a load is far faster than to keep it up to date."""
        await self._run(f"DROP INDEX IF EXISTS {self._table}_embedding")

    async def index(self) -> None:
        """Build the index on the vectors, and gather what the planner has to know."""
        await self._run(f"SET maintenance_work_mem = '{_MAINTENANCE_MEMORY}'")
        await self._run(
            f"CREATE INDEX {self._table}_embedding ON {self._table} USING hnsw (embedding vector_cosine_ops) "
            "WITH (m = 16, ef_construction = 64)"
        )
        await self._run(f"VACUUM ANALYZE {self._table}")

    async def _run(self, statement: str) -> None:
        try:
            await self._connections[0].execute(statement)
        except psycopg.Error as problem:
            raise CallFailedError(f"{type(problem).__name__}: {problem}"[:200]) from None

    def encode_search(self, query: Float32, category: str) -> tuple[str, Any]:
        """Return statement and vector. The category is part of the statement, so that its plan suits it."""
        where = f"WHERE category = '{category}' " if category else ""
        statement = (
            f"SELECT id, text, category, number, place::text, embedding <=> %b AS distance FROM {self._table} "
            f"{where}ORDER BY distance LIMIT {TOP}"
        )
        return statement, Vector(query)

    async def search(self, request: tuple[str, Any]) -> list[int]:
        """Return the numbers of the documents that were found."""
        statement, vector = request
        connection = await self._idle.get()
        try:
            cursor = connection.cursor(binary=True)
            await cursor.execute(statement, (vector,), prepare=True)
            return [row[0] for row in await cursor.fetchall()]
        except psycopg.Error as problem:
            raise CallFailedError(f"{type(problem).__name__}: {problem}"[:200]) from None
        finally:
            self._idle.put_nowait(connection)

    def encode_write(self, documents: Documents, numbers: range) -> bytes:
        """Return the rows in the binary form of COPY, which pgvector's documentation advises for loading."""
        return _COPY_BEGIN + b"".join(_row(documents, number) for number in numbers) + _COPY_END

    async def write(self, request: bytes) -> None:
        """Copy the rows into the table, in a transaction of their own."""
        connection = await self._idle.get()
        try:
            async with connection.cursor().copy(f"COPY {self._table} FROM STDIN (FORMAT BINARY)") as copy:
                await copy.write(request)
        except psycopg.Error as problem:
            raise CallFailedError(f"{type(problem).__name__}: {problem}"[:200]) from None
        finally:
            self._idle.put_nowait(connection)

    async def empty(self) -> None:
        """Select nothing."""
        connection = await self._idle.get()
        try:
            await connection.execute("SELECT 1", prepare=True)
        except psycopg.Error as problem:
            raise CallFailedError(type(problem).__name__) from None
        finally:
            self._idle.put_nowait(connection)


def _row(documents: Documents, number: int) -> bytes:
    fields = documents.fields(number)
    vector = documents.vector(number)
    columns = (
        struct.pack(">q", number),
        fields["text"].encode(),
        fields["category"].encode(),
        struct.pack(">i", fields["number"]),
        _JSONB_VERSION + json.dumps(fields["place"]).encode(),
        struct.pack(">hh", len(vector), 0) + vector.astype(">f4").tobytes(),
    )
    return struct.pack(">h", len(columns)) + b"".join(struct.pack(">i", len(column)) + column for column in columns)
