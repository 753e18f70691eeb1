"""FeedbackStore: statements are bounded by actor, versions change hands by compare-and-set."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from gatewright.storage import Store, StoredFeedback, StoredModelVersion

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


def statement(number: int, **changes: Any) -> StoredFeedback:
    made = StoredFeedback(
        feedback_id=f"f{number}",
        actor="ann",
        source="api",
        digest=f"d{number}",
        text=f"text {number}",
        threat_type="xss",
        is_threat=True,
        created_at=NOW,
    )
    return replace(made, **changes)


def version(*, accepted: bool = True, delta: bytes | None = b"delta") -> StoredModelVersion:
    return StoredModelVersion(
        version=0,
        base="base",
        accepted=accepted,
        reason="why",
        metrics="{}",
        delta=delta,
        created_by="ann",
        created_at=NOW,
    )


async def test_statements_come_back_in_order(store: Store) -> None:
    for number in range(3):
        assert await store.add_feedback(statement(number), since=LONG_AGO, limit=10) == statement(number)
    assert await store.list_feedback() == [statement(0), statement(1), statement(2)]
    assert await store.list_feedback(limit=1) == [statement(0)]


async def test_an_actor_is_bounded(store: Store) -> None:
    """Over the limit nothing is kept; old statements and those of others do not count."""
    await store.add_feedback(statement(0, created_at=LONG_AGO - timedelta(1)), since=LONG_AGO, limit=1)
    assert await store.add_feedback(statement(1), since=LONG_AGO, limit=1) is not None
    assert await store.add_feedback(statement(2), since=LONG_AGO, limit=1) is None
    assert await store.add_feedback(statement(3, actor="bob"), since=LONG_AGO, limit=1) is not None
    assert [made.feedback_id for made in await store.list_feedback()] == ["f0", "f1", "f3"]


async def test_a_bound_holds_under_a_race(store: Store) -> None:
    results = await asyncio.gather(*(store.add_feedback(statement(n), since=LONG_AGO, limit=5) for n in range(20)))
    assert sum(result is not None for result in results) == 5


async def test_a_second_opinion_replaces_the_first(store: Store) -> None:
    await store.add_feedback(statement(0), since=LONG_AGO, limit=10)
    again = statement(1, digest="d0", is_threat=False)
    await store.add_feedback(again, since=LONG_AGO, limit=10)
    assert await store.list_feedback() == [again]


async def test_settling(store: Store) -> None:
    for number in range(2):
        await store.add_feedback(statement(number), since=LONG_AGO, limit=10)
    assert await store.settle_feedback(["f0", "unknown"], status="disputed", note="because") == 1
    assert await store.settle_feedback([], status="used", note="") == 0
    assert await store.list_feedback(statuses=("disputed",)) == [statement(0, status="disputed", note="because")]
    assert await store.list_feedback(statuses=("open", "used")) == [statement(1)]


async def test_versions(store: Store) -> None:
    """An accepted version is active at once, a refused one never."""
    heard: list[str] = []
    store.changes.subscribe("model", heard.append)
    assert await store.active_model_version() is None
    first = await store.add_model_version(version(), expected_active=0)
    assert first is not None and (first.version, first.active, first.delta) == (1, True, b"delta")
    assert heard == ["active"]
    refused = await store.add_model_version(version(accepted=False, delta=None), expected_active=1)
    assert refused is not None and not refused.active
    assert await store.active_model_version() == first
    assert [(v.version, v.active, v.delta) for v in await store.list_model_versions()] == [
        (1, True, None),
        (2, False, None),
    ]
    assert not await store.activate_model_version(2)
    assert not await store.activate_model_version(99)
    assert await store.activate_model_version(0)
    assert await store.active_model_version() is None
    assert await store.activate_model_version(1)
    assert await store.get_model_version(1) == first
    assert await store.get_model_version(99) is None


async def test_of_two_that_learn_at_once_one_wins(store: Store) -> None:
    results = await asyncio.gather(*(store.add_model_version(version(), expected_active=0) for _ in range(8)))
    assert sum(result is not None for result in results) == 1
