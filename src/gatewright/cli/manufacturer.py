"""``gatewright manufacturer``: create, show, change, disable and export tenants."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from gatewright import event_kinds
from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table
from gatewright.cli.posture import operator
from gatewright.cli.reencrypt import Sources, record_sources
from gatewright.errors import ValidationError

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation
    from gatewright.storage.tenants import StoredManufacturer

app = typer.Typer(help="Create, show, change, disable and export manufacturers.", no_args_is_help=True)

ManufacturerId = Annotated[str, typer.Argument(help="Id of the manufacturer.")]
Reason = Annotated[str, typer.Option(help="Reason, for the audit log.")]


@app.command()
def create(
    email: Annotated[str, typer.Argument(help="Email address of the owner.")],
    company: Annotated[str, typer.Option("--company", help="Name of the company.")],
    tier: Annotated[str | None, typer.Option(help="Tier. [default: default_tier of the policy]")] = None,
    manufacturer_id: Annotated[str | None, typer.Option("--id", help="Id. [default: generated]")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    json: Json = False,
) -> None:
    """Create a manufacturer and its owner.

    A password is generated and shown once, unless --password-stdin is given. Passwords are never command-line
    arguments, which every process on the machine can read.
    """
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    data = {"email": email, "company_name": company, "tier": tier, "manufacturer_id": manufacturer_id}
    made = run(_create({k: v for k, v in data.items() if v is not None}, password))
    if json:
        print_json(made)
        return
    print_line(f"created  {made['manufacturer_id']}  {made['company_name']}  ({made['tier']})")
    if "password" in made:
        sys.stdout.write(f"      {email}   password (shown only once):  {made['password']}\n")


async def _create(data: dict[str, Any], password: str | None) -> dict[str, Any]:
    made = password or "-".join(secrets.token_hex(3) for _ in range(4))
    async with opened() as foundation:
        account = await foundation.auth.register_manufacturer({**data, "password": made})
        stored = await _known(foundation, account.manufacturer_id)
        shown = _public(stored)
        _record(
            foundation, event_kinds.ADMIN_MANUFACTURER_CREATED, stored.manufacturer_id, before=None, after=stored.tier
        )
    return shown if password else {**shown, "password": made}


@app.command("list")
def list_all(json: Json = False) -> None:
    """List manufacturers, by id."""
    found = run(_list())
    if json:
        print_json(found)
    else:
        columns = ("manufacturer_id", "company_name", "tier", "status", "created_at")
        print_table("Manufacturers", columns, [[m[name] for name in columns] for m in found])


async def _list() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with opened() as foundation:
        while page := await foundation.store.list_manufacturers(
            after=found[-1]["manufacturer_id"] if found else "", limit=500
        ):
            found += [_public(m) for m in page]
    return found


@app.command()
def show(manufacturer_id: ManufacturerId, json: Json = False) -> None:
    """Show a manufacturer with its members and usage."""
    found = run(_show(manufacturer_id))
    if json:
        print_json(found)
        return
    skipped = ("accounts", "usage")
    print_table("Manufacturer", ("", ""), [(name, value) for name, value in found.items() if name not in skipped])
    people = [[a[name] for name in ("account_id", "email", "role", "status")] for a in found["accounts"]]
    print_table("Members", ("account", "email", "role", "status"), people)
    print_usage(found["usage"])


async def _show(manufacturer_id: str) -> dict[str, Any]:
    async with opened() as foundation:
        stored = await _known(foundation, manufacturer_id)
        accounts = await foundation.store.list_accounts(manufacturer_id)
        return {
            **_public(stored),
            "accounts": [
                {"account_id": a.account_id, "email": a.email, "role": a.role, "status": a.status} for a in accounts
            ],
            "usage": await foundation.rbac.get_usage_overview(manufacturer_id),
        }


def print_usage(overview: Any) -> None:
    """Print quotas as a table."""
    rows = overview.items() if isinstance(overview, dict) else [(used["resource"], used) for used in overview]
    print_table(
        "Usage",
        ("resource", "used", "limit", "remaining", "resets"),
        [(name, u["current"], _limit(u["limit"]), _limit(u["remaining"]), u["resets_at"]) for name, u in rows],
    )


def _limit(value: int) -> Any:
    return "unlimited" if value < 0 else f"{value:,}"


@app.command("tier")
def change_tier(
    manufacturer_id: ManufacturerId,
    tier: Annotated[str, typer.Argument(help="New tier.")],
    reason: Reason = "by operator",
    json: Json = False,
) -> None:
    """Change the tier of a manufacturer. Takes effect within a second in every process; usage is kept."""
    before, after = run(_change_tier(manufacturer_id, tier, reason))
    _print_result(after, f"{before.tier} -> {after.tier}", json=json)


async def _change_tier(manufacturer_id: str, tier: str, reason: str) -> tuple[StoredManufacturer, StoredManufacturer]:
    async with opened() as foundation:
        before = await _known(foundation, manufacturer_id)
        await foundation.rbac.update_manufacturer_tier(manufacturer_id, tier, reason=reason)
        after = await _known(foundation, manufacturer_id)
        _record(
            foundation,
            event_kinds.ADMIN_TIER_CHANGED,
            manufacturer_id,
            before=before.tier,
            after=after.tier,
            reason=reason,
        )
        return before, after


@app.command()
def disable(manufacturer_id: ManufacturerId, reason: Reason = "by operator", json: Json = False) -> None:
    """Disable a manufacturer and end its sessions."""
    before, after = run(_set_status(manufacturer_id, "disabled", reason))
    _print_result(after, f"{before.status} -> {after.status}", json=json)


@app.command()
def enable(manufacturer_id: ManufacturerId, reason: Reason = "by operator", json: Json = False) -> None:
    """Enable a disabled manufacturer."""
    before, after = run(_set_status(manufacturer_id, "active", reason))
    _print_result(after, f"{before.status} -> {after.status}", json=json)


async def _set_status(manufacturer_id: str, status: str, reason: str) -> tuple[StoredManufacturer, StoredManufacturer]:
    async with opened() as foundation:
        before = await _known(foundation, manufacturer_id)
        after = await foundation.store.update_manufacturer(manufacturer_id, status=status) or before
        if status != "active":
            await foundation.auth.invalidate_sessions(manufacturer_id, reason=f"manufacturer {status}")
        _record(
            foundation,
            event_kinds.ADMIN_STATUS_CHANGED,
            manufacturer_id,
            before=before.status,
            after=status,
            reason=reason,
        )
        return before, after


@app.command()
def export(
    manufacturer_id: ManufacturerId,
    out: Annotated[Path | None, typer.Option(help="Output file, never overwritten. [default: export-ID.json]")] = None,
    account_id: Annotated[str | None, typer.Option("--account", help="Only the data of this member.")] = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Export all data of a manufacturer, or of one member, decrypted, to a private JSON file.

    For example, to answer a data subject access request. The export is recorded in the audit log.
    """
    target = out or Path(f"export-{quote(account_id or manufacturer_id, safe='')}.json")
    if target.exists():
        raise ValidationError(f"{target}: file exists. Choose another with --out.", code="FILE_EXISTS")
    counts = run(_export(manufacturer_id, account_id, target, source or []))
    if json:
        print_json({"file": str(target), **counts})
    else:
        print_table(f"Written to {target}", ("data", "entries"), list(counts.items()))
        print_line("The file is not encrypted. Hand it over safely, then delete it.")


async def _export(manufacturer_id: str, account_id: str | None, target: Path, names: list[str]) -> dict[str, int]:
    from gatewright.cli.data_export import export_manufacturer, export_member, write_private

    async with opened() as foundation:
        if account_id is None:
            sources = record_sources(foundation, names)
            held = await export_manufacturer(foundation, manufacturer_id, sources, actor=operator())
        else:
            held = await export_member(foundation, manufacturer_id, account_id, actor=operator())
        write_private(target, held)
    return {name: len(value) for name, value in held.items() if isinstance(value, list | dict) and name != "left_out"}


async def _known(foundation: SecurityFoundation, manufacturer_id: str) -> StoredManufacturer:
    found = await foundation.store.get_manufacturer(manufacturer_id)
    if found is None:
        raise ValidationError(
            f"Unknown manufacturer {manufacturer_id!r}. List them with `gatewright manufacturer list`.",
            code="UNKNOWN_MANUFACTURER",
        )
    return found


def _record(foundation: SecurityFoundation, kind: str, manufacturer_id: str, **data: Any) -> None:
    from gatewright.events import Severity, event

    foundation.sink.emit(
        event(kind, severity=Severity.NOTICE, manufacturer_id=manufacturer_id, actor=operator(), **data)
    )


def _public(manufacturer: StoredManufacturer) -> dict[str, Any]:
    """A manufacturer without its encrypted profile."""
    return {name: value for name, value in manufacturer.to_dict().items() if name != "profile"}


def _print_result(manufacturer: StoredManufacturer, change: str, *, json: bool) -> None:
    if json:
        print_json(_public(manufacturer))
    else:
        print_line(f"{manufacturer.manufacturer_id}  {manufacturer.company_name}: {change}")
