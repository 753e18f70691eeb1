"""What every store promises of incidents, measures and proposals."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewright.controls import Measure, MeasureKind
from gatewright.storage import TIMELINE_LIMIT, Store, StoredIncident, StoredProposal

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def incident(number: int, key: str = "k", **fields: Any) -> StoredIncident:
    at = NOW + timedelta(seconds=number)
    values: dict[str, Any] = {"kind": "brute_force", "severity": "warning", "summary": "s", "event_count": 1, **fields}
    timeline = ({"at": at.isoformat(), "note": "n", "event_id": f"e{number}"},)
    return StoredIncident(
        incident_id=f"i{number}", dedup_key=key, first_seen=at, last_seen=at, timeline=timeline, **values
    )


async def test_an_open_incident_grows(store: Store) -> None:
    first, new = await store.record_incident(incident(1))
    assert new
    assert first == incident(1)
    grown, new = await store.record_incident(incident(2, severity="high", details={"x": 1}))
    assert not new
    assert (grown.incident_id, grown.event_count, grown.severity) == ("i1", 2, "high")
    assert grown.first_seen == NOW + timedelta(seconds=1)
    assert grown.last_seen == NOW + timedelta(seconds=2)
    assert [entry["event_id"] for entry in grown.timeline] == ["e1", "e2"]
    lower, _ = await store.record_incident(incident(3, severity="info"))
    assert lower.severity == "high"
    assert await store.get_incident("i1") == lower
    assert await store.get_incident("i2") is None


async def test_only_one_opens(store: Store) -> None:
    results = await asyncio.gather(*(store.record_incident(incident(n)) for n in range(40)))
    assert sum(new for _, new in results) == 1
    (one,) = await store.list_incidents()
    assert one.event_count == 40


async def test_a_timeline_is_bounded(store: Store) -> None:
    for n in range(TIMELINE_LIMIT + 50):
        grown, _ = await store.record_incident(incident(n))
    assert len(grown.timeline) == TIMELINE_LIMIT
    assert grown.timeline[0]["event_id"] == "e0"
    assert grown.timeline[-1]["event_id"] == f"e{TIMELINE_LIMIT + 49}"


async def test_resolving_closes_once_and_what_follows_is_new(store: Store) -> None:
    await store.record_incident(incident(1))
    closed = await store.resolve_incident("i1", at=NOW, by="ann", note="a drill")
    assert closed is not None
    assert (closed.status, closed.resolved_by, closed.resolution, closed.resolved_at) == (
        "resolved",
        "ann",
        "a drill",
        NOW,
    )
    assert closed.timeline[-1]["note"] == "resolved: a drill"
    assert await store.resolve_incident("i1", at=NOW, by="bob", note="again") is None
    assert await store.resolve_incident("unknown", at=NOW, by=None, note="") is None
    _, new = await store.record_incident(incident(2))
    assert new


async def test_listing_incidents(store: Store) -> None:
    await store.record_incident(incident(1, "a", manufacturer_id="m"))
    await store.record_incident(incident(2, "b", kind="other"))
    await store.resolve_incident("i2", at=NOW, by=None, note="")
    await store.record_incident(incident(3, "c"))

    async def ids(**query: Any) -> list[str]:
        return [one.incident_id for one in await store.list_incidents(**query)]

    assert await ids() == ["i3", "i2", "i1"]
    assert await ids(limit=1) == ["i3"]
    assert await ids(status="open") == ["i3", "i1"]
    assert await ids(kind="other") == ["i2"]
    assert await ids(manufacturer_id="m") == ["i1"]
    assert await ids(since=NOW + timedelta(seconds=2)) == ["i3", "i2"]


def measure(number: int, **fields: Any) -> Measure:
    return Measure(measure_id=f"m{number}", kind=MeasureKind.REQUIRE_MFA.value, created_at=NOW, **fields)


async def test_measures_and_who_is_told(store: Store) -> None:
    told: list[str] = []
    store.changes.subscribe("controls", told.append)
    await store.save_measure(measure(1))
    await store.save_measure(measure(2, until=NOW + timedelta(hours=1), evidence=("i1",)))
    await store.save_measure(measure(1, reason="changed"))
    assert await store.list_measures(now=NOW) == [
        measure(1, reason="changed"),
        measure(2, until=NOW + timedelta(hours=1), evidence=("i1",)),
    ]
    assert await store.list_measures(now=NOW + timedelta(hours=1)) == [measure(1, reason="changed")]
    assert await store.delete_measure("m1") == measure(1, reason="changed")
    assert await store.delete_measure("m1") is None
    assert told == ["m1", "m2", "m1", "m1"]


def proposal(number: int, **fields: Any) -> StoredProposal:
    at = fields.pop("at", NOW + timedelta(seconds=number))
    return StoredProposal(
        proposal_id=f"p{number}",
        finding="f",
        summary="s",
        measure=measure(number),
        seconds=60,
        created_at=at,
        changed_at=at,
        **fields,
    )


async def test_a_proposal_is_made_once(store: Store) -> None:
    assert await store.add_proposal(proposal(1)) == proposal(1)
    assert await store.add_proposal(proposal(1, evidence=("x",))) == proposal(1)
    assert await store.get_proposal("p1") == proposal(1)
    await store.add_proposal(proposal(2))
    assert [p.proposal_id for p in await store.list_proposals()] == ["p2", "p1"]
    assert [p.proposal_id for p in await store.list_proposals(limit=1)] == ["p2"]


async def test_one_of_many_applies_a_proposal(store: Store) -> None:
    await store.add_proposal(proposal(1))
    results = await asyncio.gather(
        *(store.change_proposal("p1", expected=("proposed",), status="applied", at=NOW, by=f"u{n}") for n in range(20))
    )
    (won,) = [result for result in results if result is not None]
    assert won.status == "applied"
    assert await store.list_proposals(status="applied") == [won]
    assert await store.list_proposals(status="proposed") == []
    assert await store.change_proposal("nope", expected=("proposed",), status="applied", at=NOW, by=None) is None


async def test_a_proposal_may_be_made_anew_once_it_is_over(store: Store) -> None:
    await store.add_proposal(proposal(1))
    await store.change_proposal("p1", expected=("proposed",), status="applied", at=NOW, by=None)
    assert (await store.add_proposal(proposal(1, at=NOW + timedelta(seconds=59)))).status == "applied"
    assert (await store.add_proposal(proposal(1, at=NOW + timedelta(seconds=60)))).status == "proposed"
    await store.change_proposal("p1", expected=("proposed",), status="applied", at=NOW, by=None)
    await store.change_proposal("p1", expected=("applied",), status="rolled_back", at=NOW, by=None)
    assert (await store.add_proposal(proposal(1))).status == "proposed"
