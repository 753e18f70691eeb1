"""``gatewright keys``: list, rotate and revoke the keys of tokens and of data at rest."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.opening import opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

app = typer.Typer(help="List, rotate and revoke keys.", no_args_is_help=True)


class Which(StrEnum):
    """The two rings, which have nothing to do with each other."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    ALL = "all"


@app.command("list")
def list_keys(json: Json = False) -> None:
    """The keys that are known, without the keys themselves."""
    found = run(_list())
    if json:
        print_json(found)
        return
    _print_keys("Keys that sign tokens", ("kid", "algorithm", "state", "created_at", "expires_at"), found["signing"])
    columns = ("key_id", "version", "status", "created_at", "retired_at", "reason")
    _print_keys("Generations of data keys", columns, found["encryption"])
    _print_keys("Root keys", ("root_id", "created_at", "retired_at"), found["roots"])


def _print_keys(title: str, columns: tuple[str, ...], keys: list[dict[str, Any]]) -> None:
    print_table(title, columns, [[key[name] for name in columns] for key in keys])


async def _list() -> dict[str, list[dict[str, Any]]]:
    async with opened() as foundation:
        store = foundation.store
        return {
            "signing": [
                {
                    "kid": key.kid,
                    "algorithm": key.algorithm,
                    "state": "signs" if key.retired_at is None else "verifies",
                    "created_at": key.created_at,
                    "retired_at": key.retired_at,
                    "expires_at": key.expires_at,
                }
                for key in await store.list_signing_keys()
            ],
            "encryption": [generation.to_dict() for generation in await store.list_key_generations()],
            "roots": [root.to_dict() for root in await store.list_root_keys()],
        }


@app.command()
def rotate(
    which: Annotated[Which, typer.Argument(help="Which ring.")] = Which.ALL,
    json: Json = False,
) -> None:
    """Make new keys from now on. Old ones still verify and open; nobody is signed out."""
    done = run(_rotate(which))
    if json:
        print_json(done)
        return
    if "signing" in done:
        print_line(f"signing     {done['signing']} signs from now on")
    if "encryption" in done:
        changed = done["encryption"]
        print_line(f"encryption  {changed['new_key_id']} seals from now on, {changed['old_key_id']} still opens")


async def _rotate(which: Which) -> dict[str, Any]:
    async with opened() as foundation:
        return await rotate_rings(foundation, which)


async def rotate_rings(foundation: SecurityFoundation, which: Which) -> dict[str, Any]:
    """Rotate one ring or both; what signs and seals from now on."""
    done: dict[str, Any] = {}
    if which in (Which.SIGNING, Which.ALL):
        done["signing"] = await foundation.auth.rotate_signing_key()
    if which in (Which.ENCRYPTION, Which.ALL):
        done["encryption"] = (await foundation.encryption.rotate_encryption_key()).to_dict()
    return done
