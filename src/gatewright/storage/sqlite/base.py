"""What every slice of the SQLite store stands on."""

from __future__ import annotations

from gatewright.storage.changes import Changes
from gatewright.storage.sqlite.changes import ChangePoll
from gatewright.storage.sqlite.engine import SqliteEngine


class SqliteBase:
    """Holds the engine and the change log; slices add methods."""

    engine: SqliteEngine
    changes: Changes
    poll: ChangePoll
