"""``gatewright keys``: list, rotate and revoke keys, and keep their files."""

from __future__ import annotations

import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewright.cli.bootstrap import data_directory, opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table
from gatewright.cli.reencrypt import emergency_rotate, end_signing_keys, reencrypt, unknown_key
from gatewright.cli.shred import move, shred
from gatewright.encryption.key_files import KEYS_DIRECTORY, NAMES, write_private
from gatewright.errors import ConfigurationError, KeyUnavailableError


def prepare_new_root(directory: Path) -> None:
    """Make a new root key of data at rest; the present one stays among the previous ones, which still unwrap.

    The previous keys are written first: after a crash in between, no key is lost.

    Raises:
        ConfigurationError: the root key is not in a file of this directory.
    """
    path, kept = directory / NAMES[1], directory / "gatewright_previous_encryption_keys"
    if not path.exists():
        raise ConfigurationError(
            f"{path}: the root key is not here; set the new key in GATEWRIGHT_ENCRYPTION_KEY, and the old one in "
            "GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS, where you keep them."
        )
    present = path.read_text().strip()
    previous = [key for key in kept.read_text().strip().split(",") if key] if kept.exists() else []
    if present not in previous:
        _replace_private(kept, ",".join([present, *previous]) + "\n")
    _replace_private(path, secrets.token_hex(32) + "\n")


def _replace_private(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    write_private(fresh, text)
    fresh.replace(path)


app = typer.Typer(help="List, rotate, revoke, destroy and move keys.", no_args_is_help=True)
app.command()(reencrypt)
# A thumbprint (RFC 7638) may begin with a hyphen.
app.command("emergency-rotate", context_settings={"ignore_unknown_options": True})(emergency_rotate)
app.command()(shred)
app.command()(move)

Reason = Annotated[str, typer.Option(help="Why; it stands in the audit log.")]


class Which(StrEnum):
    """The two rings, which have nothing to do with each other."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    ALL = "all"


# --- list -------------------------------------------------------------------------------------------------------


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


def _print_keys(title: str, columns: tuple[str, ...], keys: list[dict[str, Any]]) -> None:
    print_table(title, columns, [[key[name] for name in columns] for key in keys])


async def _list() -> dict[str, list[dict[str, Any]]]:
    async with opened() as foundation:
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
                for key in await foundation.store.list_signing_keys()
            ],
            "encryption": [key.to_dict() for key in await foundation.encryption.list_keys()],
        }


# --- rotate -----------------------------------------------------------------------------------------------------


@app.command()
def rotate(
    which: Annotated[Which, typer.Argument(help="Which keys.")] = Which.ALL,
    reason: Reason = "by the operator",
    json: Json = False,
) -> None:
    """Make new keys from now on. Old ones still verify and open; nobody is signed out."""
    done = run(_rotate(which, reason))
    if json:
        print_json(done)
        return
    if "signing" in done:
        print_line(f"signing     {done['signing']} signs from now on")
    if "encryption" in done:
        changed = done["encryption"]
        print_line(f"encryption  {changed['new_key_id']} seals from now on, {changed['old_key_id']} still opens")


async def _rotate(which: Which, reason: str) -> dict[str, Any]:
    done: dict[str, Any] = {}
    async with opened() as foundation:
        if which in (Which.SIGNING, Which.ALL):
            done["signing"] = await foundation.auth.rotate_signing_key()
        if which in (Which.ENCRYPTION, Which.ALL):
            done["encryption"] = (await foundation.encryption.rotate_encryption_key(reason=reason)).to_dict()
    return done


@app.command("rotate-root")
def rotate_root(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make a new root key in the key files; the old one still unwraps.")
    ] = False,
    json: Json = False,
) -> None:
    """Wrap every data key with the present GATEWRIGHT_ENCRYPTION_KEY. Records stay as they are.

    Three steps, without an outage: `keys rotate-root --prepare` (or set the new key, and the old one in
    GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS), restart the service, `keys rotate-root`. May be repeated after a fault.
    """
    if prepare:
        directory = data_directory() / KEYS_DIRECTORY
        prepare_new_root(directory)
        done: dict[str, Any] = {"prepared": str(directory)}
        text = f"A new root key is in {directory}. Restart the service, then run `gatewright keys rotate-root`."
    else:
        done = run(_rotate_root())
        text = f"{done['rewrapped']:,} data keys were wrapped anew by {done['new_root_id']}."
    if json:
        print_json(done)
    else:
        print_line(text)


async def _rotate_root() -> dict[str, Any]:
    async with opened() as foundation:
        present = foundation.settings.secret_text("encryption_key")
        if present is None:
            raise KeyUnavailableError("GATEWRIGHT_ENCRYPTION_KEY is missing.")
        return (await foundation.encryption.rotate_root_key(present)).to_dict()


# --- revoke -----------------------------------------------------------------------------------------------------


@app.command(context_settings={"ignore_unknown_options": True})  # a thumbprint (RFC 7638) may begin with a hyphen
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id of a compromised key, as `keys list` shows it.")],
    reason: Annotated[str, typer.Option(help="What happened; it stands in the audit log.")],
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Delete data keys as well: what is sealed under them is lost for good.")
    ] = False,
    json: Json = False,
) -> None:
    """A key is compromised: let it verify, or open, nothing any more. A new one takes its place first.

    Of the keys that sign tokens all old ones end with it: everybody refreshes, nobody signs in anew. A revoked
    generation of data keys can still be re-encrypted until it is destroyed.
    """
    done = run(_revoke(key_id, reason, destroy=destroy))
    if json:
        print_json(done)
    elif done["kind"] == "signing":
        print_line(f"{len(done['ended'])} keys verify no more; {done['signs']} signs.")
    else:
        print_line(f"The generation {key_id} is {'destroyed' if destroy else 'revoked'} ({done['keys']} data keys).")


async def _revoke(key_id: str, reason: str, *, destroy: bool) -> dict[str, Any]:
    async with opened() as foundation:
        signing = {key.kid: key for key in await foundation.store.list_signing_keys()}
        if key_id in signing:
            return await end_signing_keys(foundation, key_id, reason, current=signing[key_id].retired_at is None)
        known = [key.key_id for key in await foundation.encryption.list_keys()]
        if key_id not in known:
            raise unknown_key(key_id)
        keys = await foundation.encryption.revoke_key(key_id, reason=reason, destroy=destroy)
        return {"kind": "encryption", "key_id": key_id, "keys": keys, "destroyed": destroy}
