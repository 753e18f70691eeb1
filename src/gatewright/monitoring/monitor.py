"""SecurityMonitor: the public face of monitoring."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls
from gatewright.encryption.secretbox import derive_key
from gatewright.errors import SecurityError, StoreUnavailableError
from gatewright.events import EventSink, SecurityEvent, Severity, emitter
from gatewright.monitoring.audit import AuditLog
from gatewright.monitoring.binding import HeadBinder
from gatewright.monitoring.correlation import CORRELATION_RULES, CorrelationRule, Correlator
from gatewright.monitoring.folding import Folding
from gatewright.monitoring.incidents import Incident, Incidents
from gatewright.monitoring.metrics import Metrics
from gatewright.monitoring.pipeline import AuditPipeline
from gatewright.monitoring.posture import Facts, InForce, MeasureLimits, Mode, Posture, PostureStore, Proposal
from gatewright.monitoring.posture_findings import PostureFinding
from gatewright.monitoring.spool import Spool
from gatewright.monitoring.upkeep import Schedule, Upkeep, VerificationReporter
from gatewright.performance import Report, timings
from gatewright.storage.attempts import Throttle
from gatewright.storage.audit import AuditStore
from gatewright.storage.changes import Changes
from gatewright.storage.sqlite.store import SqliteStore

_CORRELATION_BATCH = 64
"""Events that are correlated before other tasks run."""


class MonitorStore(AuditStore, PostureStore, Throttle, Protocol):
    """The store of the monitor."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...


class SecurityMonitor:
    """Keeps the audit log, counts events, correlates them into incidents, and manages the security posture.

    The monitor is an :class:`~gatewright.events.EventSink`: pass it to the managers, directly or in a ``FanOut``.

    Args:
        store: stores everything. Defaults to a private store in memory.
        sink: receives the monitor's own events. Defaults to the monitor itself. In a foundation, it is the ``FanOut``
            that includes this monitor.
        controls: the measures that the managers read. Share those of the foundation.
        clock: the source of time.
        root_secret: the secret from which the keys that sign checkpoints and bind the log are derived. Without it,
            checkpoints are signed with a key of this process, and the log is not bound.
        previous_root_secrets: secrets whose checkpoints and bindings are still valid.
        origin: the name of the log on its checkpoints.
        spool_dir: a directory for audit entries while the store is unavailable. Without it, they wait in memory.
        spool_bytes: the maximum size of the spool.
        checkpoint_file: see :class:`~gatewright.monitoring.audit.AuditLog`. Preferably on another machine.
        anchor_file: a file outside the store that records that the log is bound. Created with the first binding.
        checkpoint_every: seconds between checkpoints while the log grows. A last one is signed by :meth:`close`.
        verify_every: seconds between verifications of the whole log, shared by the processes of a store. None disables
            them.
        capacity: the maximum number of events waiting in memory.
        retry: seconds before the first retry when the store is unavailable.
        posture_mode: ``suggest`` or ``enforce``.
        measure_limits: the limits of ``enforce`` mode.
        facts: measured facts for :meth:`assess`: a mapping or a function, async or not.
        rules: the rules that correlate events into incidents.
    """

    def __init__(
        self,
        store: MonitorStore | None = None,
        sink: EventSink | None = None,
        *,
        controls: Controls | None = None,
        clock: Clock | None = None,
        root_secret: bytes | None = None,
        previous_root_secrets: Sequence[bytes] = (),
        origin: str = "gatewright/audit",
        spool_dir: str | Path | None = None,
        spool_bytes: int = 64 * 1024 * 1024,
        checkpoint_file: str | Path | None = None,
        anchor_file: str | Path | None = None,
        checkpoint_every: float = 600.0,
        verify_every: float | None = None,
        capacity: int = 50_000,
        retry: float = 0.25,
        posture_mode: Mode = "suggest",
        measure_limits: MeasureLimits | None = None,
        facts: Facts | None = None,
        rules: Iterable[CorrelationRule] = CORRELATION_RULES,
    ) -> None:
        self._clock = clock or SystemClock()
        self._owned: SqliteStore | None = None
        if store is None:
            store = self._owned = SqliteStore()
        self._store: MonitorStore = store
        self.controls = controls if controls is not None else Controls(clock=self._clock)
        binder = HeadBinder(origin, root_secret, previous_root_secrets) if root_secret is not None else None
        shared = (self._store, sink if sink is not None else self, self._clock)
        throttle = self._store if self._store.durable else None
        self._incidents = Incidents(*shared, Correlator(rules), throttle=throttle)
        self.posture = Posture(*shared, self.controls, mode=posture_mode, limits=measure_limits, facts=facts)
        self.pipeline = AuditPipeline(
            self._store,
            Spool(spool_dir, max_bytes=spool_bytes) if spool_dir is not None else None,
            self._correlate,
            capacity=capacity,
            retry=retry,
            binder=binder,
            rebound=lambda: self._upkeep.verify_now(),
        )
        reporter = VerificationReporter(emitter(shared[1], self._clock), self._incidents)
        self.audit = AuditLog(
            self._store,
            self.pipeline.flush,
            self._clock,
            origin=origin,
            signing_seeds=[root and _signing_seed(root) for root in (root_secret, *previous_root_secrets)],
            checkpoint_file=checkpoint_file,
            anchor_file=anchor_file,
            binder=binder,
            report=reporter.failed,
        )
        self.metrics = Metrics()
        self._folding = Folding(self._clock)
        self._upkeep = Upkeep(
            self._store,
            self.audit,
            self.posture,
            reporter,
            flush=self.pipeline.flush,
            fold=self._keep_folded,
            clock=self._clock,
            schedule=Schedule(checkpoint_every=checkpoint_every, verify_every=verify_every),
        )
        self._add_gauges()
        self._unsubscribe: Callable[[], None] | None = None

    # --- opening and closing ------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Load the measures in force and start to write. Idempotent."""
        if self._unsubscribe is not None:
            return
        if self._owned is not None:
            await self._owned.initialize()
        await self._upkeep.prepare_witnesses()
        await self.pipeline.start()
        self._unsubscribe = self._store.changes.subscribe("controls", lambda _: self._upkeep.reload_measures())
        await self._upkeep.start()

    async def close(self) -> None:
        """Write what waits, sign a last checkpoint, and stop."""
        if self._unsubscribe is None:
            return
        self._unsubscribe()
        self._unsubscribe = None
        await self._upkeep.stop()
        await self.pipeline.stop()
        if self._owned is not None:
            await self._owned.close()

    async def __aenter__(self) -> SecurityMonitor:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- events -------------------------------------------------------------------------------------------------

    def emit(self, event: SecurityEvent) -> None:
        """Accept an event without waiting, from any thread.

        Raises:
            StoreUnavailableError: store, spool and memory are full or unavailable, and this event must be kept.
        """
        folding = self._folding
        if folding.windows:
            self._keep_folded()
        self.pipeline.put(event, keep=event.kind not in folding.rules or folding.take(event))
        self.metrics.count(event)

    def _keep_folded(self, closing: bool = False) -> None:
        """Put folded events into the log, for windows that have ended or, when closing, for all."""
        for folded in self._folding.due(closing=closing):
            with contextlib.suppress(StoreUnavailableError):  # a lost count must not fail a request
                self.pipeline.put(folded, correlate=False)

    async def flush(self) -> None:
        """Wait until all emitted events are on disk and correlated.

        Raises:
            StoreUnavailableError: the events cannot be stored now.
        """
        await self.pipeline.flush()

    @property
    def accepting(self) -> bool:
        """Whether events that must be audited are accepted now. Check it before serving a request."""
        return self.pipeline.accepting

    @property
    def store_away(self) -> bool:
        """Whether the store refused events at the last attempt, so that they wait in the spool."""
        return self.pipeline.store_away

    # --- reports and incidents -----------------------------------------------------------------------------------

    def performance(self) -> Report:
        """Count, p50, p95, p99, maximum and over-budget share of every monitored function that was called."""
        return timings()

    def metrics_text(self) -> str:
        """All metrics in Prometheus text format."""
        return self.metrics.text()

    async def create_security_incident(
        self,
        kind: str,
        severity: Severity | str = Severity.HIGH,
        description: str = "",
        *,
        manufacturer_id: str | None = None,
        account_id: str | None = None,
        ip_address: str | None = None,
        event_ids: Iterable[str] = (),
        dedup_key: str | None = None,
        actor: str | None = None,
        **details: Any,
    ) -> Incident:
        """Open an incident manually.

        Args:
            kind: the kind of incident: the name of a rule, or your own.
            severity: ``info``, ``notice``, ``warning``, ``high`` or ``critical``.
            description: a one-sentence summary.
            event_ids: the events that are evidence.
            dedup_key: adds to the open incident with the same key, if there is one.
            details: plain values. Secrets are removed.

        Raises:
            ValidationError: the severity is unknown, or the kind is empty or too long.
        """
        return await self._incidents.create(
            str(kind),
            severity,
            description or str(kind),
            manufacturer_id=manufacturer_id,
            account_id=account_id,
            ip_address=ip_address,
            event_ids=event_ids,
            dedup_key=dedup_key,
            actor=actor,
            details=details,
        )

    async def list_incidents(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        manufacturer_id: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Incident]:
        """Incidents, newest activity first. ``status`` is ``open``, ``resolved`` or None for both."""
        with contextlib.suppress(SecurityError):
            await self.flush()
        return await self._incidents.list(
            status=status, kind=kind, manufacturer_id=manufacturer_id, since=since, limit=limit
        )

    async def resolve_incident(self, incident_id: str, note: str = "", *, actor: str | None = None) -> Incident:
        """Close an open incident with a note.

        Raises:
            ValidationError: unknown (``UNKNOWN_INCIDENT``), or already resolved (``INCIDENT_RESOLVED``).
        """
        return await self._incidents.resolve(incident_id, note, actor)

    async def assess(self) -> list[PostureFinding]:
        """The current posture findings, most severe first."""
        with contextlib.suppress(SecurityError):
            await self.flush()
        return await self.posture.assess()

    async def propose(self) -> list[Proposal]:
        """Proposals of measures for the findings."""
        with contextlib.suppress(SecurityError):
            await self.flush()
        return await self.posture.propose()

    async def apply(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Apply a proposal; see :meth:`~gatewright.monitoring.posture.Posture.apply`."""
        return await self.posture.apply(proposal_id, actor=actor)

    async def measures_in_force(self) -> list[InForce]:
        """The measures in force; see :meth:`~gatewright.monitoring.posture.Posture.in_force`."""
        return await self.posture.in_force()

    async def roll_back(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Roll back a proposal; see :meth:`~gatewright.monitoring.posture.Posture.roll_back`."""
        return await self.posture.roll_back(proposal_id, actor=actor)

    # ------------------------------------------------------------------------------------------------------------

    async def _correlate(self, batch: Sequence[SecurityEvent]) -> None:
        for start in range(0, len(batch), _CORRELATION_BATCH):
            changed = await self._incidents.correlate(batch[start : start + _CORRELATION_BATCH])
            if changed:
                await self.posture.react(changed)
            await asyncio.sleep(0)

    def _add_gauges(self) -> None:
        pipeline, gauge = self.pipeline, self.metrics.gauge
        gauge("audit_waiting_events", "Audit events waiting in memory", lambda: float(pipeline.waiting))
        gauge("audit_spool_bytes", "Bytes of audit entries waiting on disk", lambda: float(pipeline.spooled_bytes))
        gauge("audit_written_events", "Audit events written by this process", lambda: float(pipeline.appended))
        gauge("audit_dropped_events", "Routine audit events that were dropped", lambda: float(pipeline.dropped))
        gauge("audit_store_away", "1 while the store does not accept events", lambda: float(pipeline.store_away))
        gauge("measures_in_force", "Measures in force", lambda: float(len(self.controls.snapshot())))


def _signing_seed(root: bytes) -> bytes:
    return derive_key(root, "gatewright", "monitoring", "audit checkpoint signing")
