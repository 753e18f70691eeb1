"""Signing keys and revocations: the promises of every store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewright.storage import Revocation, Store, StoredSigningKey

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def key(kid: str, **fields: Any) -> StoredSigningKey:
    return StoredSigningKey(
        **{"kid": kid, "algorithm": "HS256", "sealed": b"\x00" + kid.encode(), "created_at": NOW, **fields}
    )


async def add(store: Store, kid: str, replaces: str | None, at: datetime = NOW) -> bool:
    return await store.add_signing_key(key(kid, created_at=at), replaces=replaces, now=at, verify_seconds=3600)


async def test_one_key_signs(store: Store) -> None:
    """The old one retires in the same step; who was slower is told so."""
    heard: list[str] = []
    store.changes.subscribe("signing_keys", heard.append)
    assert await add(store, "k1", None)
    assert not await add(store, "k2", None), "there is one by now"
    assert not await add(store, "k2", "another")
    assert await add(store, "k2", "k1", NOW + HOUR)
    old, new = await store.list_signing_keys()
    assert (old.kid, old.retired_at, old.expires_at) == ("k1", NOW + HOUR, NOW + 2 * HOUR)
    assert new == key("k2", created_at=NOW + HOUR)
    assert heard == ["k1", "k2"] and "sealed" not in repr(new)


async def test_one_of_many_rotations_wins(store: Store) -> None:
    await add(store, "k0", None)
    results = await asyncio.gather(*(add(store, f"n{number}", "k0") for number in range(10)))
    assert sum(results) == 1 and len(await store.list_signing_keys()) == 2


async def test_a_key_stays_for_its_latest_token(store: Store) -> None:
    await add(store, "k1", None)
    await store.note_token_expiry("k1", NOW + 9 * HOUR)
    await store.note_token_expiry("k1", NOW + 5 * HOUR)
    await add(store, "k2", "k1")
    assert (await store.list_signing_keys())[0].expires_at == NOW + 9 * HOUR
    await store.note_token_expiry("k1", NOW + 10 * HOUR)
    assert (await store.list_signing_keys())[0].expires_at == NOW + 10 * HOUR
    assert await store.delete_signing_keys(now=NOW + 10 * HOUR - timedelta(seconds=1)) == []
    assert await store.delete_signing_keys(now=NOW + 10 * HOUR) == ["k1"]
    assert [k.kid for k in await store.list_signing_keys()] == ["k2"]
    assert await store.delete_signing_keys(now=NOW + 10_000 * HOUR) == [], "the one that signs is never destroyed"


async def test_revocations(store: Store) -> None:
    """In order, numbered, told with all that a listener needs, gone when they no longer matter."""
    heard: list[str] = []
    store.changes.subscribe("token", heard.append)
    first = await store.add_revocation(Revocation(kind="jti", subject="t:1", expires_at=NOW + HOUR))
    second = await store.add_revocation(
        Revocation(kind="manufacturer", subject="m1", before_ms=5, expires_at=NOW + 2 * HOUR)
    )
    assert first.number < second.number
    ends = [(NOW + hours * HOUR).timestamp() for hours in (1, 2)]
    assert heard == [f"jti:0:{ends[0]}:t:1", f"manufacturer:5:{ends[1]}:m1"]
    assert await store.revocations_since(0, now=NOW, limit=10) == [first, second]
    assert await store.revocations_since(0, now=NOW, limit=1) == [first]
    assert await store.revocations_since(first.number, now=NOW, limit=10) == [second]
    assert await store.revocations_since(0, now=NOW + HOUR, limit=10) == [second]
    assert await store.is_token_revoked("t:1") and not await store.is_token_revoked("m1")
    assert await store.delete_expired_revocations(now=NOW + HOUR) == 1
    assert not await store.is_token_revoked("t:1")
    third = await store.add_revocation(Revocation(kind="jti", subject="t2", expires_at=NOW + HOUR))
    assert third.number > second.number
