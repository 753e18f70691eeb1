"""The signing key ring: rotation, overlap, restarts and several processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gatewright.auth import AuthOptions, HmacKey, ManufacturerAuthManager, check_algorithm, generate, restore
from gatewright.errors import ConfigurationError, InvalidTokenError, KeyUnavailableError, TokenExpiredError
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.auth.identity import ACME, SECRET, START


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path / "store.db"


async def test_old_tokens_verify_until_they_expire_also_after_a_restart(path: Path, clock: ManualClock) -> None:
    """Then no more, and the old key is destroyed."""
    async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, store=store, clock=clock) as auth:
        token = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(hours=20))
        before = auth.keys.current.kid
        after = await auth.rotate_signing_key()
        assert after == auth.keys.current.kid != before
        await auth.validate_token(token)
        await auth.validate_token(await auth.generate_manufacturer_token(ACME))
    async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, store=store, clock=clock) as auth:
        assert auth.keys.current.kid == after
        clock.advance(hours=20, seconds=-1)
        await auth.validate_token(token)
        clock.advance(1)
        with pytest.raises(TokenExpiredError):
            await auth.validate_token(token)
        clock.advance(hours=5)
        assert auth.keys.get(before) is None
        with pytest.raises(InvalidTokenError, match="unknown key id"):
            await auth.tokens.revoke(token)
        await auth.maintain()
        assert [key.kid for key in await store.list_signing_keys()] == [after]


async def test_a_key_is_kept_for_its_longest_token(path: Path, clock: ManualClock) -> None:
    """A token that lives longer than usual verifies as long as it should, though its key was retired."""
    async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, store=store, clock=clock) as auth:
        long = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(days=30))
        await auth.generate_manufacturer_token(ACME, expires_in=timedelta(days=20))
        await auth.rotate_signing_key()
        clock.advance(days=29)
        await auth.maintain()
        await auth.validate_token(long)
        clock.advance(days=2)
        await auth.maintain()
        assert len(await store.list_signing_keys()) == 1


async def test_rotation_by_schedule(clock: ManualClock) -> None:
    """At its age and not before; told in an event."""
    sink, options = ListSink(), AuthOptions(key_rotation=timedelta(days=90))
    async with ManufacturerAuthManager(SECRET, clock=clock, sink=sink, options=options) as auth:
        first = auth.keys.current.kid
        clock.advance(days=89)
        await auth.maintain()
        assert auth.keys.current.kid == first
        clock.advance(days=1)
        token = await auth.generate_manufacturer_token(ACME)
        await auth.maintain()
        assert auth.keys.current.kid != first
        await auth.validate_token(token)
    told = [event for event in sink.events if event.kind == "auth:signing_key:rotated"]
    assert [event.data["reason"] for event in told] == ["schedule"]


async def test_two_processes_share_the_ring(path: Path) -> None:
    """They agree on the first key; the other one verifies a new key's token at once and signs with it soon."""
    async with SqliteStore(path) as store_a, SqliteStore(path) as store_b:
        a, b = (ManufacturerAuthManager(SECRET, store=store) for store in (store_a, store_b))
        await asyncio.gather(a.initialize(), b.initialize())
        assert a.keys.current.kid == b.keys.current.kid
        chosen = await asyncio.gather(a.rotate_signing_key(), b.rotate_signing_key())
        assert chosen[-1] in (a.keys.current.kid, b.keys.current.kid)
        assert await a.validate_token(await b.generate_manufacturer_token(ACME))
        await a.rotate_signing_key()
        await b.validate_token(await a.generate_manufacturer_token(ACME))
        assert b.keys.current.kid == a.keys.current.kid
        await a.close()
        await b.close()


async def test_garbage_ids_do_not_load_the_store() -> None:
    """Many unknown ids at once share one look."""
    async with ManufacturerAuthManager(SECRET) as auth:
        await asyncio.gather(*(auth.keys.find(f"x{number}") for number in range(2000)))
        begin = asyncio.get_running_loop().time()
        for number in range(3):
            assert await auth.keys.find(f"y{number}") is None
        assert asyncio.get_running_loop().time() - begin > 0.035, "and looks are spaced"


async def test_another_secret_cannot_open_the_ring(path: Path) -> None:
    """And says so instead of making a new one."""
    async with SqliteStore(path) as store:
        async with ManufacturerAuthManager(SECRET, store=store):
            pass
        with pytest.raises(KeyUnavailableError, match="another secret key"):
            await ManufacturerAuthManager("another", store=store).initialize()


async def test_keys_are_sealed_at_rest(path: Path) -> None:
    """Neither the HMAC secret nor a private JWK is found in the file."""
    for algorithm in ("HS256", "EdDSA"):
        async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, algorithm, store=store) as auth:
            exported = auth.keys.current.export()
        raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert exported not in raw and bytes.fromhex(SECRET) not in raw and SECRET.encode() not in raw


async def test_a_change_of_algorithm(path: Path) -> None:
    """The new algorithm signs from now on; tokens of the old one still verify."""
    async with SqliteStore(path) as store:
        async with ManufacturerAuthManager(SECRET, "HS256", store=store) as auth:
            old = await auth.generate_manufacturer_token(ACME)
        async with ManufacturerAuthManager(SECRET, "EdDSA", store=store) as auth:
            await auth.validate_token(old)
            assert auth.keys.current.algorithm == "EdDSA"
            assert len(auth.jwks()["keys"]) == 1
            await auth.rotate_signing_key()
            assert len(auth.jwks()["keys"]) == 2, "others still need the retired one"


def test_nothing_signs_before_initialize() -> None:
    auth = ManufacturerAuthManager(SECRET)
    assert auth.jwks() == {"keys": []}
    with pytest.raises(KeyUnavailableError, match="initialize"):
        _ = auth.keys.current


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA", "RS256"])
def test_keys_export_and_restore(algorithm: str) -> None:
    """What was exported signs and verifies as before."""
    key = generate(algorithm, bytes(range(32)))
    again = restore(algorithm, key.kid, key.export())
    assert again.verify(b"message", key.sign(b"message")) and key.verify(b"message", again.sign(b"message"))
    assert not again.verify(b"another", key.sign(b"message"))
    assert again.kid == key.kid and key.export() not in repr(key).encode()


@pytest.mark.parametrize("algorithm", ["none", "HS512", "", "hs256", None])
def test_algorithms_are_an_allow_list(algorithm: str) -> None:
    with pytest.raises(ConfigurationError):
        check_algorithm(algorithm)


def test_short_secrets_make_no_key() -> None:
    with pytest.raises(KeyUnavailableError):
        HmacKey(b"short")


async def test_a_key_destroyed_during_a_validation_leaves_no_cached_token(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was being validated when its compromised key was destroyed is verified again, and refused."""
    async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, store=store, clock=clock) as auth:
        token = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(hours=20))
        require_active = auth.services.tenants.require_active_for_token

        async def destroy_the_key_first(manufacturer_id: str, account_id: str | None = None) -> None:
            await auth.rotate_signing_key()
            await store.delete_signing_keys(now=clock.now() + timedelta(days=400))
            await require_active(manufacturer_id, account_id)

        with monkeypatch.context() as patch:
            patch.setattr(auth.services.tenants, "require_active_for_token", destroy_the_key_first)
            await auth.validate_token(token)
        with pytest.raises(InvalidTokenError, match="unknown key id"):
            await auth.validate_token(token)
