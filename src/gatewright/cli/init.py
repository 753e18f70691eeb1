"""``gatewright init``: keys and the first admin of an installation."""

from __future__ import annotations

import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.bootstrap import data_directory, opened, run
from gatewright.cli.output import Json, print_json, print_line
from gatewright.encryption.key_files import KEYS_DIRECTORY, make_keys, make_private_directory, write_private

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

CREDENTIALS = "admin.env"


def init(
    email: Annotated[str, typer.Option(help="Email address of the first admin.")] = "admin@platform.example.com",
    keys_only: Annotated[bool, typer.Option("--keys-only", help="Create keys only, no admin.")] = False,
    json: Json = False,
) -> None:
    """Create what is missing: keys (mode 0600), the store, and the first platform admin with a second factor.

    Existing keys, stores and admins are left unchanged. The admin's password and TOTP secret are shown once and saved
    to a private file. Move them to a password manager, then delete the file.
    """
    directory = data_directory()
    make_private_directory(directory)
    made = make_keys(directory / KEYS_DIRECTORY)
    result: dict[str, Any] = {"data_dir": str(directory), "keys_made": [str(path) for path in made], "admin": None}
    if not keys_only:
        result["admin"] = run(_admin(email, directory))
    if json:
        print_json(result)
    else:
        _show(result, directory)


async def _admin(email: str, directory: Path) -> dict[str, Any] | None:
    """Create the first admin, or return None if the platform has one."""
    async with opened() as foundation:
        return await _make(foundation, email, directory)


async def _make(foundation: SecurityFoundation, email: str, directory: Path) -> dict[str, Any] | None:
    from gatewright.storage.tenants import PLATFORM_TENANT
    from gatewright.web.demo import create_admin

    if await foundation.store.get_manufacturer(PLATFORM_TENANT) is not None:
        return None
    password = "-".join(secrets.token_hex(3) for _ in range(4))
    totp = await create_admin(foundation, email, password)
    path = directory / CREDENTIALS
    path.unlink(missing_ok=True)
    write_private(path, f"ADMIN_EMAIL={shlex.quote(email)}\nADMIN_PASSWORD='{password}'\nADMIN_TOTP_SECRET='{totp}'\n")
    return {"email": email, "password": password, "totp_secret": totp, "credentials_file": str(path)}


def _show(result: dict[str, Any], directory: Path) -> None:
    for path in result["keys_made"]:
        print_line(f"created  {path}")
    if not result["keys_made"]:
        print_line(f"existing keys kept in {directory / KEYS_DIRECTORY}")
    admin = result["admin"]
    if admin is not None:
        sys.stdout.write(
            f"created  the platform admin; this is shown only once:\n"
            f"        email        {admin['email']}\n"
            f"        password     {admin['password']}\n"
            f"        TOTP secret  {admin['totp_secret']}  (add it to your authenticator app)\n"
            f"      saved to {admin['credentials_file']} (mode 0600); delete it once you have stored them elsewhere\n"
        )
    print_line("Next: `gatewright doctor`, then `gatewright serve`")
