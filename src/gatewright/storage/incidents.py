"""Incidents: what several events together mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from gatewright.records import Record

TIMELINE_LIMIT = 200
"""Entries of a timeline that are kept: the first half and the newest."""


class StoredIncident(Record, frozen=True, kw_only=True):
    """An incident. While it is open there is one for each ``dedup_key``; ``timeline`` holds plain JSON entries
    ``{"at", "note", "event_id"}``; ``source`` is the network it came from."""

    incident_id: str
    dedup_key: str
    kind: str
    severity: str
    status: str = "open"
    summary: str
    manufacturer_id: str | None = None
    account_id: str | None = None
    source: str | None = None
    event_count: int = 0
    first_seen: datetime
    last_seen: datetime
    timeline: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = {}
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolution: str | None = None


class IncidentStore(Protocol):
    """Incidents."""

    async def record_incident(self, incident: StoredIncident) -> tuple[StoredIncident, bool]:
        """Open an incident, or add to the open one of the same ``dedup_key``: its count, timeline, last time and
        the higher severity. Atomic across processes; returns the incident and whether it is new."""
        ...

    async def get_incident(self, incident_id: str) -> StoredIncident | None: ...

    async def list_incidents(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        manufacturer_id: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[StoredIncident]:
        """Those last seen most recently first."""
        ...

    async def resolve_incident(
        self, incident_id: str, *, at: datetime, by: str | None, note: str
    ) -> StoredIncident | None:
        """Close an open incident; None when it is unknown or closed already."""
        ...


def merged(known: StoredIncident, more: StoredIncident, severities: tuple[str, ...]) -> StoredIncident:
    """``known`` with what ``more`` adds."""
    timeline = (*known.timeline, *more.timeline)
    if len(timeline) > TIMELINE_LIMIT:
        half = TIMELINE_LIMIT // 2
        timeline = (*timeline[:half], *timeline[-half:])
    return msgspec.structs.replace(
        known,
        severity=max(known.severity, more.severity, key=severities.index),
        summary=more.summary,
        event_count=known.event_count + more.event_count,
        last_seen=max(known.last_seen, more.last_seen),
        timeline=timeline,
        details={**known.details, **more.details},
    )
