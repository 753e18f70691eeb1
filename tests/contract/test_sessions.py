"""Sessions and refresh families: the promises of every store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gatewright.storage import RefreshOutcome, RefreshResult, RefreshRotation, Store, StoredSession

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def session(session_id: str, **fields: Any) -> StoredSession:
    return StoredSession(
        **{
            "session_id": session_id,
            "manufacturer_id": "m1",
            "account_id": "a1",
            "created_at": NOW,
            "expires_at": NOW + DAY,
            "absolute_expires_at": NOW + 10 * DAY,
            "last_activity": NOW,
            **fields,
        }
    )


async def add(store: Store, session_id: str, **fields: Any) -> StoredSession:
    made = session(session_id, **fields)
    await store.add_session(made, owner="account_id")
    return made


def notices(store: Store, topic: str = "session") -> list[str]:
    heard: list[str] = []
    store.changes.subscribe(topic, heard.append)
    return heard


async def test_a_session_comes_back_as_it_went(store: Store) -> None:
    full = await add(
        store,
        "full",
        company_name="Ünïcode",
        email="a@b.example",
        tier="free",
        roles=["r1", "r2"],
        idle_seconds=60.5,
        activity_count=3,
        ip_address="2001:db8::1",
        user_agent="x",
        network="2001:db8::/64",
        agent_family="f",
        agent_platform="p",
        device_id="d",
        factors=["pwd"],
        mfa_at=NOW,
        cookie_hash=b"\x00\xff",
        ended_at=NOW,
        ended_reason="because",
    )
    bare = await add(store, "bare", account_id=None)
    assert await store.get_session("full") == full
    assert await store.get_session("bare") == bare
    assert await store.get_session("none") is None


async def test_only_the_living_are_listed(store: Store) -> None:
    await add(store, "old", created_at=NOW - DAY)
    await add(store, "new")
    await add(store, "other", manufacturer_id="m2")
    await add(store, "expired", expires_at=NOW)
    await add(store, "over", absolute_expires_at=NOW)
    await add(store, "idle", last_activity=NOW - DAY, idle_seconds=3600.0)
    await add(store, "ended", ended_at=NOW)
    assert [s.session_id for s in await store.list_sessions("m1", now=NOW)] == ["new", "old"]
    assert [s.session_id for s in await store.list_sessions("m1", now=NOW, limit=1)] == ["new"]


async def test_a_limit_ends_the_oldest(store: Store) -> None:
    for number in range(3):
        await add(store, f"s{number}", created_at=NOW + timedelta(seconds=number))
    await add(store, "ended", ended_at=NOW)
    heard = notices(store)
    newest = session("newest", created_at=NOW + timedelta(seconds=9))
    assert set(await store.add_session(newest, keep=2, owner="account_id")) == {"s0", "s1"}
    assert set(heard) == {"s0", "s1"}
    assert {s.session_id for s in await store.list_sessions("m1", now=NOW)} == {"newest", "s2"}
    assert await store.add_session(session("x", account_id=None), keep=1, owner="account_id") == []
    with pytest.raises(TypeError):
        await store.add_session(session("y"), owner="email")


async def test_sessions_without_an_account_are_counted_among_themselves(store: Store) -> None:
    await add(store, "person")
    await add(store, "other", account_id=None, manufacturer_id="m2")
    for number in range(2):
        await add(store, f"nobody{number}", account_id=None, created_at=NOW + timedelta(seconds=number))
    newest = session("newest", account_id=None, created_at=NOW + timedelta(seconds=9))
    assert await store.add_session(newest, keep=2, owner="manufacturer_id") == ["nobody0"]
    assert {s.session_id for s in await store.list_sessions("m1", now=NOW)} == {"person", "nobody1", "newest"}


async def test_touches_add_up(store: Store) -> None:
    await add(store, "s")
    await add(store, "ended", ended_at=NOW)
    later = NOW + timedelta(minutes=1)
    await store.touch_sessions({"s": (2, later), "ended": (1, later), "unknown": (1, later)})
    await store.touch_sessions({"s": (3, NOW)})
    found = await store.get_session("s")
    assert found and found.activity_count == 5 and found.last_activity == later
    ended = await store.get_session("ended")
    assert ended and ended.activity_count == 0


async def test_extending(store: Store) -> None:
    await add(store, "s")
    heard = notices(store)
    extended = await store.extend_session("s", now=NOW + DAY / 2, expires_at=NOW + 2 * DAY)
    assert extended and extended.expires_at == NOW + 2 * DAY and heard == ["s"]
    shorter = await store.extend_session("s", now=NOW + DAY, expires_at=NOW)
    assert shorter and shorter.expires_at == NOW + 2 * DAY, "never earlier"
    longest = await store.extend_session("s", now=NOW + DAY, expires_at=NOW + 99 * DAY)
    assert longest and longest.expires_at == NOW + 10 * DAY, "never beyond the absolute end"
    assert await store.extend_session("s", now=NOW + 10 * DAY, expires_at=NOW + 99 * DAY) is None
    assert await store.extend_session("none", now=NOW, expires_at=NOW + DAY) is None


async def test_what_is_set_needs_a_living_session(store: Store) -> None:
    await add(store, "s")
    assert await store.set_session_mfa("s", now=NOW, mfa_at=NOW)
    assert await store.set_session_cookie("s", now=NOW, cookie_hash=b"h")
    found = await store.get_session("s")
    assert found and found.mfa_at == NOW and found.cookie_hash == b"h"
    assert await store.set_session_mfa("s", now=NOW, mfa_at=None)
    assert not await store.set_session_mfa("s", now=NOW + DAY, mfa_at=NOW)
    assert not await store.set_session_cookie("none", now=NOW, cookie_hash=b"h")


async def test_ending(store: Store) -> None:
    for name in ("s1", "s2", "s3"):
        await add(store, name)
    await add(store, "colleague", account_id="a2")
    await add(store, "stranger", manufacturer_id="m2")
    heard = notices(store)
    assert await store.end_session("s1", now=NOW, reason="r")
    assert not await store.end_session("s1", now=NOW, reason="again")
    found = await store.get_session("s1")
    assert found and found.ended_at == NOW and found.ended_reason == "r"
    assert await store.end_sessions("m1", now=NOW, reason="r", account_id="a1", keep="s2") == ["s3"]
    assert set(await store.end_sessions("m1", now=NOW, reason="r")) == {"s2", "colleague"}
    assert {"s1", "s2", "s3", "colleague"} == set(heard)
    assert [s.session_id for s in await store.list_sessions("m2", now=NOW)] == ["stranger"]


async def test_ending_those_of_a_person_and_of_nobody(store: Store) -> None:
    await add(store, "mine")
    await add(store, "colleague", account_id="a2")
    for name in ("nobody", "kept"):
        await add(store, name, account_id=None)
    await add(store, "elsewhere", account_id=None, manufacturer_id="m2")
    ended = await store.end_sessions("m1", now=NOW, reason="r", account_id="a1", without_account=True, keep="kept")
    assert set(ended) == {"mine", "nobody"}
    assert {s.session_id for s in await store.list_sessions("m1", now=NOW)} == {"colleague", "kept"}


async def test_one_of_many_replacements(store: Store) -> None:
    await add(store, "s")
    results = await asyncio.gather(
        *(store.replace_session("s", session(f"n{number}"), now=NOW) for number in range(10))
    )
    assert sum(results) == 1
    assert len(await store.list_sessions("m1", now=NOW)) == 1
    assert not await store.replace_session("none", session("x"), now=NOW)


async def test_expired_ones_are_counted_once(store: Store) -> None:
    made = await add(store, "gone", expires_at=NOW)
    await store.add_refresh_family(made, family_id="f", token_hash=b"t", now=NOW, expires_at=NOW + DAY)
    await add(store, "there")
    assert await store.delete_expired_sessions(now=NOW, older_than=NOW) == 1
    assert await store.delete_expired_sessions(now=NOW, older_than=NOW) == 0
    assert await store.get_session("gone")
    assert await store.delete_expired_sessions(now=NOW, older_than=NOW + timedelta(seconds=1)) == 0
    assert await store.get_session("gone") is None and await store.refresh_session_of("f") is None
    assert await store.get_session("there")


# --- refresh families --------------------------------------------------------------------------------------------


async def rotate(
    store: Store, token: bytes, successor: bytes, *, client: bytes | None = b"c", after: float = 0.0, family: str = "f"
) -> RefreshResult:
    now = NOW + timedelta(seconds=after)
    return await store.rotate_refresh_token(
        RefreshRotation(
            family_id=family,
            token_hash=token,
            successor_hash=successor,
            sealed=b"sealed " + successor,
            client_key=client,
            now=now,
            grace_seconds=10,
            successor_expires_at=now + 5 * DAY,
            session_expires_at=now + 5 * DAY,
        )
    )


async def begin(store: Store, expires_at: datetime = NOW + 5 * DAY) -> None:
    made = await add(store, "s")
    await store.add_refresh_family(made, family_id="f", token_hash=b"t0", now=NOW, expires_at=expires_at)


async def test_rotation_and_grace(store: Store) -> None:
    await begin(store)
    first = await rotate(store, b"t0", b"t1", after=100)
    assert first.outcome == RefreshOutcome.ROTATED and first.sealed == b"sealed t1"
    assert first.seconds_since_rotation == pytest.approx(100)
    assert first.session and first.session.expires_at == NOW + 5 * DAY + timedelta(seconds=100)
    again = await rotate(store, b"t0", b"x", after=109)
    assert again.outcome == RefreshOutcome.REPEATED and again.sealed == b"sealed t1"
    assert (await rotate(store, b"t1", b"t2", after=110)).outcome == RefreshOutcome.ROTATED
    assert await store.refresh_session_of("f") == "s" and await store.refresh_session_of("g") is None
    assert (await rotate(store, b"x", b"y", family="g")).outcome == RefreshOutcome.UNKNOWN
    assert (await rotate(store, b"x", b"y", after=110)).outcome == RefreshOutcome.REUSED, "an unneeded successor"


@pytest.mark.parametrize(("client", "after"), [(b"other", 1.0), (None, 1.0), (b"c", 11.0)])
async def test_reuse(store: Store, client: bytes | None, after: float) -> None:
    await begin(store)
    await rotate(store, b"t0", b"t1")
    heard = notices(store)
    reused = await rotate(store, b"t0", b"x", client=client, after=after)
    assert reused.outcome == RefreshOutcome.REUSED and heard == ["s"]
    assert reused.session and reused.session.ended_reason == "refresh_token_reused"
    assert (await rotate(store, b"t1", b"x", after=after)).outcome == RefreshOutcome.REVOKED
    assert (await rotate(store, b"t0", b"x", after=after)).outcome == RefreshOutcome.REUSED


async def test_two_unknown_clients_are_not_the_same(store: Store) -> None:
    await begin(store)
    await rotate(store, b"t0", b"t1", client=None)
    assert (await rotate(store, b"t0", b"x", client=None)).outcome == RefreshOutcome.REUSED


async def test_refused_tokens(store: Store) -> None:
    await begin(store, expires_at=NOW + timedelta(seconds=50))
    assert (await rotate(store, b"t0", b"t1", after=50)).outcome == RefreshOutcome.EXPIRED
    await store.end_session("s", now=NOW, reason="r")
    assert (await rotate(store, b"t0", b"t1")).outcome == RefreshOutcome.REVOKED
    assert (await rotate(store, b"unknown", b"t1", family="g")).outcome == RefreshOutcome.UNKNOWN


async def test_an_expired_session_rotates_nothing(store: Store) -> None:
    await begin(store)
    assert (await rotate(store, b"t0", b"t1", after=DAY.total_seconds())).outcome == RefreshOutcome.REVOKED


async def test_a_grace_does_not_outlive_the_session(store: Store) -> None:
    made = await add(store, "s", absolute_expires_at=NOW + timedelta(seconds=5))
    await store.add_refresh_family(made, family_id="f", token_hash=b"t0", now=NOW, expires_at=NOW + DAY)
    await rotate(store, b"t0", b"t1", after=4)
    assert (await rotate(store, b"t0", b"x", after=6)).outcome == RefreshOutcome.REVOKED


async def test_a_family_goes_over_to_the_successor(store: Store) -> None:
    await begin(store)
    assert await store.replace_session("s", session("n"), now=NOW)
    moved = await rotate(store, b"t0", b"t1")
    assert moved.outcome == RefreshOutcome.ROTATED and moved.session and moved.session.session_id == "n"


async def test_one_of_many_uses_rotates(store: Store) -> None:
    await begin(store)
    results = await asyncio.gather(*(rotate(store, b"t0", b"t%d" % n, client=b"c%d" % n) for n in range(1, 30)))
    outcomes = [result.outcome for result in results]
    assert outcomes.count("rotated") == 1 and set(outcomes) == {"rotated", "reused"}
    assert await store.list_sessions("m1", now=NOW) == []


async def test_a_token_long_forgotten_is_still_a_second_use(store: Store) -> None:
    """Used ones go after their grace; that the family does not know a token any more says enough."""
    await begin(store)
    for number in range(5):
        after = 100.0 * number
        assert (await rotate(store, b"t%d" % number, b"t%d" % (number + 1), after=after)).outcome == "rotated"
    reused = await rotate(store, b"t0", b"x", after=500)
    assert reused.outcome == RefreshOutcome.REUSED and reused.session and reused.session.ended_at
    assert (await rotate(store, b"t5", b"x", after=500)).outcome == RefreshOutcome.REVOKED
