"""The forms that the store's files have had: what brings a file of an earlier one up, and what refuses a later one.

A file's form is its `user_version`; 0 is a file without tables. To change a form, change the tables of a new file and
add a migration that makes the same of a file of the form before. Released migrations are never changed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apsw

from services.runtime.errors import ConfigurationError

#: Changes the tables of a file from one form to the next, inside a transaction that the caller holds.
Migration = Callable[[apsw.Connection], None]


class FormatError(ConfigurationError):
    """A file was written by a newer version; the message says which file and what to do."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The form of one kind of file.

    `schema` makes the tables of a new file. The first migration brings form 1 to 2, the next 2 to 3, and so on.
    """

    schema: str
    migrations: tuple[Migration, ...] = ()

    @property
    def version(self) -> int:
        """The form that this version writes."""
        return 1 + len(self.migrations)

    def check(self, version: int, file: str) -> None:
        """Refuse a form that is not known; `file` says which file it is. Raises `FormatError`."""
        if version > self.version:
            raise FormatError(
                f"{file} has format version {version}, written by a newer Orrery; this one knows up to "
                f"{self.version}. Use the newer one, or restore a backup of before the upgrade"
            )

    def prepare(self, connection: apsw.Connection, file: str) -> None:
        """Bring a file to this form: the tables where there are none, then one migration after another.

        Each step is a transaction of its own, so that a kill leaves a file of some form, never one between two.

        Raises `FormatError`, or `apsw.Error` where the file cannot be read or written.
        """
        version = format_version(connection)
        self.check(version, file)
        if version == 0:
            with _step(connection, self.version):
                connection.execute(self.schema)
            return
        for number in range(version, self.version):
            with _step(connection, number + 1):
                self.migrations[number - 1](connection)


def format_version(connection: apsw.Connection) -> int:
    """Return the form of a file; 0 for one without tables."""
    return next(int(value) for (value,) in connection.execute("PRAGMA user_version"))


@contextmanager
def _step(connection: apsw.Connection, version: int) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        # An error of the disk may have rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
