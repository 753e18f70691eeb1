"""``gatewright keys``: list, rotate and revoke keys."""

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
from gatewright.encryption.key_files import KEY_NAMES, KEYS_DIRECTORY, write_private
from gatewright.errors import ConfigurationError, KeyUnavailableError


def prepare_new_root(directory: Path) -> None:
    """Create a new root key and keep the current one as a previous key, which can still unwrap data keys.

    Previous keys are written first, so that no key is lost in a crash.

    Raises:
        ConfigurationError: the root key is not in a file of this directory.
    """
    path, kept = directory / KEY_NAMES[1], directory / "gatewright_previous_encryption_keys"
    if not path.exists():
        raise ConfigurationError(
            f"{path}: no root key here. Where you keep your keys, set GATEWRIGHT_ENCRYPTION_KEY to the new key and "
            "add the old one to GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS."
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
# A thumbprint (RFC 7638) may start with a hyphen.
app.command("emergency-rotate", context_settings={"ignore_unknown_options": True})(emergency_rotate)
app.command()(shred)
app.command()(move)

Reason = Annotated[str, typer.Option(help="Reason, for the audit log.")]


class Which(StrEnum):
    """The key rings: signing keys of tokens, and encryption keys of data."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    ALL = "all"


# --- list -------------------------------------------------------------------------------------------------------


@app.command("list")
def list_keys(json: Json = False) -> None:
    """List all keys, without key material."""
    found = run(_list())
    if json:
        print_json(found)
        return
    _print_keys("Token signing keys", ("kid", "algorithm", "state", "created_at", "expires_at"), found["signing"])
    columns = ("key_id", "version", "status", "created_at", "retired_at", "reason")
    _print_keys("Data key generations", columns, found["encryption"])


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
    which: Annotated[Which, typer.Argument(help="Which keys to rotate.")] = Which.ALL,
    reason: Reason = "by operator",
    json: Json = False,
) -> None:
    """Rotate keys. Old keys still verify and decrypt, and nobody is signed out."""
    done = run(_rotate(which, reason))
    if json:
        print_json(done)
        return
    if "signing" in done:
        print_line(f"signing     {done['signing']} now signs tokens")
    if "encryption" in done:
        changed = done["encryption"]
        print_line(f"encryption  {changed['new_key_id']} now encrypts, {changed['old_key_id']} still decrypts")


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
        bool, typer.Option("--prepare", help="Create a new root key in the key files and keep the old one.")
    ] = False,
    json: Json = False,
) -> None:
    """Rewrap every data key with the current GATEWRIGHT_ENCRYPTION_KEY. Records are not changed.

    Three steps without downtime: run `keys rotate-root --prepare` (or set the new key, and add the old one to
    GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS), restart the service, then run `keys rotate-root`. Safe to repeat.
    """
    if prepare:
        directory = data_directory() / KEYS_DIRECTORY
        prepare_new_root(directory)
        done: dict[str, Any] = {"prepared": str(directory)}
        text = f"A new root key is in {directory}. Restart the service, then run `gatewright keys rotate-root`."
    else:
        done = run(_rotate_root())
        text = f"{done['rewrapped']:,} data keys rewrapped with root key {done['new_root_id']}."
    if json:
        print_json(done)
    else:
        print_line(text)


async def _rotate_root() -> dict[str, Any]:
    async with opened() as foundation:
        present = foundation.settings.secret_text("encryption_key")
        if present is None:
            raise KeyUnavailableError("GATEWRIGHT_ENCRYPTION_KEY is not set. Set it to the new root key.")
        return (await foundation.encryption.rotate_root_key(present)).to_dict()


# --- revoke -----------------------------------------------------------------------------------------------------


@app.command(context_settings={"ignore_unknown_options": True})  # a thumbprint (RFC 7638) may start with a hyphen
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the compromised key, from `keys list`.")],
    reason: Annotated[str, typer.Option(help="What happened, for the audit log.")],
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Also delete the data keys. Data encrypted under them is lost.")
    ] = False,
    json: Json = False,
) -> None:
    """Revoke a compromised key. A replacement is created first.

    Revoking a signing key also ends all older ones: clients refresh their tokens, but nobody has to sign in again. A
    revoked data key generation can still be re-encrypted until it is destroyed.
    """
    done = run(_revoke(key_id, reason, destroy=destroy))
    if json:
        print_json(done)
    elif done["kind"] == "signing":
        print_line(f"{len(done['ended'])} keys revoked; {done['signs']} now signs tokens.")
    else:
        print_line(f"Generation {key_id} {'destroyed' if destroy else 'revoked'} ({done['keys']} data keys).")


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
