"""``gatewright keys shred`` and ``move``: destroy a manufacturer's keys, and take all keys to a store of their own."""

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
    manufacturer_id: Annotated[str, typer.Argument(help="The id of the manufacturer.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")] = "by the operator",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Destroy a manufacturer's data keys for good: its encrypted data can be read nowhere, also in older copies of the
    records. Asks to type the id. Copies of the key store from before still hold the keys; see docs/key-management.md.
    """
    done = run(_shred(manufacturer_id, reason, ask=not yes))
    if json:
        print_json(done)
    elif done["keys_destroyed"]:
        print_line(f"{done['keys_destroyed']} keys of {manufacturer_id} are destroyed; its data is noise from now on.")
    else:
        print_line(f"{manufacturer_id} has no keys (any more), and gets none.")


async def _shred(manufacturer_id: str, reason: str, *, ask: bool) -> dict[str, Any]:
    async with opened() as foundation:
        name = await _name_of(foundation, manufacturer_id)
        if ask:
            _confirm(manufacturer_id, name)
        result = await foundation.encryption.shred(manufacturer_id, reason=f"{reason} ({operator()})")
        return result.to_dict()


async def _name_of(foundation: SecurityFoundation, manufacturer_id: str) -> str:
    """The company's name; for a manufacturer that is gone from the records, and whose keys are not, its id."""
    stored = await foundation.store.get_manufacturer(manufacturer_id)
    if stored is not None:
        return stored.company_name
    keys = await (foundation.key_database or foundation.store).list_data_keys(after=(manufacturer_id, -1), limit=1)
    if not manufacturer_id or not keys or keys[0].manufacturer_id != manufacturer_id:
        raise ValidationError(
            f"No manufacturer has the id {manufacturer_id!r}, and no key is kept for it; "
            "list them with `gatewright manufacturer list`.",
            code="UNKNOWN_MANUFACTURER",
        )
    return manufacturer_id


def _confirm(manufacturer_id: str, name: str) -> None:
    typer.echo(
        f"This destroys the keys of {name} for good. Nobody can read its data afterwards, not even from a backup of "
        "the records, and nothing is encrypted for it again.",
        err=True,
    )
    typed = typer.prompt(f"Type {manufacturer_id} to go on", default="", show_default=False, err=True)
    if typed.strip() != manufacturer_id:
        raise ValidationError("That is not the id; nothing was destroyed.", code="NOT_CONFIRMED")


def move(json: Json = False) -> None:
    """Take all data keys out of the store of the records into GATEWRIGHT_KEY_DATABASE.

    Stop the service, set the variable, run this, start the service. May be repeated after a fault. Backups of the
    records from before still hold the wrapped keys: rotate the root key afterwards, and destroy the old one.
    """
    done = run(_move())
    if json:
        print_json(done)
    elif done["generations"]:
        print_line(f"{done['data_keys']:,} data keys of {done['generations']} generations are in {done['to']} now.")
    else:
        print_line(f"There are no keys with the records; those that are used are in {done['to']}.")


async def _move() -> dict[str, Any]:
    from gatewright.encryption.key_store_separation import move_keys
    from gatewright.events import Severity, event
    from gatewright.storage.sqlite.store import SqliteStore

    settings = load_settings()
    require_keys(settings)
    target = settings.key_database_path
    if target is None:
        raise ConfigurationError("GATEWRIGHT_KEY_DATABASE=(missing): name the file that the keys are to go to.")
    async with SqliteStore(settings.database_path) as records, SqliteStore(target) as keys:
        moved = await move_keys(records, keys)
    done: dict[str, Any] = {"to": str(target), "generations": len(moved.generations), "data_keys": len(moved.data_keys)}
    async with opened() as foundation:  # it opens with the keys where they are now, or says what is wrong
        if moved.generations:
            foundation.sink.emit(
                event(event_kinds.ENCRYPTION_KEYS_MOVED, severity=Severity.HIGH, actor=operator(), **done)
            )
    return done
