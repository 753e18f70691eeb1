"""``gatewright migrate``: schema migrations of the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.bootstrap import load_settings, run
from gatewright.cli.output import FOUND, Json, print_json, print_line

if TYPE_CHECKING:
    from gatewright.settings import Settings


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Only report; exit code 1 if migrations are pending.")] = False,
    json: Json = False,
) -> None:
    """Run pending migrations.

    The service runs them at every start. Run this command first if startup must be fast.
    """
    settings = load_settings()
    due = pending(settings)
    if not check:
        run(_migrate(settings))
    if json:
        print_json({"store": _shown(settings), "due": due, "done": [] if check else due})
    else:
        print_line(f"{_shown(settings)}: " + (", ".join(due) if due else "up to date") + _verb(due, check=check))
    raise typer.Exit(FOUND if check and due else 0)


def _verb(due: list[str], *, check: bool) -> str:
    if not due:
        return ""
    return " pending" if check else " applied"


def pending(settings: Settings) -> list[str]:
    """Migrations that the configured store lacks."""
    from gatewright.storage.sqlite.migrations import available

    names = {number: name for number, (name, _) in available().items()}
    path = settings.database_path
    if "://" in settings.database and not settings.database.startswith("sqlite"):
        return []
    if path == ":memory:" or not Path(path).exists():
        return list(names.values())
    connection = sqlite3.connect(f"file:{Path(path).absolute()}?mode=ro", uri=True)
    try:
        have = {row[0] for row in connection.execute("SELECT number FROM schema_migrations")}
    except sqlite3.OperationalError:
        have = set()
    finally:
        connection.close()
    return [name for number, name in names.items() if number not in have]


async def _migrate(settings: Settings) -> None:
    store = store_of(settings)
    await store.initialize()
    await store.close()


def store_of(settings: Settings) -> Any:
    """The configured store, not initialized. It needs no keys."""
    from gatewright.storage import SqliteStore

    path = settings.database_path
    if path != ":memory:":
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore(path, durable=settings.durable)


def _shown(settings: Settings) -> str:
    """The path of the store, without secrets."""
    from gatewright.logs import redact_text

    return redact_text(settings.database_path)
