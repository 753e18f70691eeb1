"""After re-encryption nothing in the store is under an old data key, and data under other keys still works.

The store contains three kinds of encrypted data. Only the first is under data keys, and re-encrypted:

* envelopes (``ManufacturerEncryptionManager``): business data in ``manufacturers.profile``, responses stored for
  ``Idempotency-Key``, and data of the application;
* secret boxes under keys derived from ``GATEWRIGHT_SECRET_KEY``: TOTP secrets, signing keys, pending registrations;
* the successor of a refresh token, under a key derived from the token, during its grace period of ten seconds.
"""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyotp

import gatewright
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings
from gatewright.testing import ManualClock
from gatewright.web import create_app

PASSWORD = "gravel-otter-lantern-4471"
KEYS = {"secret_key": "8f1c03b7a955e2d64f21" * 4, "encryption_key": "51aac7d20e9fb34618ac" * 4}
MENTION_KEYS = {"key_generations", "data_keys", "reencryptions", "audit_entries", "changes", "incidents"}
"""Tables that name generations, but contain no data encrypted under them."""

ENCRYPTS_UNDER_DATA_KEYS = {
    "encryption/profiles.py",  # the source ``profiles``
    "web/idempotency.py",  # the source ``kept answers``
}
ENCRYPTS_OTHERWISE = {
    "auth/services.py",  # TOTP secrets, pending registrations: boxes under the secret key
    "auth/mfa/verifier.py",  # opens and seals TOTP secrets in such a box
    "auth/sessions/refresh.py",  # the successor, under the token that was presented
    "auth/registration.py",  # pending registrations; profiles of a standalone manager
    "auth/tokens/signing_keys.py",  # signing keys: a box under the secret key
}
SEALING_CALLS = {
    "encrypt_manufacturer_data",
    "encrypt_stream",
    "seal_record",
    "reencrypt_manufacturer_data",
    "reencrypt",
}
ENCRYPTS_FOR_OTHERS = {"encryption/manager.py", "encryption/reencryption.py", "encryption/vault.py"}
CIPHERS = {"SecretBox", "AESGCM", "ChaCha20Poly1305", "Fernet", "Cipher"}


def cells(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Table, column and value of everything in a database."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            columns = [description[0] for description in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    yield table, column, value


def names(value: Any, key_id: str) -> bool:
    return key_id.encode() in (value if isinstance(value, bytes) else str(value).encode())


async def test_nothing_is_left_under_the_old_keys_and_everything_still_works(tmp_path: Path) -> None:
    clock, notifier = ManualClock(), MemoryNotifier()
    settings = Settings(
        data_dir=tmp_path,
        key_database=f"sqlite:///{tmp_path / 'keys.db'}",
        durable=False,
        argon2_memory_kib=8,
        argon2_time_cost=1,
        **KEYS,
    )
    async with SecurityFoundation(settings, notifier=notifier, clock=clock) as foundation:
        auth = foundation.auth
        owners = []
        for number in range(5):
            account = await auth.register_manufacturer(
                {
                    "email": f"owner{number}@example.com",
                    "password": PASSWORD,
                    "company_name": f"Maker {number}",
                    "manufacturer_id": f"m{number}",
                    "tier": "professional",
                    "website": f"https://maker{number}.example.com",
                }
            )
            owners.append(account.account_id)
        totp = pyotp.TOTP((await auth.setup_mfa("m0", account_id=owners[0])).secret)
        assert await auth.confirm_mfa("m0", totp.at(int(clock.timestamp())), account_id=owners[0])
        signed_in = await auth.authenticate_manufacturer("owner1@example.com", PASSWORD)
        api_key = await auth.create_api_key(
            "m1", "shop", permissions=["upload_products"], expires_at=None, account_id=owners[1]
        )
        await auth.request_registration(
            {"email": "late@example.com", "password": PASSWORD, "company_name": "Late Works", "country": "DE"}
        )
        await auth.services.mailer.drain()
        token = notifier.messages[-1].data["token"]
        assert signed_in.access_token and signed_in.refresh_token and api_key.key

        clock.advance(60)
        code = totp.at(int(clock.timestamp()))
        confirmed = await auth.authenticate_manufacturer("owner0@example.com", PASSWORD, code)
        headers = {"Authorization": f"Bearer {confirmed.access_token}", "Idempotency-Key": "the-same-call"}
        transport = httpx.ASGITransport(create_app(foundation), client=("198.51.100.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            order = {"name": "once", "permissions": ["upload_products"]}
            first = await client.post("/v1/api-keys", json=order)

        report = await foundation.encryption.emergency_rotation(
            foundation.record_sources, reason="test", settle=0, destroy=True
        )
        assert report.complete and report.destroyed
        assert {done.source: done.reencrypted for done in report.reencryptions} == {"profiles": 5, "kept answers": 1}
        await foundation.monitor.flush()
        for file in ("gatewright.db", "keys.db"):
            left = [(t, c) for t, c, value in cells(tmp_path / file) if names(value, report.key_id)]
            assert {table for table, _ in left} <= MENTION_KEYS, left
        envelopes = [(t, c) for t, c, value in cells(tmp_path / "gatewright.db") if names(value, "encrypted_payload")]
        known = [("manufacturers", "profile")] * 5 + [("one_time_secrets", "data")]
        assert sorted(envelopes) == known, "envelopes are where the sources say, and nowhere else"

        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            again = await client.post("/v1/api-keys", json=order)
        assert (again.status_code, again.json()) == (first.status_code, first.json()) and first.status_code == 201
        clock.advance(60)
        for number in range(5):
            profile = await foundation.profiles.read(f"m{number}", clear=True)
            assert profile["website"] == f"https://maker{number}.example.com"
        code = totp.at(int(clock.timestamp()))
        assert (await auth.authenticate_manufacturer("owner0@example.com", PASSWORD, code)).status == "authenticated"
        assert (await auth.validate_token(signed_in.access_token))["manufacturer_id"] == "m1"
        refreshed = await auth.refresh_tokens(signed_in.refresh_token)
        assert refreshed.status == "authenticated"
        assert (await auth.verify_api_key(api_key.key)).manufacturer_id == "m1"
        assert (await auth.verify_registration(token)).company_name == "Late Works"
        kid = await auth.rotate_signing_key()
        assert kid and await auth.validate_token(signed_in.access_token)


def test_every_use_of_encryption_is_known() -> None:
    """A new use must say under which keys it is: under data keys it needs a source, or revoking a key loses it."""
    package = Path(gatewright.__file__).parent
    under_data_keys, otherwise = set(), set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        tree = ast.parse(path.read_text("utf-8"))
        called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
        if called & SEALING_CALLS and name not in ENCRYPTS_FOR_OTHERS:
            under_data_keys.add(name)
        if imported & CIPHERS and not name.startswith("encryption/"):
            otherwise.add(name)
    assert under_data_keys - {"encryption/fields.py"} == ENCRYPTS_UNDER_DATA_KEYS
    assert otherwise == ENCRYPTS_OTHERWISE
