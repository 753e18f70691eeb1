"""The demo installation: keys, outbox and accounts in one directory, and the welcome text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.cli.bootstrap import data_directory, find_keys, load_settings, run
from gatewright.encryption.key_files import KEYS_DIRECTORY, make_keys, make_private_directory

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation
    from gatewright.web.demo import DemoCredentials


def prepare_environment(url: str) -> Path:
    """Create the keys and default settings of the demo, and return the data directory.

    Workers inherit the settings through the environment. Keys stay in their files.

    Raises:
        ConfigurationError: production mode, or a store that the demo did not create. Nothing is written.
    """
    directory = data_directory()
    _take_stores(directory)
    make_private_directory(directory)
    if "GATEWRIGHT_SECRET_KEY" not in os.environ and "GATEWRIGHT_SECRET_KEY_FILE" not in os.environ:
        make_keys(directory / KEYS_DIRECTORY)
    find_keys()
    for name, value in (
        ("GATEWRIGHT_NOTIFIER", "file"),
        ("GATEWRIGHT_OUTBOX_FILE", str(directory / "outbox.jsonl")),
        ("GATEWRIGHT_PUBLIC_URL", url),
        ("GATEWRIGHT_LOG_LEVEL", "warning"),
    ):
        os.environ.setdefault(name, value)
    return directory


def _take_stores(directory: Path) -> None:
    """Claim the stores before any key or file is created next to them."""
    from gatewright.web.demo import claim_stores, refuse_production

    refuse_production(os.environ.get("GATEWRIGHT_MODE"))  # before the settings, which would refuse missing keys
    settings = load_settings()
    refuse_production(settings.mode)
    if settings.database_path == ":memory:":
        return  # private to this process
    if settings.database == "sqlite":
        make_private_directory(directory)
    run(claim_stores(settings))


async def people(foundation: SecurityFoundation) -> DemoCredentials:
    """The demo accounts, created at the first start."""
    from gatewright.web.demo import seed_demo

    return await seed_demo(foundation)


def describe(url: str, directory: Path, found: DemoCredentials) -> dict[str, Any]:
    """URLs and paths, for ``--json``. Passwords are referred to by their file."""
    return {
        "url": url,
        "openapi": f"{url}/openapi.json",
        "data_dir": str(directory),
        "credentials_file": str(directory / "demo.env"),
        "outbox": str(directory / "outbox.jsonl"),
        "demo_email": found.demo_email,
        "admin_email": found.admin_email,
        "first_start": found.fresh,
    }


def welcome(url: str, directory: Path, found: DemoCredentials) -> str:
    """The welcome text. Credentials are shown only at the first start."""
    env = directory / "demo.env"
    lines = [f"Gatewright demo at {url}", ""]
    if found.fresh and sys.stdout.isatty():  # never print passwords to a log
        lines += [
            "Created for you; this is shown only once:",
            f"  demo manufacturer  {found.demo_email}   password  {found.demo_password}",
            f"  platform admin     {found.admin_email}   password  {found.admin_password}",
            f"                     TOTP secret  {found.admin_totp_secret}",
            "",
        ]
    lines += [
        f"  credentials  {env} (private to you)",
        f"  outbox       {directory / 'outbox.jsonl'} (emails that would have been sent)",
        f"  data         {directory}",
        f"  API          {url}/openapi.json",
        "",
        "Try this in another terminal:",
        f"  . {env}",
        f"  TOKEN=$(curl -s {url}/v1/auth/login -H 'Content-Type: application/json' \\",
        '    -d "{\\"email\\": \\"$DEMO_EMAIL\\", \\"password\\": \\"$DEMO_PASSWORD\\"}" \\',
        "    | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])')",
        f'  curl -s {url}/v1/me -H "Authorization: Bearer $TOKEN"',
        f"  curl -s {url}/demo/products -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\",
        '    -d \'{"name": "<script>alert(1)</script>"}\'      # refused',
        "",
        "Press Ctrl-C to stop.",
    ]
    return "\n".join(lines) + "\n"
