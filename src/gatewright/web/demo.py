"""The demo marketplace: its stores, its accounts, and a product resource behind the middleware.

The demo writes its passwords and its admin's TOTP secret to ``demo.env`` in the data directory, so it must never share
a store with real accounts. The file is readable only by its owner and can be sourced by a shell:
``. gatewright-data/demo.env``.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyotp
from fastapi import APIRouter, Depends, Query, Response

from gatewright.encryption.key_files import write_private
from gatewright.errors import ConfigurationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerContext
from gatewright.records import Record
from gatewright.settings import Settings
from gatewright.storage.protocol import DemoStore, Store
from gatewright.storage.sqlite.engine import SqliteEngine
from gatewright.storage.tenants import PLATFORM_TENANT
from gatewright.web.api import DocumentedRoute, models
from gatewright.web.api.models import json_response, page
from gatewright.web.dependencies import requires
from gatewright.wiring.backends import KeyDatabase, key_database, open_store

FILE_NAME = "demo.env"
DEMO_MANUFACTURER = "mfr_demo"
PLATFORM_ADMIN = "platform_admin"

Uploader = Annotated[
    ManufacturerContext,
    Depends(requires("upload_products", consumes="product_uploads", inspection="block")),
]
Caller = Annotated[ManufacturerContext, Depends(requires(audience="every signed-in person and every API key"))]

_PRODUCTS = """
CREATE TABLE IF NOT EXISTS products (
    product_id TEXT PRIMARY KEY, manufacturer_id TEXT NOT NULL, body TEXT NOT NULL, created_at REAL NOT NULL
) STRICT
"""

# --- stores ---------------------------------------------------------------------------------------------------------


class DemoFoundation(SecurityFoundation):
    """A foundation that only uses stores created by the demo, and claims empty ones."""

    async def initialize(self) -> None:
        """Claim the stores, then initialize as :meth:`SecurityFoundation.initialize`. Safe to call again.

        Raises:
            ConfigurationError: in production (code ``DEMO_IN_PRODUCTION``), or for a store that the demo did not
                create (``NOT_A_DEMO_STORE``).
        """
        refuse_production(self.settings.mode)
        if self.store.durable:
            self.settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            await _claim_both(self.settings, self.key_database, self.store)
        except ConfigurationError:
            await self.store.close()
            if self.key_database is not None:
                await self.key_database.close()
            raise
        await super().initialize()


async def claim_stores(settings: Settings) -> None:
    """Claim the stores that ``settings`` name for the demo.

    Raises:
        ConfigurationError: the demo did not create one of them (code ``NOT_A_DEMO_STORE``).
    """
    keys, store = key_database(settings), open_store(settings)
    try:
        await _claim_both(settings, keys, store)
    finally:
        await store.close()
        if keys is not None:
            await keys.close()


async def _claim_both(settings: Settings, keys: KeyDatabase | None, store: Store) -> None:
    """Claim the key store first: if it is refused, the record store is not created."""
    if keys is not None:
        await keys.initialize()
        await _claim(keys, f"GATEWRIGHT_KEY_DATABASE={settings.key_database}")
    await store.initialize()
    await _claim(store, f"GATEWRIGHT_DATABASE={settings.database_path}")


async def _claim(store: DemoStore, setting: str) -> None:
    if not await store.claim_for_demo():
        raise _not_a_demo_store(setting)


def refuse_production(mode: str | None) -> None:
    """Raise ConfigurationError (code ``DEMO_IN_PRODUCTION``) in production."""
    if mode == "production":
        raise ConfigurationError(
            "GATEWRIGHT_MODE=production: the demo keeps its passwords in a file and never runs in production. "
            "Omit --demo, or set GATEWRIGHT_MODE=development.",
            code="DEMO_IN_PRODUCTION",
            context={"setting": "GATEWRIGHT_MODE"},
        )


def _not_a_demo_store(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting}: this store was not created by the demo, which uses only its own or an empty store. "
        "Set GATEWRIGHT_DATA_DIR to a new directory, or omit --demo.",
        code="NOT_A_DEMO_STORE",
        context={"setting": setting.partition("=")[0]},
    )


# --- accounts -------------------------------------------------------------------------------------------------------


class DemoCredentials(Record, frozen=True, kw_only=True):
    """Credentials of the demo accounts. ``fresh``: the accounts were created by this start."""

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
        ConfigurationError: the demo did not create the store (code ``NOT_A_DEMO_STORE``), or the credentials of its
            accounts are lost (``DEMO_INCOMPLETE``).
    """
    settings, store = foundation.settings, foundation.store
    if not await store.is_demo():
        raise _not_a_demo_store(f"GATEWRIGHT_DATABASE={settings.database_path}")
    path = Path(settings.data_dir) / FILE_NAME
    exists = [await store.get_manufacturer(name) is not None for name in (DEMO_MANUFACTURER, PLATFORM_TENANT)]
    if all(exists) and path.exists():
        return read_credentials(path)
    if any(exists):
        raise ConfigurationError(
            f"{path}: missing or incomplete, so the demo's passwords are lost. They are random and written once, at "
            f"the end of the first start. Delete {settings.database_path} and start again.",
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
    credentials = DemoCredentials(
        demo_email=demo_email,
        demo_password=demo_password,
        admin_email=admin_email,
        admin_password=admin_password,
        admin_totp_secret=await create_admin(foundation, admin_email, admin_password),
        fresh=True,
    )
    _write_credentials(path, credentials)
    return credentials


async def create_admin(foundation: SecurityFoundation, email: str, password: str) -> str:
    """Create the platform's first admin with a second factor. Returns its TOTP secret in Base32.

    Raises:
        DuplicateAccountError: the platform's tenant or an account with this address exists.
    """
    admin = await foundation.auth.register_staff(email, password, role=PLATFORM_ADMIN)
    enrollment = await foundation.auth.setup_mfa(PLATFORM_TENANT, account_id=admin.account_id)
    # The previous step's code is within tolerance, and leaves the current one for the first sign-in.
    previous_step = foundation.clock.timestamp() - 30
    code = pyotp.TOTP(enrollment.secret).at(int(previous_step))
    await foundation.auth.confirm_mfa(PLATFORM_TENANT, code, account_id=admin.account_id)
    return enrollment.secret


def _passphrase() -> str:
    return "-".join(secrets.token_hex(3) for _ in range(4))


def read_credentials(path: Path) -> DemoCredentials:
    """Read the credentials in a ``demo.env``."""
    pairs = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    fields = {name: pairs[name.upper()].strip("'") for name in _FIELDS}
    return msgspec.convert(fields, DemoCredentials)


def _write_credentials(path: Path, credentials: DemoCredentials) -> None:
    text = "".join(f"{name.upper()}='{credentials[name]}'\n" for name in _FIELDS)
    path.unlink(missing_ok=True)  # from a deleted store
    write_private(path, text)


# --- products -------------------------------------------------------------------------------------------------------


class Products:
    """The products of the demo, in a database separate from the foundation's."""

    def __init__(self, path: str) -> None:
        self._engine = SqliteEngine(path)

    async def open(self) -> None:
        await self._engine.open(_create_table)

    async def close(self) -> None:
        await self._engine.close()

    async def add(self, manufacturer_id: str, product: dict[str, Any]) -> str:
        """Add a product. Returns its id once it is stored on disk."""
        product_id = "prd_" + secrets.token_hex(8)
        row = (product_id, manufacturer_id, msgspec.json.encode(product).decode(), time.time())
        await self._engine.write(lambda c: c.execute("INSERT INTO products VALUES (?, ?, ?, ?)", row).rowcount)
        return product_id

    async def list(self, manufacturer_id: str, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Products of one manufacturer, ordered by id."""
        sql = """SELECT product_id, body FROM products WHERE manufacturer_id = ? AND product_id > ?
                 ORDER BY product_id LIMIT ?"""
        rows = await self._engine.read(lambda c: c.execute(sql, (manufacturer_id, after, limit)).fetchall())
        return [{"product_id": product_id, **msgspec.json.decode(body)} for product_id, body in rows]

    async def count(self, manufacturer_id: str) -> int:
        sql = "SELECT count(*) FROM products WHERE manufacturer_id = ?"
        return await self._engine.read(lambda c: int(c.execute(sql, (manufacturer_id,)).fetchone()[0]))


def _create_table(connection: sqlite3.Connection) -> None:
    connection.execute(_PRODUCTS)
    connection.execute("CREATE INDEX IF NOT EXISTS products_of ON products (manufacturer_id, product_id)")


def router(products: Products) -> APIRouter:
    """The routes below ``/demo``."""
    api = APIRouter(prefix="/demo", tags=["demo"], route_class=DocumentedRoute)

    @api.post("/products", status_code=201)
    async def upload(product: models.Product, caller: Uploader) -> Response:
        """Upload a product. Takes one unit of `product_uploads`; a body that looks like an attack is refused."""
        product_id = await products.add(caller.manufacturer_id, product.model_dump(exclude_none=True))
        return json_response({"product_id": product_id}, 201)

    @api.get("/products")
    async def mine(
        caller: Caller,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """List your products, ordered by id."""
        found = await products.list(caller.manufacturer_id, after=after, limit=limit)
        cursor = found[-1]["product_id"] if len(found) == limit else None
        return json_response({**page(found, cursor), "total": await products.count(caller.manufacturer_id)})

    return api
