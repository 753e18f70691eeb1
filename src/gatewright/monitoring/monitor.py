"""SecurityMonitor: the public face of monitoring."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls
from gatewright.encryption.secretbox import derive_key
from gatewright.errors import SecurityError, StoreUnavailableError
from gatewright.events import EventSink, SecurityEvent, Severity, event
from gatewright.logs import get_logger
from gatewright.monitoring.audit import AuditLog
from gatewright.monitoring.binding import HeadBinder
from gatewright.monitoring.correlation import RULES, CorrelationRule, Correlator
from gatewright.monitoring.folding import Folding
from gatewright.monitoring.incidents import Incident, Incidents
from gatewright.monitoring.metrics import Metrics
from gatewright.monitoring.pipeline import AuditPipeline
from gatewright.monitoring.posture import Facts, InForce, MeasureLimits, Mode, Posture, PostureStore, Proposal
from gatewright.monitoring.posture_findings import Finding
from gatewright.monitoring.spool import Spool
from gatewright.monitoring.verification import AuditVerification
from gatewright.performance import Report, timings
from gatewright.storage.attempts import Rate, Throttle
from gatewright.storage.audit import AuditStore
from gatewright.storage.changes import Changes
from gatewright.storage.sqlite.store import SqliteStore

_log = get_logger(__name__)
_AT_ONCE = 64
"""Events that are correlated before others get their turn on the event loop."""
_UPKEEP = 30.0
_VERIFICATION = "monitoring:verification"


class MonitorStore(AuditStore, PostureStore, Throttle, Protocol):
    """What the monitor keeps."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...


class SecurityMonitor:
    """Keeps the audit log, counts, correlates events to incidents, and hardens the posture.

    It is an :class:`~gatewright.events.EventSink`: hand it to the domains, alone or in a ``FanOut``.

    Args:
        store: where everything is kept; a private one in memory when missing.
        sink: where the monitor's own events go; itself when missing. In a foundation: the ``FanOut`` that
            includes this monitor.
        controls: the measures that the domains read; share the foundation's.
        clock: the time of what the monitor does by itself.
        root_secret: the keys that sign checkpoints and bind the log are derived from it. Without it checkpoints are
            signed by a key of this process, and nothing binds the log.
        previous_root_secrets: roots whose checkpoints and bindings still count.
        origin: the log's name on its checkpoints.
        spool_dir: a directory where audit entries wait while the store is unavailable; without it they wait in memory.
        spool_bytes: how much may wait there.
        checkpoint_file: see :class:`~gatewright.monitoring.audit.AuditLog`; preferably on another machine.
        anchor_file: where it is noted, outside the store, that the log is bound; made when it is.
        checkpoint_every: seconds between checkpoints while the log grows; one more is made at the end.
        verify_every: seconds between verifications of the whole log, which the processes of one store take in
            turn; None leaves them to people.
        capacity: events that may wait in memory.
        retry: seconds before a store that is unavailable is tried again, at first.
        posture_mode: ``suggest`` or ``enforce``.
        bounds: how far ``enforce`` goes by itself.
        facts: measured facts for :meth:`assess`, a mapping or a function, async or not.
        rules: when events make an incident.
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
        bounds: MeasureLimits | None = None,
        facts: Facts | None = None,
        rules: Iterable[CorrelationRule] = RULES,
    ) -> None:
        self._clock = clock or SystemClock()
        self._owned: SqliteStore | None = None
        if store is None:
            store = self._owned = SqliteStore()
        self._store: MonitorStore = store
        self._sink: EventSink = sink if sink is not None else self
        self.controls = controls if controls is not None else Controls(clock=self._clock)
        binder = HeadBinder(origin, root_secret, previous_root_secrets) if root_secret is not None else None
        self.pipeline = AuditPipeline(
            self._store,
            _spool(spool_dir, spool_bytes),
            self._handle,
            capacity=capacity,
            retry=retry,
            binder=binder,
            rebound=self._on_rebound,
        )
        self.audit = AuditLog(
            self._store,
            self.pipeline.flush,
            self._clock,
            origin=origin,
            signing_seeds=[root and _seed(root) for root in (root_secret, *previous_root_secrets)],
            checkpoint_file=checkpoint_file,
            anchor_file=anchor_file,
            binder=binder,
            report=self._emit_tampering,
        )
        shared = (self._store, self._sink, self._clock)
        self._incidents = Incidents(*shared, Correlator(rules), throttle=self._store if self._store.durable else None)
        self.posture = Posture(*shared, self.controls, mode=posture_mode, bounds=bounds, facts=facts)
        self.metrics = Metrics()
        self._folding = Folding(self._clock)
        self._add_gauges()
        self._checkpoint_every = checkpoint_every
        self._verify_every, self._verify_at = verify_every, 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] | None = None

    # --- opening and closing ------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open: load the measures in force and begin to write; calling twice is harmless."""
        if self._unsubscribe is not None:
            return
        if self._owned is not None:
            await self._owned.initialize()
        await self._begin_witnesses()
        await self.pipeline.start()
        self._unsubscribe = self._store.changes.subscribe("controls", self._measures_changed)
        await self._load_measures()
        self._start(self._upkeep())

    async def close(self) -> None:
        """Write what waits, sign a last checkpoint, and end."""
        if self._unsubscribe is None:
            return
        self._unsubscribe()
        self._unsubscribe = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._keep_folded(closing=True)
        await self._checkpoint_when_grown()
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
        """Take an event and return at once; from any thread.

        Raises:
            StoreUnavailableError: store, spool and memory can keep nothing more, and this event must be kept.
        """
        folding = self._folding
        if folding.windows:
            self._keep_folded()
        self.pipeline.put(event, keep=event.kind not in folding.rules or folding.take(event))
        self.metrics.count(event)

    def _keep_folded(self, *, closing: bool = False) -> None:
        """Put the refusals of the last minute into the log, as one event for each source."""
        for folded in self._folding.due(closing=closing):
            with contextlib.suppress(StoreUnavailableError):  # the count of a minute is not worth a request
                self.pipeline.put(folded, correlate=False)

    async def flush(self) -> None:
        """Wait until all that was emitted is on disk and correlated.

        Raises:
            StoreUnavailableError: it cannot be kept anywhere now.
        """
        await self.pipeline.flush()

    @property
    def accepting(self) -> bool:
        """Whether a request that must be audited may be served now; ask before the work is done."""
        return self.pipeline.accepting

    @property
    def store_away(self) -> bool:
        """Whether the store took no events when it was last tried; they wait in the spool."""
        return self.pipeline.store_away

    # --- what callers ask ---------------------------------------------------------------------------------------

    def performance(self) -> Report:
        """Count, p50, p95, p99, max and over-budget share of every monitored function that was called."""
        return timings()

    def metrics_text(self) -> str:
        """Everything counted, in Prometheus' text format."""
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
            kind: what it is, a word of your own or one of the rules' names.
            severity: ``info``, ``notice``, ``warning``, ``high`` or ``critical``.
            description: a sentence.
            event_ids: the events that show it.
            dedup_key: adds to the open incident that was made with the same key, if there is one.
            details: plain values; secrets are removed.

        Raises:
            ValidationError: an unknown severity, or a kind that is empty or too long.
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
        """Incidents, ``open`` and ``resolved`` or one of these, those last seen most recently first."""
        with contextlib.suppress(SecurityError):
            await self.flush()
        return await self._incidents.list(
            status=status, kind=kind, manufacturer_id=manufacturer_id, since=since, limit=limit
        )

    async def resolve_incident(self, incident_id: str, note: str = "", *, actor: str | None = None) -> Incident:
        """Close an open incident with a note.

        Raises:
            ValidationError: unknown (``UNKNOWN_INCIDENT``), or resolved already (``INCIDENT_RESOLVED``).
        """
        return await self._incidents.resolve(incident_id, note, actor)

    async def assess(self) -> list[Finding]:
        """What is a posture finding now, the most severe first."""
        with contextlib.suppress(SecurityError):
            await self.flush()
        return await self.posture.assess()

    async def propose(self) -> list[Proposal]:
        """The measures that would answer the findings."""
        with contextlib.suppress(SecurityError):
            await self.flush()
        return await self.posture.propose()

    async def apply(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Put a proposal in force; see :meth:`~gatewright.monitoring.posture.Posture.apply`."""
        return await self.posture.apply(proposal_id, actor=actor)

    async def measures_in_force(self) -> list[InForce]:
        """The measures in force; see :meth:`~gatewright.monitoring.posture.Posture.in_force`."""
        return await self.posture.in_force()

    async def roll_back(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Lift what a proposal put in force; see :meth:`~gatewright.monitoring.posture.Posture.roll_back`."""
        return await self.posture.roll_back(proposal_id, actor=actor)

    # ------------------------------------------------------------------------------------------------------------

    async def _handle(self, batch: Sequence[SecurityEvent]) -> None:
        for start in range(0, len(batch), _AT_ONCE):
            changed = await self._incidents.correlate(batch[start : start + _AT_ONCE])
            if changed:
                await self.posture.react(changed)
            await asyncio.sleep(0)

    async def _emit_tampering(self, found: AuditVerification) -> None:
        """The log is not what it was: the gravest incident there is, and it must not hide the finding itself."""
        witness = (found.reason or "").startswith("checkpoint_file")  # what is gone is the witness, not the log
        kind, severity = ("audit_witness_lost", Severity.HIGH) if witness else ("audit_tampered", Severity.CRITICAL)
        _log.error("audit_verification_failed", index=found.first_bad_index, reason=found.reason)
        self._emit_log_event(
            event_kinds.MONITORING_AUDIT_UNWITNESSED if witness else event_kinds.MONITORING_AUDIT_TAMPERED,
            severity,
            found,
        )
        with contextlib.suppress(SecurityError):
            await self.create_security_incident(
                kind,
                severity,
                found.detail if witness else f"The audit log is not what it was. {found.detail}",
                dedup_key=kind,
                first_bad_index=found.first_bad_index,
                reason=found.reason,
            )

    def _on_rebound(self) -> None:
        """The log changed behind the service's back: read it now rather than when a verification is due."""
        _log.error("audit_log_changed_outside_the_service")
        self._start(self._verify_now())

    async def _verify_now(self) -> None:
        with contextlib.suppress(SecurityError):
            await self.audit.verify()

    async def _begin_witnesses(self) -> None:
        try:
            await self.audit.begin_witnesses()
        except SecurityError as error:
            _log.warning("audit_witness_not_written", error=error)

    def _measures_changed(self, _: str) -> None:
        self._start(self._load_measures())

    async def _load_measures(self) -> None:
        try:
            await self.posture.load()
        except SecurityError as error:  # the next look, or the next change, makes up for it
            _log.warning("measures_not_loaded", error=error)

    async def _upkeep(self) -> None:
        """Measures are read again in case a change was missed, and the log is signed from time to time."""
        since_checkpoint = 0.0
        pause = min(_UPKEEP, self._checkpoint_every, self._verify_every or _UPKEEP)
        while True:
            await asyncio.sleep(pause)
            self._keep_folded()
            await self._load_measures()
            since_checkpoint += pause
            if since_checkpoint >= self._checkpoint_every:
                since_checkpoint = 0.0
                await self._checkpoint_when_grown()
            await self._verify_when_due()

    async def _verify_when_due(self) -> None:
        """Verify the log if no process of this store has for as long as that is good for."""
        now = self._clock.monotonic()
        if self._verify_every is None or now < self._verify_at:
            return
        try:
            turn = await self._store.throttle(_VERIFICATION, Rate(limit=1, period=self._verify_every))
            self._verify_at = now + (self._verify_every if turn.allowed else turn.retry_after)
            if turn.allowed:
                found = await self.audit.verify()
                if found.valid:  # what is wrong was reported
                    self._emit_log_event(event_kinds.MONITORING_AUDIT_VERIFIED, Severity.INFO, found)
        except SecurityError as error:
            _log.warning("audit_verification_postponed", error=error)

    def _emit_log_event(self, kind: str, severity: Severity, found: AuditVerification) -> None:
        told = event(
            kind,
            severity=severity,
            timestamp=self._clock.now(),
            size=found.size,
            root=found.root,
            reason=found.reason,
            first_bad_index=found.first_bad_index,
        )
        with contextlib.suppress(SecurityError):
            self._sink.emit(told)

    async def _checkpoint_when_grown(self) -> None:
        try:
            with contextlib.suppress(SecurityError):
                await self.flush()
            head = await self._store.audit_head()
            newest = await self._store.list_checkpoints(limit=1)
            if head.size and (not newest or newest[0].size < head.size):
                await self.audit.checkpoint()
        except SecurityError as error:
            _log.warning("audit_checkpoint_postponed", error=error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _add_gauges(self) -> None:
        intake, gauge = self.pipeline, self.metrics.gauge
        gauge("audit_waiting_events", "Audit events that wait in memory", lambda: float(intake.waiting))
        gauge("audit_spool_bytes", "Bytes of audit entries that wait on disk", lambda: float(intake.spooled_bytes))
        gauge("audit_written_events", "Audit events written by this process", lambda: float(intake.appended))
        gauge("audit_dropped_events", "Routine events not kept since nothing could be", lambda: float(intake.dropped))
        gauge("audit_store_away", "1 while the store takes no audit events", lambda: float(intake.store_away))
        gauge("measures_in_force", "Measures in force", lambda: float(len(self.controls.snapshot())))


def _spool(directory: str | Path | None, max_bytes: int) -> Spool | None:
    return Spool(directory, max_bytes=max_bytes) if directory is not None else None


def _seed(root: bytes) -> bytes:
    return derive_key(root, "gatewright", "monitoring", "audit checkpoint signing")
