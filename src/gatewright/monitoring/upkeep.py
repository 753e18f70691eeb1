"""Upkeep of the monitor: checkpoints, verifications and measures on a schedule, and reports of tampering."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.errors import SecurityError
from gatewright.events import Emit, Severity
from gatewright.logs import get_logger
from gatewright.monitoring.audit import AuditLog
from gatewright.monitoring.incidents import Incidents
from gatewright.monitoring.posture import Posture
from gatewright.monitoring.verification import AuditVerification
from gatewright.records import Record
from gatewright.storage.attempts import Rate, Throttle
from gatewright.storage.audit import AuditStore

_log = get_logger(__name__)
_INTERVAL = 30.0
_VERIFICATION = "monitoring:verification"


class VerificationReporter:
    """Reports audit verifications as events, and failed ones as incidents.

    Args:
        emit: emits the events.
        incidents: where incidents are opened.
    """

    def __init__(self, emit: Emit, incidents: Incidents) -> None:
        self._emit, self._incidents = emit, incidents

    def verified(self, verification: AuditVerification) -> None:
        """Report a log that is intact."""
        self._emit_event(event_kinds.MONITORING_AUDIT_VERIFIED, Severity.INFO, verification)

    async def failed(self, verification: AuditVerification) -> None:
        """Report a log that was tampered with, or the loss of the checkpoint file. Never raises SecurityError."""
        witness_lost = (verification.reason or "").startswith("checkpoint_file")
        incident, severity, kind = (
            ("audit_witness_lost", Severity.HIGH, event_kinds.MONITORING_AUDIT_UNWITNESSED)
            if witness_lost
            else ("audit_tampered", Severity.CRITICAL, event_kinds.MONITORING_AUDIT_TAMPERED)
        )
        _log.error("audit_verification_failed", index=verification.first_bad_index, reason=verification.reason)
        self._emit_event(kind, severity, verification)
        with contextlib.suppress(SecurityError):
            await self._incidents.create(
                incident,
                severity,
                verification.detail if witness_lost else f"The audit log was tampered with. {verification.detail}",
                dedup_key=incident,
                details={"first_bad_index": verification.first_bad_index, "reason": verification.reason},
            )

    def _emit_event(self, kind: str, severity: Severity, verification: AuditVerification) -> None:
        with contextlib.suppress(SecurityError):
            self._emit(
                kind,
                severity,
                size=verification.size,
                root=verification.root,
                reason=verification.reason,
                first_bad_index=verification.first_bad_index,
            )


class UpkeepStore(AuditStore, Throttle, Protocol):
    """The store calls of upkeep."""


class Schedule(Record, frozen=True, kw_only=True):
    """The intervals of upkeep in seconds; see :class:`~gatewright.monitoring.monitor.SecurityMonitor`."""

    checkpoint_every: float
    verify_every: float | None


class Upkeep:
    """The background tasks of a monitor.

    Args:
        store: the audit log, and the throttle by which processes share verifications.
        audit: signs checkpoints and verifies the log.
        posture: reloads measures.
        reporter: reports intact logs.
        flush: waits until emitted events are stored.
        fold: puts folded events into the log; ``closing`` includes unfinished windows.
        clock: the source of time.
        schedule: the intervals.
    """

    def __init__(
        self,
        store: UpkeepStore,
        audit: AuditLog,
        posture: Posture,
        reporter: VerificationReporter,
        *,
        flush: Callable[[], Awaitable[None]],
        fold: Callable[[bool], None],
        clock: Clock,
        schedule: Schedule,
    ) -> None:
        self._store, self._audit, self._posture, self._reporter = store, audit, posture, reporter
        self._flush, self._fold, self._clock, self._schedule = flush, fold, clock, schedule
        self._next_verification = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare_witnesses(self) -> None:
        """Create the checkpoint file of a new log. A failure is logged."""
        try:
            await self._audit.begin_witnesses()
        except SecurityError as error:
            _log.warning("audit_witness_not_written", error=error)

    async def start(self) -> None:
        """Load the measures in force, and start the schedule."""
        await self._load_measures()
        self._start_task(self._run())

    async def stop(self) -> None:
        """Cancel the tasks, store folded events, and sign a last checkpoint."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fold(True)
        await self._checkpoint_if_grown()

    def reload_measures(self) -> None:
        """Reload the measures in the background."""
        self._start_task(self._load_measures())

    def verify_now(self) -> None:
        """Verify the log in the background, because it was changed outside the service."""
        _log.error("audit_log_changed_outside_the_service")
        self._start_task(self._verify())

    async def _run(self) -> None:
        since_checkpoint = 0.0
        schedule = self._schedule
        interval = min(_INTERVAL, schedule.checkpoint_every, schedule.verify_every or _INTERVAL)
        while True:
            await asyncio.sleep(interval)
            self._fold(False)
            await self._load_measures()  # in case a change notice was missed
            since_checkpoint += interval
            if since_checkpoint >= schedule.checkpoint_every:
                since_checkpoint = 0.0
                await self._checkpoint_if_grown()
            await self._verify_if_due()

    async def _load_measures(self) -> None:
        try:
            await self._posture.load()
        except SecurityError as error:  # retried on schedule
            _log.warning("measures_not_loaded", error=error)

    async def _checkpoint_if_grown(self) -> None:
        try:
            with contextlib.suppress(SecurityError):
                await self._flush()
            head = await self._store.audit_head()
            newest = await self._store.list_checkpoints(limit=1)
            if head.size and (not newest or newest[0].size < head.size):
                await self._audit.checkpoint()
        except SecurityError as error:
            _log.warning("audit_checkpoint_postponed", error=error)

    async def _verify_if_due(self) -> None:
        """Verify the log, unless another process of this store did so within the interval."""
        now, interval = self._clock.monotonic(), self._schedule.verify_every
        if interval is None or now < self._next_verification:
            return
        try:
            turn = await self._store.throttle(_VERIFICATION, Rate(limit=1, period=interval))
            self._next_verification = now + (interval if turn.allowed else turn.retry_after)
            if turn.allowed:
                verification = await self._audit.verify()
                if verification.valid:  # the audit log reports failures itself
                    self._reporter.verified(verification)
        except SecurityError as error:
            _log.warning("audit_verification_postponed", error=error)

    async def _verify(self) -> None:
        with contextlib.suppress(SecurityError):
            await self._audit.verify()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
