"""Incidents: opened by correlation or manually, merged while open, resolved with a note."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.controls import network_of
from gatewright.errors import FieldError, StorageError, ValidationError
from gatewright.events import EventSink, SecurityEvent, Severity, emitter, new_event_id
from gatewright.logs import clean_kind, redact, redact_text
from gatewright.monitoring.audit_encoding import SEVERITIES
from gatewright.monitoring.correlation import Correlator
from gatewright.storage.attempts import Throttle
from gatewright.storage.audit import IncidentStore, StoredIncident

Incident = StoredIncident
"""The record as it is stored."""

_WAITING = 1000


class Incidents:
    """Opens, merges, lists and resolves incidents.

    Args:
        store: stores incidents.
        sink: receives ``monitoring:incident:*`` events.
        clock: the source of time.
        correlator: correlates events into incidents.
        throttle: counts events across processes. None for a single process.
    """

    def __init__(
        self,
        store: IncidentStore,
        sink: EventSink,
        clock: Clock,
        correlator: Correlator,
        *,
        throttle: Throttle | None = None,
    ) -> None:
        self._store, self._clock, self._correlator, self._throttle = store, clock, correlator, throttle
        self._emit = emitter(sink, clock)
        self._waiting: deque[StoredIncident] = deque(maxlen=_WAITING)

    async def correlate(self, events: Iterable[SecurityEvent]) -> list[Incident]:
        """Process events. Returns the incidents that were opened or updated.

        Incidents that the store does not accept now are kept for the next call.
        """
        for one in events:
            self._waiting.extend(self._correlator.take(one))
        if self._throttle is not None:
            with contextlib.suppress(StorageError):
                self._waiting.extend(await self._correlator.take_shared(self._throttle))
        changed = []
        while self._waiting:
            try:
                changed.append(await self._record(self._waiting[0]))
            except StorageError:
                break
            self._waiting.popleft()
        return changed

    async def create(
        self,
        kind: str,
        severity: Severity | str,
        summary: str,
        *,
        manufacturer_id: str | None = None,
        account_id: str | None = None,
        ip_address: str | None = None,
        event_ids: Iterable[str] = (),
        dedup_key: str | None = None,
        actor: str | None = None,
        details: Mapping[str, Any],
    ) -> Incident:
        """Open an incident, or update the open one with the same ``dedup_key``."""
        level = str(severity)
        if level not in SEVERITIES:
            raise _invalid("severity", f"must be one of {', '.join(SEVERITIES)}")
        if not kind or len(kind) > 128:
            raise _invalid("kind", "must have 1 to 128 characters")
        now = self._clock.now()
        incident_id = f"inc_{new_event_id()}"
        evidence = [{"at": now.isoformat(), "note": "evidence", "event_id": str(e)[:64]} for e in event_ids]
        opening = {"at": now.isoformat(), "note": f"opened by {actor or 'the platform'}", "event_id": None}
        return await self._record(
            StoredIncident(
                incident_id=incident_id,
                dedup_key=f"manual:{dedup_key or incident_id}",
                kind=clean_kind(kind),
                severity=level,
                summary=redact_text(summary),
                manufacturer_id=manufacturer_id,
                account_id=account_id,
                source=network_of(ip_address) if ip_address else None,
                event_count=max(1, len(evidence)),
                first_seen=now,
                last_seen=now,
                timeline=(opening, *evidence[:100]),
                details={**redact(dict(details)), **({"addresses": [ip_address]} if ip_address else {})},
            )
        )

    async def list(
        self,
        *,
        status: str | None,
        kind: str | None,
        manufacturer_id: str | None,
        since: datetime | None,
        limit: int,
    ) -> list[Incident]:
        if status not in (None, "open", "resolved"):
            raise _invalid("status", "must be open or resolved")
        if not 1 <= limit <= 1000:
            raise _invalid("limit", "must be 1 to 1000")
        return await self._store.list_incidents(
            status=status, kind=kind, manufacturer_id=manufacturer_id, since=since, limit=limit
        )

    async def resolve(self, incident_id: str, note: str, actor: str | None) -> Incident:
        """Resolve an open incident. Later events open a new one."""
        closed = await self._store.resolve_incident(incident_id, at=self._clock.now(), by=actor, note=redact_text(note))
        if closed is None:
            if await self._store.get_incident(incident_id) is None:
                raise _invalid("incident_id", "is not known", code="UNKNOWN_INCIDENT")
            raise _invalid("incident_id", "is already resolved", code="INCIDENT_RESOLVED")
        self._emit_incident(event_kinds.MONITORING_INCIDENT_RESOLVED, closed, actor=actor, note=closed.resolution)
        return closed

    async def _record(self, incident: StoredIncident) -> Incident:
        stored, new = await self._store.record_incident(incident)
        kind = event_kinds.MONITORING_INCIDENT_OPENED if new else event_kinds.MONITORING_INCIDENT_UPDATED
        self._emit_incident(kind, stored)
        return stored

    def _emit_incident(self, kind: str, incident: Incident, *, actor: str | None = None, **data: Any) -> None:
        self._emit(
            kind,
            Severity(incident.severity) if incident.severity in SEVERITIES else Severity.NOTICE,
            manufacturer_id=incident.manufacturer_id,
            account_id=incident.account_id,
            actor=actor,
            incident_id=incident.incident_id,
            incident=incident.kind,
            events=incident.event_count,
            source=incident.source,
            **data,
        )


def _invalid(field: str, rule: str, *, code: str = "VALIDATION_FAILED") -> ValidationError:
    error = FieldError(field=field, error_type=code, message=f"{field} {rule}.")
    return ValidationError(f"{field} {rule}.", code=code, errors=[error])
