"""Access tokens by the manager's calls: what they say, how long they hold, what ends them."""

from __future__ import annotations

import base64
import contextlib
import enum
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from hypothesis import given, settings, strategies as st

from gatewright.auth import AuthOptions, ManufacturerAuthManager, decode_segment, encode_segment, parse, read_object
from gatewright.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidTokenError,
    StoreUnavailableError,
    TokenExpiredError,
    TokenRevokedError,
    ValidationError,
)
from gatewright.storage import SqliteStore, StoredManufacturer
from gatewright.testing import ListSink, ManualClock
from tests.auth.identity import ACME, HOME, SECRET, START, known_account, sign_in
from tests.support.waiting import eventually


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def auth(clock: ManualClock) -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET, clock=clock) as manager:
        yield manager


def claims_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    head, body, _ = token.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    return header, claims


async def test_what_a_token_says(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Every claim of the contract, times as integers, and a header with nothing but alg, typ, kid."""
    token = await auth.generate_manufacturer_token(ACME)
    header, claims = claims_of(token)
    now = int(clock.timestamp())
    assert header == {"alg": "HS256", "typ": "JWT", "kid": auth.keys.current.kid}
    assert claims["manufacturer_id"] == "mfr_acme" and claims["sub"] == "mfr_acme"
    assert claims["company_name"] == "Acme Tools" and claims["email"] == "owner@acme.example"
    assert claims["tier"] == "professional" and claims["roles"] == ["manufacturer_professional"]
    assert claims["iss"] == claims["aud"] == "gatewright"
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (now, now, now + 24 * 3600)
    assert all(type(claims[name]) is int for name in ("iat", "nbf", "exp"))
    assert "sid" not in claims
    assert await auth.validate_token(token) == claims
    assert await auth.validate_token(token) == claims, "remembered"


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA", "RS256"])
async def test_every_algorithm(algorithm: str) -> None:
    """Each makes tokens that it verifies, and a key set with which others do, without a private part."""
    async with ManufacturerAuthManager(SECRET, algorithm) as auth:
        token = await auth.generate_manufacturer_token(ACME)
        assert (await auth.validate_token(token))["manufacturer_id"] == "mfr_acme"
        keys = auth.jwks()["keys"]
        if algorithm == "HS256":
            assert keys == [], "a secret is never published"
            return
        [key] = keys
        assert key["use"] == "sig" and key["alg"] == algorithm and key["kid"] == claims_of(token)[0]["kid"]
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()
        public = jwt.PyJWK(key).key
        assert jwt.decode(token, public, [algorithm], audience="gatewright")["email"] == "owner@acme.example"


async def test_objects_and_enums_are_taken(auth: ManufacturerAuthManager) -> None:
    """Callers bring their own context classes and enums."""

    class Tier(enum.Enum):
        FREE = "free"

    class Role(enum.StrEnum):
        FREE = "manufacturer_free"

    data = SimpleNamespace(manufacturer_id="m", tier=Tier.FREE, roles={Role.FREE}, account_id="a", company_name=None)
    claims = await auth.validate_token(await auth.generate_manufacturer_token(data))
    assert (claims["tier"], claims["roles"], claims["sub"], claims["email"]) == ("free", ["manufacturer_free"], "a", "")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"manufacturer_id": ""},
        {"manufacturer_id": 7},
        {"manufacturer_id": "m" * 513},
        {"manufacturer_id": "m", "roles": "admin"},
        {"manufacturer_id": "m", "roles": 5},
        {"manufacturer_id": "m", "roles": ["r"] * 33},
        {"manufacturer_id": "m", "roles": ["r" * 600]},
        {"manufacturer_id": "m", "email": b"x"},
        {"manufacturer_id": "m", "company_name": "\ud800"},
        {"manufacturer_id": "m", "roles": ["\ud800"]},
        {"manufacturer_id": "m", "session_id": 5},
        None,
    ],
)
async def test_data_that_does_not_fit(auth: ManufacturerAuthManager, data: Any) -> None:
    """Bounded before work is spent on it, with the field named."""
    with pytest.raises(ValidationError) as caught:
        await auth.generate_manufacturer_token(data)
    assert caught.value.errors[0].field in caught.value.errors[0].message


@pytest.mark.parametrize("lifetime", [5, "1h", timedelta(days=365_000_000), timedelta(days=-365_000)])
async def test_lifetimes_that_do_not_fit(auth: ManufacturerAuthManager, lifetime: Any) -> None:
    with pytest.raises(ValidationError, match="expires_in"):
        await auth.generate_manufacturer_token(ACME, expires_in=lifetime)


async def test_expiry_without_leeway(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Good until the last moment, remembered or not, and expired from ``exp`` on."""
    seen = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(seconds=60))
    unseen = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(seconds=60))
    await auth.validate_token(seen)
    clock.advance(59.999)
    await auth.validate_token(seen)
    clock.advance(0.001)
    for token in (seen, unseen, seen):
        with pytest.raises(TokenExpiredError, match="expired") as caught:
            await auth.validate_token(token)
        assert caught.value.code == "TOKEN_EXPIRED" and caught.value.http_status == 401
    with pytest.raises(TokenExpiredError):
        await auth.validate_token(await auth.generate_manufacturer_token(ACME, expires_in=timedelta(seconds=-1)))


async def test_a_fraction_of_a_second_is_kept(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """``exp`` keeps the fraction; ``iat`` and ``nbf`` stay integers."""
    clock.advance(0.75)
    token = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(milliseconds=500))
    claims = await auth.validate_token(token)
    assert claims["exp"] == pytest.approx(clock.timestamp() + 0.5, abs=1e-4)
    assert type(claims["iat"]) is int and type(claims["nbf"]) is int
    clock.advance(0.49)
    await auth.validate_token(token)
    clock.advance(0.02)
    with pytest.raises(TokenExpiredError):
        await auth.validate_token(token)


async def test_claims_are_the_callers_own(auth: ManufacturerAuthManager) -> None:
    """What a caller changes in the claims it got is not what the next one gets."""
    token = await auth.generate_manufacturer_token(ACME)
    for _ in range(3):
        claims = await auth.validate_token(token)
        assert claims["tier"] == "professional" and claims["roles"] == ["manufacturer_professional"]
        claims["tier"] = "enterprise"
        claims["roles"].append("platform_admin")


async def test_revoked_by_itself(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """One token dies, its twin lives; revoking again, or an expired one, is harmless."""
    token, twin = [await auth.generate_manufacturer_token(ACME) for _ in range(2)]
    await auth.validate_token(token)
    await auth.revoke_token(token)
    for _ in range(2):
        with pytest.raises(TokenRevokedError, match="invalid") as caught:
            await auth.validate_token(token)
        assert isinstance(caught.value, InvalidTokenError)
    await auth.validate_token(twin)
    await auth.revoke_token(token)
    with pytest.raises(InvalidTokenError):
        await auth.revoke_token("not.a.token")
    clock.advance(days=2)
    await auth.revoke_token(twin)
    await auth.maintain()
    assert await auth.store.revocations_since(0, now=clock.now(), limit=10) == []


async def test_revoked_with_the_session(auth: ManufacturerAuthManager) -> None:
    """The session's end is the end of its tokens, seen before or not."""
    session = await auth.create_session(ACME)
    seen, unseen = [
        await auth.generate_manufacturer_token({**ACME, "session_id": session.session_id}) for _ in range(2)
    ]
    assert (await auth.validate_token(seen))["sid"] == session.session_id
    await auth.invalidate_session(session.session_id)
    for token in (seen, unseen):
        with pytest.raises(TokenRevokedError) as caught:
            await auth.validate_token(token)
        assert caught.value.code == "SESSION_ENDED"


async def test_revoked_with_the_manufacturer(auth: ManufacturerAuthManager) -> None:
    """All of a manufacturer's tokens up to now, none of another's, and none made after, though the clock is."""
    other = await auth.generate_manufacturer_token({**ACME, "manufacturer_id": "mfr_other"})
    session = await auth.create_session(ACME)
    kept = await auth.generate_manufacturer_token({**ACME, "session_id": session.session_id})
    old = await auth.generate_manufacturer_token(ACME)
    await auth.validate_token(old)
    assert await auth.invalidate_sessions("mfr_acme", reason="test", except_session=session.session_id) == 0
    with pytest.raises(TokenRevokedError):
        await auth.validate_token(old)
    await auth.validate_token(other)
    await auth.validate_token(kept)
    await auth.validate_token(await auth.generate_manufacturer_token(ACME))


async def test_an_account_can_be_cut_off_alone(auth: ManufacturerAuthManager) -> None:
    """The tokens of one person; those of a colleague continue."""
    hers, his = [await auth.generate_manufacturer_token({**ACME, "account_id": name}) for name in ("her", "him")]
    await auth.tokens.revoke_sessionless("mfr_acme", account_id="her")
    with pytest.raises(TokenRevokedError):
        await auth.validate_token(hers)
    await auth.validate_token(his)


async def test_disabled_manufacturer(auth: ManufacturerAuthManager) -> None:
    """Known and disabled: no new tokens, and the old ones are refused at once."""
    await known_account(auth)
    token = await auth.generate_manufacturer_token(ACME)
    await auth.validate_token(token)
    await auth.store.update_manufacturer("mfr_acme", status="disabled")
    with pytest.raises(TokenRevokedError) as caught:
        await auth.validate_token(token)
    assert caught.value.code == "MANUFACTURER_DISABLED"
    with pytest.raises(AuthenticationError, match="disabled"):
        await auth.generate_manufacturer_token(ACME)
    await auth.store.update_manufacturer("mfr_acme", status="active")
    await auth.validate_token(token)


async def test_strict_tenants() -> None:
    """In a foundation a manufacturer must be known."""
    async with ManufacturerAuthManager(strict_tenants=True) as auth:
        for call in (auth.generate_manufacturer_token, auth.create_session):
            with pytest.raises(AuthenticationError, match="unknown"):
                await call(ACME)
        await known_account(auth)
        assert await auth.validate_token(await auth.generate_manufacturer_token(ACME))
        assert (await auth.create_session(ACME)).account_id is None, "nobody's, and not the owner's"
        assert (await auth.create_session({**ACME, "account_id": "acc_acme"})).account_id == "acc_acme"


async def test_the_cache_of_verified_tokens_is_bounded(clock: ManualClock) -> None:
    """The oldest tokens are evicted; an evicted token is simply verified again."""
    from gatewright.auth import VerifiedToken, VerifiedTokenCache

    cache = VerifiedTokenCache(capacity=3)
    for number in range(10):
        cache.put(bytes([number]), VerifiedToken({}, [], float(number), "j", None, "m", "a", 0))
    assert list(cache) == [bytes([7]), bytes([8]), bytes([9])]
    cache.delete_expired(8.0)
    assert list(cache) == [bytes([9])]
    cache.invalidate(bytes([9]))
    cache.invalidate(bytes([9]))
    assert not cache


async def test_no_secret_in_events_or_reprs(clock: ManualClock) -> None:
    """Neither tokens nor keys are shown to anyone."""
    sink = ListSink()
    async with ManufacturerAuthManager(SECRET, clock=clock, sink=sink) as auth:
        result = await sign_in(auth)
        assert result.access_token and result.refresh_token
        renewed = await auth.refresh_tokens(result.refresh_token, client=HOME)
        await auth.revoke_token(result.access_token)
        await auth.rotate_signing_key()
        secrets = [SECRET, result.access_token, result.refresh_token, renewed.access_token, renewed.refresh_token]
        told = repr(sink.events) + repr(result) + repr(auth) + repr(auth.keys.current)
        told += repr(await auth.store.list_signing_keys())
        assert not [secret for secret in secrets if secret and secret in told]
        assert {"auth:login:succeeded", "auth:token:refreshed", "auth:token:revoked"} <= set(sink.kinds())


# --- several processes, outages ----------------------------------------------------------------------------------


async def test_another_process_hears_of_revocations(tmp_path: Path) -> None:
    """By token, session and manufacturer, also for tokens it remembers."""
    here = ManufacturerAuthManager(SECRET, store=SqliteStore(tmp_path / "a.db"))
    there = ManufacturerAuthManager(SECRET, store=SqliteStore(tmp_path / "a.db"))
    async with here, there:
        session = await here.create_session(ACME)
        by_session = await here.generate_manufacturer_token({**ACME, "session_id": session.session_id})
        by_token = await here.generate_manufacturer_token({**ACME, "manufacturer_id": "m2"})
        by_manufacturer = await here.generate_manufacturer_token({**ACME, "manufacturer_id": "m3"})
        tokens = (by_session, by_token, by_manufacturer)
        for token in tokens:
            await there.validate_token(token)
        await here.invalidate_session(session.session_id)
        await here.revoke_token(by_token)
        await here.invalidate_sessions("m3", reason="test")
        waiting = set(tokens)

        async def all_refused() -> bool:
            for token in tuple(waiting):
                try:
                    await there.validate_token(token)
                except TokenRevokedError:
                    waiting.discard(token)
            return not waiting

        await eventually(all_refused)
    await here.store.close()
    await there.store.close()


async def test_a_restart_keeps_tokens_and_revocations(tmp_path: Path) -> None:
    """With the same secret and store: the good ones hold, the revoked ones stay revoked."""
    async with SqliteStore(tmp_path / "a.db") as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        good, bad = [await auth.generate_manufacturer_token(ACME) for _ in range(2)]
        await auth.revoke_token(bad)
    async with SqliteStore(tmp_path / "a.db") as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        await auth.validate_token(good)
        with pytest.raises(TokenRevokedError):
            await auth.validate_token(bad)


async def test_the_same_secret_without_a_store(clock: ManualClock) -> None:
    """HS256 keys derive from the secret, so a token outlives the process even then; other secrets give others."""
    async with ManufacturerAuthManager("a passphrase", clock=clock) as auth:
        token = await auth.generate_manufacturer_token(ACME)
    async with ManufacturerAuthManager(b"a passphrase", clock=clock) as auth:
        await auth.validate_token(token)
    for other in ("another passphrase", None):
        async with ManufacturerAuthManager(other, clock=clock) as auth:
            with pytest.raises(InvalidTokenError):
                await auth.validate_token(token)


async def test_store_outage(tmp_path: Path) -> None:
    """Verified tokens hold for the revocation window and no longer; what was not seen answers 503 at once."""
    clock = ManualClock()
    store = SqliteStore(tmp_path / "a.db")
    auth = ManufacturerAuthManager(SECRET, store=store, clock=clock, options=AuthOptions(revocation_window=30))
    await auth.initialize()
    session = await auth.create_session(ACME)
    seen = await auth.generate_manufacturer_token({**ACME, "session_id": session.session_id})
    loose = await auth.generate_manufacturer_token(ACME)
    stranger = await auth.generate_manufacturer_token({**ACME, "session_id": "f" * 48})
    await auth.validate_token(seen)
    await auth.validate_token(loose)
    await store.close()
    clock.advance(29)
    await auth.validate_token(seen)
    await auth.validate_token(loose)
    with pytest.raises(StoreUnavailableError):
        await auth.validate_token(stranger)
    with pytest.raises(StoreUnavailableError):
        await auth.revoke_token(seen)
    clock.advance(2)
    for token in (seen, loose):
        with pytest.raises(StoreUnavailableError) as caught:
            await auth.validate_token(token)
        assert caught.value.http_status == 503
    await store.initialize()
    await auth.validate_token(seen)
    await auth.validate_token(loose)
    await auth.close()
    await store.close()


async def test_more_revocations_than_memory(clock: ManualClock) -> None:
    """Beyond the capacity each first sight asks the store, and nothing revoked is taken."""
    from gatewright.auth import Revocations

    async with SqliteStore() as store:
        revocations = Revocations(store, store.changes, clock, window=30, capacity=2)
        assert not revocations.is_fresh(clock.monotonic())
        await revocations.refresh()
        assert revocations.is_fresh(clock.monotonic()) and revocations.complete
        for number in range(4):
            await revocations.revoke_token(f"t{number}", clock.now() + timedelta(hours=1))
        assert not revocations.complete
        assert not revocations.is_revoked("t0") and await revocations.is_revoked_in_store("t0")
        assert revocations.is_revoked("t3") and not await revocations.is_revoked_in_store("t9")
        store.changes.publish_all()
        assert not revocations.is_fresh(clock.monotonic())
        await revocations.refresh()
        clock.advance(hours=2)
        assert await revocations.delete_expired() == 4
        assert not revocations.is_revoked("t3")
        revocations.close()


def test_configuration_is_checked(tmp_path: Path) -> None:
    """With value, rule and remedy."""
    with pytest.raises(ConfigurationError, match="HS256, ES256, EdDSA, RS256"):
        ManufacturerAuthManager(algorithm="none")
    with pytest.raises(ConfigurationError, match="token_expiry_hours"):
        ManufacturerAuthManager(token_expiry_hours=0)
    with pytest.raises(ConfigurationError, match="secret_key"):
        ManufacturerAuthManager("")
    with pytest.raises(ConfigurationError, match="secret_key"):
        ManufacturerAuthManager(store=SqliteStore(tmp_path / "a.db"))


async def test_opening_and_closing_twice() -> None:
    auth = ManufacturerAuthManager()
    await auth.initialize()
    await auth.initialize()
    await auth.close()
    await auth.close()


# --- properties --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_segments_round_trip(data: bytes) -> None:
    assert decode_segment(encode_segment(data)) == data


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59), st.integers(0, 255))
def test_a_segment_has_one_spelling(data: bytes, place: int, value: int) -> None:
    """Any other byte anywhere is refused or means something else."""
    segment = bytearray(encode_segment(data))
    place %= len(segment)
    if segment[place] != value:
        segment[place] = value
        with contextlib.suppress(InvalidTokenError):
            assert decode_segment(bytes(segment)) != data


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_parsers_only_ever_refuse(raw: bytes) -> None:
    """Hostile bytes give InvalidTokenError or a value, never another exception."""
    for reader in (parse, decode_segment, read_object):
        with contextlib.suppress(InvalidTokenError):
            reader(raw)


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**60), 2**60)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_objects_read_as_json_does(value: dict[str, Any]) -> None:
    assert read_object(json.dumps(value).encode()) == json.loads(json.dumps(value))


async def test_stored_manufacturers_are_claims(auth: ManufacturerAuthManager) -> None:
    """A record of the store serves as it is."""
    stored = StoredManufacturer(
        manufacturer_id="m", company_name="M", tier="enterprise", created_at=START, updated_at=START
    )
    claims = await auth.validate_token(await auth.generate_manufacturer_token(stored))
    assert claims["roles"] == ["manufacturer_enterprise"]
