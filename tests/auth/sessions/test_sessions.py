"""Sessions by the manager's calls: made, used, moved, ended, listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gatewright.auth import AuthOptions, ClientInfo, ManufacturerAuthManager, SessionCache, SessionRules
from gatewright.errors import (
    AuthenticationError,
    ConfigurationError,
    MFARequiredError,
    TokenRevokedError,
    ValidationError,
)
from gatewright.policy import load_policy
from gatewright.settings import Settings
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.auth.identity import ACME, CHROME, HOME, SECRET, START, known_account, sign_in
from tests.support.waiting import eventually

BOUND = {**ACME, "ip_address": HOME.ip_address, "user_agent": HOME.user_agent}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
async def auth(clock: ManualClock, sink: ListSink) -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET, clock=clock, sink=sink) as manager:
        yield manager


def with_rules(clock: ManualClock, **rules: object) -> ManufacturerAuthManager:
    return ManufacturerAuthManager(SECRET, clock=clock, options=AuthOptions(sessions=SessionRules(**rules)))  # type: ignore[arg-type]  # each is checked by the record


async def test_what_a_session_is(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    session = await auth.create_session({**BOUND, "roles": ["manufacturer_professional", "auditor"]})
    assert len(session.session_id) >= 32
    assert session["manufacturer_id"] == "mfr_acme" and session.tier == "professional"
    assert session.roles == ["manufacturer_professional", "auditor"]
    assert session.created_at == session.last_activity == clock.now()
    assert session.expires_at == clock.now() + timedelta(hours=24)
    assert session.is_active and session.activity_count == 0 and session.account_id is None
    assert session.device == "Chrome on Windows" and session.place == "203.0.113.0/24"
    assert session.ip_address == HOME.ip_address and session.user_agent == CHROME
    again = await auth.create_session(BOUND)
    assert again.session_id != session.session_id


async def test_the_owner_is_meant_where_no_account_is_named(auth: ManufacturerAuthManager) -> None:
    await known_account(auth)
    assert (await auth.create_session(ACME)).account_id == "acc_acme"
    assert (await auth.create_session({**ACME, "account_id": "acc_other"})).account_id == "acc_other"


async def test_bad_data(auth: ManufacturerAuthManager) -> None:
    with pytest.raises(ValidationError):
        await auth.create_session({"email": "x"})
    session = await auth.create_session({"manufacturer_id": "m", "ip_address": "x" * 999, "user_agent": "y" * 9999})
    assert len(session.ip_address or "") <= 45 and len(session.user_agent or "") <= 512
    odd = await auth.create_session({"manufacturer_id": "m", "user_agent": "agent \ud800", "ip_address": "\udfff"})
    assert odd.user_agent == "agent ?"


async def test_use_is_counted(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """In this process at once, in the store soon."""
    session = await auth.create_session(BOUND)
    for _ in range(5):
        clock.advance(10)
        assert await auth.validate_session(session.session_id)
    info = await auth.get_session_info(session.session_id)
    assert info and info.activity_count == 5 and info.last_activity == clock.now()
    assert info.expires_at == session.expires_at, "use alone does not move the end"


async def test_a_disabled_manufacturer_has_no_session(auth: ManufacturerAuthManager) -> None:
    """However it was disabled, and whoever holds the id or the cookie; it is there again when the manufacturer is."""
    await known_account(auth)
    session = await auth.create_session(BOUND)
    cookie = await auth.sessions.create_cookie(session.session_id)
    await auth.store.update_manufacturer("mfr_acme", status="disabled")
    assert await auth.validate_session(session.session_id) is False
    assert await auth.sessions.verify_cookie(cookie) is None
    for call in (auth.refresh_session, auth.rotate_session):
        with pytest.raises(AuthenticationError, match="ended"):
            await call(session.session_id)
    await auth.store.update_manufacturer("mfr_acme", status="active")
    assert await auth.validate_session(session.session_id) is True


async def test_uses_reach_the_store_by_themselves(auth: ManufacturerAuthManager) -> None:
    session = await auth.create_session(BOUND)
    await auth.validate_session(session.session_id)

    async def written() -> bool:
        stored = await auth.store.get_session(session.session_id)
        return stored is not None and stored.activity_count == 1

    await eventually(written)


@pytest.mark.parametrize("session_id", ["", "x", "x" * 1000, "\ud800", "é" * 48, None, 7, b"x", ["x"]])
async def test_unknown_sessions(auth: ManufacturerAuthManager, session_id: object) -> None:
    """Are not valid, have no information, and end nothing."""
    assert await auth.validate_session(session_id) is False  # type: ignore[arg-type]  # hostile on purpose
    assert await auth.get_session_info(session_id) is None  # type: ignore[arg-type]  # hostile on purpose
    assert await auth.invalidate_session(session_id) is False  # type: ignore[arg-type]  # hostile on purpose
    for call in (auth.refresh_session, auth.rotate_session):
        with pytest.raises(AuthenticationError, match="ended"):
            await call(session_id)  # type: ignore[arg-type]  # hostile on purpose


async def test_expiry_and_refresh(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Later end, same id; not beyond the absolute end; not once it is over."""
    session = await auth.create_session(BOUND)
    clock.advance(hours=23)
    refreshed = await auth.refresh_session(session.session_id)
    assert refreshed.session_id == session.session_id and refreshed.expires_at > session.expires_at
    clock.advance(hours=23)
    assert await auth.validate_session(session.session_id)
    clock.advance(hours=1)
    assert not await auth.validate_session(session.session_id)
    with pytest.raises(AuthenticationError):
        await auth.refresh_session(session.session_id)
    info = await auth.get_session_info(session.session_id)
    assert info and not info.is_active


async def test_the_absolute_end(clock: ManualClock) -> None:
    async with with_rules(clock, absolute=timedelta(hours=30)) as auth:
        session = await auth.create_session(BOUND)
        clock.advance(hours=20)
        assert (await auth.refresh_session(session.session_id)).expires_at == START + timedelta(hours=30)
        clock.advance(hours=10)
        assert not await auth.validate_session(session.session_id)


async def test_the_idle_end(clock: ManualClock) -> None:
    """Use keeps it alive, also where it is only in memory yet; disuse ends it."""
    async with with_rules(clock, idle=timedelta(minutes=30)) as auth:
        session = await auth.create_session(BOUND)
        for _ in range(3):
            clock.advance(minutes=29)
            assert await auth.validate_session(session.session_id)
        clock.advance(minutes=31)
        assert not await auth.validate_session(session.session_id)


async def test_only_so_many_at_once(clock: ManualClock) -> None:
    """The oldest makes room, of this account and no other."""
    async with with_rules(clock, limit=2) as auth:
        other = await auth.create_session({**BOUND, "manufacturer_id": "other"})
        sessions = []
        for _ in range(4):
            clock.advance(1)
            sessions.append(await auth.create_session(BOUND))
        alive = [await auth.validate_session(session.session_id) for session in sessions]
        assert alive == [False, False, True, True]
        assert await auth.validate_session(other.session_id)
        ended = await auth.get_session_info(sessions[0].session_id)
        assert ended and ended.ended_reason == "session_limit"


async def test_rotation(auth: ManufacturerAuthManager) -> None:
    """New id and tier, the old one dead with its tokens; its refresh token continues in the new one."""
    result = await sign_in(auth)
    assert result.session_id and result.access_token and result.refresh_token
    rotated = await auth.rotate_session(result.session_id, new_tier="enterprise")
    assert rotated.session_id != result.session_id
    assert rotated.tier == "enterprise" and rotated.roles == ["manufacturer_enterprise"]
    assert not await auth.validate_session(result.session_id)
    with pytest.raises(TokenRevokedError):
        await auth.validate_token(result.access_token)
    with pytest.raises(AuthenticationError):
        await auth.rotate_session(result.session_id)
    assert (await auth.refresh_tokens(result.refresh_token, client=HOME)).session_id == rotated.session_id
    plain = await auth.rotate_session(rotated.session_id)
    assert plain.tier == "enterprise" and plain.expires_at == rotated.expires_at


async def test_one_of_many_rotations_wins(auth: ManufacturerAuthManager) -> None:
    session = await auth.create_session(BOUND)
    results = await asyncio.gather(
        *(auth.rotate_session(session.session_id) for _ in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert len(await auth.list_sessions("mfr_acme")) == 1


async def test_listing_and_ending(auth: ManufacturerAuthManager, clock: ManualClock, sink: ListSink) -> None:
    """Newest first, only the living, only this manufacturer's; every end is reported with its reason."""
    sessions = []
    for _ in range(3):
        clock.advance(1)
        sessions.append((await auth.create_session(BOUND)).session_id)
    other = await auth.create_session({**BOUND, "manufacturer_id": "other"})
    assert [s.session_id for s in await auth.list_sessions("mfr_acme")] == sessions[::-1]
    assert await auth.invalidate_session(sessions[0]) is True
    assert await auth.invalidate_session(sessions[0]) is False
    assert await auth.invalidate_sessions("mfr_acme", reason="password changed", except_session=sessions[2]) == 1
    assert [s.session_id for s in await auth.list_sessions("mfr_acme")] == [sessions[2]]
    assert await auth.invalidate_sessions("mfr_acme", reason="all") == 1
    assert await auth.list_sessions("mfr_acme") == []
    assert await auth.validate_session(other.session_id)
    told = [event.data["reason"] for event in sink.events if event.kind == "auth:session:ended"]
    assert told == ["requested", "password changed", "all"]


async def test_cleanup(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Counts what ran out, once; keeps what ended lately, deletes what ended long ago."""
    for _ in range(3):
        await auth.create_session(BOUND)
    clock.advance(hours=1)
    living = await auth.create_session(BOUND)
    assert await auth.cleanup_expired_sessions() == 0
    clock.advance(hours=23)
    assert await auth.cleanup_expired_sessions() == 3
    assert await auth.cleanup_expired_sessions() == 0
    assert await auth.validate_session(living.session_id)
    clock.advance(days=40)
    assert await auth.cleanup_expired_sessions() == 1
    clock.advance(days=31)
    await auth.cleanup_expired_sessions()
    assert await auth.get_session_info(living.session_id) is None


async def test_recent_mfa(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Asked for until it was shown, and again when it has aged; a dead session never passes."""
    session = await auth.create_session(BOUND)
    with pytest.raises(MFARequiredError):
        await auth.require_recent_mfa(session.session_id, max_age=timedelta(minutes=5))
    assert await auth.sessions.note_mfa(session.session_id)
    await auth.require_recent_mfa(session.session_id, max_age=300)
    await auth.require_recent_mfa(session.session_id)
    clock.advance(301)
    with pytest.raises(MFARequiredError):
        await auth.require_recent_mfa(session.session_id, max_age=300)
    await auth.invalidate_session(session.session_id)
    assert not await auth.sessions.note_mfa(session.session_id)
    for session_id in (session.session_id, "unknown"):
        with pytest.raises(MFARequiredError):
            await auth.require_recent_mfa(session_id, max_age=10**6)


async def test_cookies_carry_a_secret_of_their_own(auth: ManufacturerAuthManager) -> None:
    """The listed id opens nothing; the secret is kept as a hash; a new one ends the old one."""
    session = await auth.create_session(BOUND)
    first = await auth.sessions.create_cookie(session.session_id)
    opened = await auth.sessions.verify_cookie(first)
    assert opened and opened.session_id == session.session_id
    stored = await auth.store.get_session(session.session_id)
    assert stored and stored.cookie_hash and first.partition(".")[2].encode() not in stored.cookie_hash
    other = await auth.create_session(BOUND)
    await auth.sessions.create_cookie(other.session_id)
    forged = f"{other.session_id}.{first.partition('.')[2]}"
    for value in (session.session_id, f"{session.session_id}.", f"{first}x", forged, "", "." * 99, "x" * 999, None, 5):
        assert await auth.sessions.verify_cookie(value) is None  # type: ignore[arg-type]  # hostile on purpose
    second = await auth.sessions.create_cookie(session.session_id)
    assert await auth.sessions.verify_cookie(first) is None
    assert await auth.sessions.verify_cookie(second)
    await auth.invalidate_session(session.session_id)
    assert await auth.sessions.verify_cookie(second) is None
    with pytest.raises(AuthenticationError):
        await auth.sessions.create_cookie(session.session_id)


async def test_a_session_without_anything_to_bind_to(auth: ManufacturerAuthManager) -> None:
    session = await auth.create_session(ACME)
    assert session.device is None and session.place is None
    assert not await auth.detect_session_hijacking(session.session_id, HOME)


async def test_sessions_outlive_a_restart_and_are_seen_by_others(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqliteStore(path) as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        session = await auth.create_session(BOUND)
        await auth.validate_session(session.session_id)
    async with SqliteStore(path) as here, SqliteStore(path) as there:
        a, b = (ManufacturerAuthManager(SECRET, store=store) for store in (here, there))
        async with a, b:
            info = await a.get_session_info(session.session_id)
            assert info and info.activity_count == 1, "uses are written when the manager closes"
            assert await a.validate_session(session.session_id) and await b.validate_session(session.session_id)
            await a.invalidate_session(session.session_id)

            async def refused() -> bool:
                return not await b.validate_session(session.session_id)

            await eventually(refused)


async def test_use_is_kept_while_the_store_is_away(tmp_path: Path) -> None:
    """And written when it is back."""
    store = SqliteStore(tmp_path / "a.db")
    auth = ManufacturerAuthManager(SECRET, store=store)
    await auth.initialize()
    session = await auth.create_session(BOUND)
    await store.close()
    assert await auth.validate_session(session.session_id), "known within the window"
    await auth.sessions.flush()
    await store.initialize()
    info = await auth.get_session_info(session.session_id)
    assert info and info.activity_count == 1
    await auth.close()
    await store.close()


async def test_clients_of_any_shape(auth: ManufacturerAuthManager) -> None:
    """A record, a mapping, an object or nothing."""
    session = await auth.create_session(BOUND)
    for client in (ClientInfo("198.51.100.1", None), {"ip_address": "198.51.100.1"}):
        assert await auth.detect_session_hijacking(session.session_id, client)
    assert not await auth.detect_session_hijacking(session.session_id, None)
    assert not await auth.detect_session_hijacking("unknown", HOME)


def test_options_of_an_installation() -> None:
    """Settings and policy together: lifetimes, limits, and what a score of risk leads to."""
    policy = load_policy()
    options = AuthOptions.from_settings(Settings(access_token_minutes=5, issuer="me"), policy)
    assert options.issuer == "me" and options.access_lifetime == timedelta(minutes=5)
    assert options.sessions.limit == policy.sessions.concurrent
    assert options.sessions.idle == timedelta(seconds=policy.sessions.idle)
    assert options.risk.end == policy.sessions.end_at
    assert AuthOptions.from_settings(Settings()).sessions == SessionRules()


async def test_a_cancelled_caller_leaves_nothing_half_done(tmp_path: Path) -> None:
    """Who goes away while a session is being ended, ends it all the same, and this process knows soon."""
    async with SqliteStore(tmp_path / "a.db") as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        for turns in range(1, 6):
            session = await auth.create_session(BOUND)
            ending = asyncio.ensure_future(auth.sessions.end(session.session_id, reason="test"))
            for _ in range(turns):
                await asyncio.sleep(0)
            while not ending.done() and (await store.get_session(session.session_id) or session).ended_at is None:
                pass
            ending.cancel()

            async def refused(session_id: str = session.session_id) -> bool:
                return not await auth.validate_session(session_id)

            await eventually(refused)


async def test_a_closed_manager_stays_closed() -> None:
    auth = ManufacturerAuthManager()
    await auth.initialize()
    await auth.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await auth.initialize()


async def test_what_a_process_knows_is_bounded_and_can_be_forgotten(clock: ManualClock) -> None:
    """The oldest go first; after missed notices everything is looked up again; an old look does not count."""
    async with SqliteStore() as store, ManufacturerAuthManager(SECRET, store=store, clock=clock) as auth:
        states = SessionCache(store, store.changes, clock, window=30, capacity=2)
        ids = [(await auth.create_session(BOUND)).session_id for _ in range(3)]
        for session_id in ids:
            assert await states.get_alive(session_id)
        now = clock.timestamp()
        assert [states.is_known_alive(session_id, now) for session_id in ids] == [False, True, True]
        clock.advance(31)
        assert not states.is_known_alive(ids[2], clock.timestamp())
        assert await states.get_alive(ids[2])
        store.changes.publish_all()
        assert not states.is_known_alive(ids[2], clock.timestamp())
        states.close()
        token = await auth.generate_manufacturer_token(ACME)
        await auth.validate_token(token)
        store.changes.publish_all()
        assert not auth.tenants.is_known_active("mfr_acme")
        await auth.validate_token(token)
        assert auth.tenants.is_known_active("mfr_acme")
