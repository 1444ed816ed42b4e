"""A process that copies a log to its file in two parts, the second one's sync failing; `test_checkpoints.py` runs it.

Arguments: `sqlite` or `writer`, and the file. Between the parts it says so and waits for a line.
"""

import contextlib
import os
import sys
from pathlib import Path

import apsw

from services.runtime.errors import DataApiError
from services.runtime.logs import configure_logs
from services.store.documents import open_database
from services.store.writer import Writer

ROWS = 200


def rows(number: int) -> str:
    """Return the statement that adds a part of the rows."""
    return (
        f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {ROWS}) "
        f"INSERT INTO t SELECT {number}, randomblob(2000) FROM n"
    )


def say(line: str) -> None:
    """Tell the test where the process is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(kind: str, path: Path) -> None:
    """Run to the end, which is an end without closing anything."""
    configure_logs("test", "error")
    writer = Writer(path, create=True)
    connection = writer.connection
    connection.execute("CREATE TABLE t (part INTEGER, data BLOB)")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.execute(rows(1))
    reader = open_database(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchall()
    connection.execute(rows(2))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    reader.close()

    say("first part copied")
    sys.stdin.readline()
    if kind == "writer":
        writer._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
    else:
        with contextlib.suppress(apsw.IOError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    say("the sync failed")
    sys.stdin.readline()
    if kind == "writer":
        try:
            writer.check()
        except DataApiError as error:
            say(f"refused: {error}")
            sys.stdin.readline()
            writer.check()
        connection = writer.connection
    else:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    connection.execute("INSERT INTO t VALUES (3, NULL)")
    say("acknowledged")
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
