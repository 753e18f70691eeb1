"""Numbered schema migrations, one script ``mNNNN_subject.sql`` each.

The database records the migrations applied. The first process to open it applies the missing ones in order, in one
transaction. A database with unknown migrations is left unchanged.
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
    """Return the migrations of this version in order, as number to (name, SQL)."""
    scripts = [entry for entry in files(__name__).iterdir() if entry.name.endswith(".sql")]
    found = {int(script.name[1:5]): (script.name.removesuffix(".sql"), script.read_text("utf-8")) for script in scripts}
    return dict(sorted(found.items()))


def migrate(connection: sqlite3.Connection) -> list[str]:
    """Apply missing migrations and return their names.

    Raises:
        StorageError: a newer version created the database (code ``STORE_TOO_NEW``).
    """
    known = available()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_TABLE)
        applied = {row[0] for row in connection.execute("SELECT number FROM schema_migrations")}
        if unknown := applied - known.keys():
            raise StorageError(
                f"The database has schema {max(unknown)}. This version of Gatewright supports schemas up to"
                f" {max(known)}.",
                code="STORE_TOO_NEW",
                recommended_action="Upgrade Gatewright to the version that created the database, or a later one.",
            )
        names = []
        for number, (name, sql) in known.items():
            if number not in applied:
                for statement in _statements(sql):
                    connection.execute(statement)
                connection.execute("INSERT INTO schema_migrations (number, name) VALUES (?, ?)", (number, name))
                names.append(name)
        connection.execute("COMMIT")
        return names
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    """Split a script into statements. ``executescript`` would commit the enclosing transaction."""
    statements, current = [], ""
    for line in sql.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
