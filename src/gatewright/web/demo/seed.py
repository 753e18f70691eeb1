"""The demo's people, made at first start: a manufacturer to play with and the platform's admin.

Their passwords are random. They are kept in ``demo.env`` in the data directory, which only its owner may
read, in the form a shell can source: ``. gatewright-data/demo.env``.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
import pyotp

from gatewright.encryption.keyfiles import write_private
from gatewright.errors import ConfigurationError
from gatewright.foundation import SecurityFoundation
from gatewright.records import Record
from gatewright.storage.tenants import PLATFORM_TENANT
from gatewright.web.demo.store import require_demo_store

FILE_NAME = "demo.env"
DEMO_MANUFACTURER = "mfr_demo"
PLATFORM_ADMIN = "platform_admin"


class DemoCredentials(Record, frozen=True, kw_only=True):
    """What it takes to sign in as the demo's people. ``fresh``: they were made just now."""

    demo_email: str
    demo_password: str
    admin_email: str
    admin_password: str
    admin_totp_secret: str
    fresh: bool = False

    def __repr__(self) -> str:
        return "DemoCredentials(...)"


_FIELDS = tuple(name for name in DemoCredentials.__struct_fields__ if name != "fresh")


async def seed_demo(foundation: SecurityFoundation) -> DemoCredentials:
    """Create the demo's accounts if they are missing, and return their credentials. Existing accounts never change.

    Raises:
        ConfigurationError: the demo did not create the store (code ``NOT_A_DEMO_STORE``), or it has accounts whose
            credentials are lost (``DEMO_INCOMPLETE``).
    """
    settings, store = foundation.settings, foundation.store
    await require_demo_store(store, f"GATEWRIGHT_DATABASE={settings.database_path}")
    path = Path(settings.data_dir) / FILE_NAME
    there = [await store.get_manufacturer(name) is not None for name in (DEMO_MANUFACTURER, PLATFORM_TENANT)]
    if all(there) and path.exists():
        return read_credentials(path)
    if any(there):
        raise ConfigurationError(
            f"{path}: missing or unfinished, so the demo's passwords are lost. They are random and written once, at the"
            f" end of the first start; delete {settings.database_path} and start again.",
            code="DEMO_INCOMPLETE",
        )
    demo_email, demo_password = "owner@acme-tools.example.com", _passphrase()
    admin_email, admin_password = "admin@platform.example.com", _passphrase()
    await foundation.auth.register_manufacturer(
        {
            "manufacturer_id": DEMO_MANUFACTURER,
            "email": demo_email,
            "password": demo_password,
            "company_name": "Acme Tools",
            "business_license": "BL-2024-77120",
            "tax_id": "12-3456789",
            "website": "https://acme-tools.example.com",
            "phone": "+1 202 456 1111",
        }
    )
    made = DemoCredentials(
        demo_email=demo_email,
        demo_password=demo_password,
        admin_email=admin_email,
        admin_password=admin_password,
        admin_totp_secret=await create_admin(foundation, admin_email, admin_password),
        fresh=True,
    )
    _keep(path, made)
    return made


async def create_admin(foundation: SecurityFoundation, email: str, password: str) -> str:
    """Make the platform's first admin, with a second factor from the start; its TOTP secret in Base32.

    Raises:
        DuplicateAccountError: the platform's tenant or the address is there already.
    """
    made = await foundation.auth.register_staff(email, password, role=PLATFORM_ADMIN)
    enrolment = await foundation.auth.setup_mfa(PLATFORM_TENANT, account_id=made.account_id)
    # The code of the step before is within tolerance, and leaves the present one for the first sign-in.
    before = foundation.clock.timestamp() - 30
    code = pyotp.TOTP(enrolment.secret).at(int(before))
    await foundation.auth.confirm_mfa(PLATFORM_TENANT, code, account_id=made.account_id)
    return enrolment.secret


def _passphrase() -> str:
    return "-".join(secrets.token_hex(3) for _ in range(4))


def read_credentials(path: Path) -> DemoCredentials:
    """The credentials in a ``demo.env``."""
    pairs = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    known = {name: pairs[name.upper()].strip("'") for name in _FIELDS}
    return msgspec.convert(known, DemoCredentials)


def _keep(path: Path, credentials: DemoCredentials) -> None:
    text = "".join(f"{name.upper()}='{credentials[name]}'\n" for name in _FIELDS)
    path.unlink(missing_ok=True)  # of a store that is gone
    write_private(path, text)
