"""``gatewright keys shred`` and ``move``: destroying a manufacturer's keys, and moving keys to a separate store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright import event_kinds
from gatewright.cli.bootstrap import load_settings, opened, require_keys, run
from gatewright.cli.output import Json, print_json, print_line
from gatewright.cli.posture import operator
from gatewright.errors import ConfigurationError, ValidationError

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation


def shred(
    manufacturer_id: Annotated[str, typer.Argument(help="Id of the manufacturer.")],
    reason: Annotated[str, typer.Option(help="Reason, for the audit log.")] = "by operator",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json: Json = False,
) -> None:
    """Permanently destroy a manufacturer's data keys (crypto-shredding).

    Its encrypted data becomes unreadable everywhere, including backups of the records. Asks you to type the id. Older
    backups of the key store still contain the keys; see docs/key-management.md.
    """
    done = run(_shred(manufacturer_id, reason, ask=not yes))
    if json:
        print_json(done)
    elif done["keys_destroyed"]:
        print_line(
            f"{done['keys_destroyed']} keys of {manufacturer_id} destroyed. Its encrypted data can no longer be read."
        )
    else:
        print_line(f"{manufacturer_id} has no keys, and none will be created.")


async def _shred(manufacturer_id: str, reason: str, *, ask: bool) -> dict[str, Any]:
    async with opened() as foundation:
        name = await _name_of(foundation, manufacturer_id)
        if ask:
            _confirm(manufacturer_id, name)
        result = await foundation.encryption.shred(manufacturer_id, reason=f"{reason} ({operator()})")
        return result.to_dict()


async def _name_of(foundation: SecurityFoundation, manufacturer_id: str) -> str:
    """The company name, or the id if the manufacturer was deleted but its keys still exist."""
    stored = await foundation.store.get_manufacturer(manufacturer_id)
    if stored is not None:
        return stored.company_name
    keys = await (foundation.key_database or foundation.store).list_data_keys(after=(manufacturer_id, -1), limit=1)
    if not manufacturer_id or not keys or keys[0].manufacturer_id != manufacturer_id:
        raise ValidationError(
            f"Unknown manufacturer {manufacturer_id!r}, and no keys exist for it. "
            "List manufacturers with `gatewright manufacturer list`.",
            code="UNKNOWN_MANUFACTURER",
        )
    return manufacturer_id


def _confirm(manufacturer_id: str, name: str) -> None:
    typer.echo(
        f"This permanently destroys the keys of {name}. Its data can never be read again, not even from a backup of "
        "the records, and nothing more can be encrypted for it.",
        err=True,
    )
    typed = typer.prompt(f"Type {manufacturer_id} to continue", default="", show_default=False, err=True)
    if typed.strip() != manufacturer_id:
        raise ValidationError("The id does not match. Nothing was destroyed.", code="NOT_CONFIRMED")


def move(json: Json = False) -> None:
    """Move all data keys from the store of records to GATEWRIGHT_KEY_DATABASE.

    Stop the service, set the variable, run this command, and start the service. Safe to repeat. Older backups of the
    records still contain the wrapped keys: rotate the root key afterwards and destroy the old one.
    """
    done = run(_move())
    if json:
        print_json(done)
    elif done["generations"]:
        print_line(f"{done['data_keys']:,} data keys of {done['generations']} generations moved to {done['to']}.")
    else:
        print_line(f"No keys to move: they are already in {done['to']}.")


async def _move() -> dict[str, Any]:
    from gatewright.encryption.key_store_separation import move_keys
    from gatewright.events import Severity, event
    from gatewright.storage.sqlite.store import SqliteStore

    settings = load_settings()
    require_keys(settings)
    target = settings.key_database_path
    if target is None:
        raise ConfigurationError("GATEWRIGHT_KEY_DATABASE=(missing): set it to the target file.")
    async with SqliteStore(settings.database_path) as records, SqliteStore(target) as keys:
        moved = await move_keys(records, keys)
    done: dict[str, Any] = {"to": str(target), "generations": len(moved.generations), "data_keys": len(moved.data_keys)}
    async with opened() as foundation:  # fails if the keys are not usable at their new location
        if moved.generations:
            foundation.sink.emit(
                event(event_kinds.ENCRYPTION_KEYS_MOVED, severity=Severity.HIGH, actor=operator(), **done)
            )
    return done
