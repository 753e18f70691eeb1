"""Numbered schema migrations: one script ``mNNNN_subject.sql`` each, run once.

A database remembers the numbers it has; what is missing runs in order, in one transaction, whichever process
comes first. A database that knows numbers this program does not is left alone.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from gatewright.errors import StorageError

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT (datetime('now'))
) STRICT
"""


def available() -> dict[int, tuple[str, str]]:
    """Number to (name, SQL) of every migration that this program has, in order."""
    scripts = [entry for entry in files(__name__).iterdir() if entry.name.endswith(".sql")]
    found = {int(script.name[1:5]): (script.name.removesuffix(".sql"), script.read_text("utf-8")) for script in scripts}
    return dict(sorted(found.items()))


def migrate(connection: sqlite3.Connection) -> list[str]:
    """Bring the schema up to date and return the names of what ran.

    Raises:
        StorageError: the database was made by a newer version (code ``STORE_TOO_NEW``).
    """
    wanted = available()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_TABLE)
        have = {row[0] for row in connection.execute("SELECT number FROM schema_migrations")}
        if unknown := have - wanted.keys():
            raise StorageError(
                f"The database has schema {max(unknown)}, which this version of Gatewright does not know.",
                code="STORE_TOO_NEW",
                recommended_action="Run the version that created it, or upgrade Gatewright.",
            )
        ran = []
        for number, (name, sql) in wanted.items():
            if number not in have:
                for statement in _statements(sql):
                    connection.execute(statement)
                connection.execute("INSERT INTO schema_migrations (number, name) VALUES (?, ?)", (number, name))
                ran.append(name)
        connection.execute("COMMIT")
        return ran
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    """The statements of a script; ``executescript`` would commit the transaction around them."""
    statements, current = [], ""
    for line in sql.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
