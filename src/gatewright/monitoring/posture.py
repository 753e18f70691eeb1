"""Posture: findings lead to proposals, proposals to measures, and each measure can be rolled back."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import msgspec

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.controls import LOOPBACK, Controls, Measure, MeasureKind, check_measure
from gatewright.errors import FieldError, StorageError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.logs import get_logger, redact_text
from gatewright.monitoring.audit_encoding import SEVERITIES
from gatewright.monitoring.posture_findings import Answer, Finding, from_facts, from_incident, from_timings
from gatewright.performance import timings
from gatewright.records import Record
from gatewright.storage.audit import IncidentStore, MeasureStore, StoredIncident, StoredProposal

Proposal = StoredProposal
Facts = Mapping[str, Any] | Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
Mode = Literal["suggest", "enforce"]

_log = get_logger(__name__)
_AUTOMATIC = "posture"
_MEASURE, _PROPOSAL = "mea_", "pro_"
"""How ids begin; a proposal and the measure that it puts in force have the same rest."""


class MeasureLimits(Record, frozen=True, kw_only=True):
    """How far enforce mode may go by itself.

    ``seconds`` is the longest time of a measure, ``active`` how many automatic measures there may be at once,
    ``detection_level`` the highest level, ``limit_factor`` the strongest tightening, ``kinds`` what may be done
    at all. Networks that overlap ``protected``, or those that the controls protect, are never blocked, by
    people neither. ``respect`` is how long (seconds) a measure that a person rolled back is not put in force again.
    """

    seconds: float = 86_400.0
    active: int = 100
    detection_level: int = 3
    limit_factor: float = 0.25
    kinds: tuple[str, ...] = tuple(kind.value for kind in MeasureKind)
    protected: tuple[str, ...] = LOOPBACK
    respect: float = 86_400.0


class InForce(Record, frozen=True, kw_only=True):
    """A measure in force, as people see it. ``id`` is what rolls it back; ``until`` None: until then."""

    id: str
    summary: str
    until: datetime | None
    reason: str
    created_at: datetime
    created_by: str


class PostureStore(IncidentStore, MeasureStore, Protocol):
    """What posture keeps and reads."""


class Posture:
    """Assesses the posture and applies measures.

    Args:
        store: incidents, proposals, measures.
        sink: where ``monitoring:measure:*`` events go.
        clock: for when measures begin and end.
        controls: where measures are put in force.
        mode: ``suggest`` waits for a person, ``enforce`` applies what incidents call for, within ``bounds``.
        facts: a mapping, or a function (async or not) that measures one; see ``findings.FACT_CHECKS``.
    """

    def __init__(
        self,
        store: PostureStore,
        sink: EventSink,
        clock: Clock,
        controls: Controls,
        *,
        mode: Mode = "suggest",
        bounds: MeasureLimits | None = None,
        facts: Facts | None = None,
    ) -> None:
        if mode not in ("suggest", "enforce"):
            raise _invalid("mode", "must be suggest or enforce")
        self.mode: Mode = mode
        self.bounds = bounds or MeasureLimits()
        self.facts: Facts = facts if facts is not None else {}
        self._store, self._controls, self._sink, self._clock = store, controls, sink, clock
        self._shared: set[str] = set()
        self._loading = asyncio.Lock()

    # --- judging ------------------------------------------------------------------------------------------------

    async def assess(self) -> list[Finding]:
        """What is a posture finding now, the most severe first: open incidents, facts, budgets."""
        facts = self.facts() if callable(self.facts) else self.facts
        measured: Mapping[str, Any] = await facts if inspect.isawaitable(facts) else facts
        findings = [
            *(self._finding(incident) for incident in await self._store.list_incidents(status="open", limit=1000)),
            *from_facts(measured),
            *from_timings(timings().values()),
        ]
        return sorted(findings, key=lambda finding: -SEVERITIES.get(finding.severity, 0))

    async def propose(self) -> list[Proposal]:
        """The measures that would answer the findings, and wait for someone to apply them. Calling again
        proposes nothing twice."""
        proposals = {}
        for finding in await self.assess():
            for answer in finding.answers:
                if self._is_protected(answer.scope):
                    continue
                kept = await self._store.add_proposal(self._proposal(finding, answer))
                if kept.status == "proposed":
                    proposals[kept.proposal_id] = kept
        return list(proposals.values())

    async def proposals(self, *, status: str | None = None, limit: int = 100) -> list[Proposal]:
        """Proposals of the status ``proposed``, ``applied`` or ``rolled_back``, the newest first."""
        return await self._store.list_proposals(status=status, limit=limit)

    # --- acting -------------------------------------------------------------------------------------------------

    async def apply(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Put a proposal in force, here at once and in every other process soon.

        Raises:
            ValidationError: unknown (``UNKNOWN_PROPOSAL``), or not waiting any more (``PROPOSAL_NOT_OPEN``).
        """
        now = self._clock.now()
        changed = await self._store.change_proposal(
            proposal_id, expected=("proposed",), status="applied", at=now, by=actor
        )
        if changed is None:
            raise await self._refusal(proposal_id, "is not waiting to be applied")
        measure = msgspec.structs.replace(
            changed.measure,
            until=now + timedelta(seconds=changed.seconds),
            created_at=now,
            created_by=actor or changed.measure.created_by,
        )
        try:
            await self.impose(measure, actor=actor)
        except BaseException:
            await self._store.change_proposal(proposal_id, expected=("applied",), status="proposed", at=now, by=actor)
            raise
        return msgspec.structs.replace(changed, measure=measure)

    async def in_force(self) -> list[InForce]:
        """The measures in force, oldest first, each with the id that :meth:`roll_back` takes."""
        measures = sorted(
            await self._store.list_measures(now=self._clock.now()), key=lambda m: (m.created_at, m.measure_id)
        )
        return [
            InForce(
                id=measure.measure_id,
                summary=_in_words(measure.kind, measure.scope, measure.target, measure.value),
                until=measure.until,
                reason=measure.reason,
                created_at=measure.created_at,
                created_by=measure.created_by,
            )
            for measure in measures
        ]

    async def roll_back(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Lift what a proposal put in force; what held before holds again.

        Args:
            proposal_id: of the proposal, or of the measure in force.

        Raises:
            ValidationError: unknown (``UNKNOWN_PROPOSAL``), or not applied (``PROPOSAL_NOT_OPEN``).
        """
        if proposal_id.startswith(_MEASURE):
            return await self._roll_back_measure(proposal_id, actor)
        changed = await self._store.change_proposal(
            proposal_id, expected=("applied",), status="rolled_back", at=self._clock.now(), by=actor
        )
        if changed is None:
            raise await self._refusal(proposal_id, "is not applied")
        await self.lift(changed.measure.measure_id, actor=actor)
        return changed

    async def _roll_back_measure(self, measure_id: str, actor: str | None) -> Proposal:
        """Lift a measure by its own id, whether a proposal or a person put it in force."""
        proposal = await self._store.change_proposal(
            _PROPOSAL + measure_id.removeprefix(_MEASURE),
            expected=("applied",),
            status="rolled_back",
            at=self._clock.now(),
            by=actor,
        )
        lifted = await self.lift(measure_id, actor=actor)
        if proposal is not None:
            return proposal
        if lifted is None:
            raise _invalid("measure_id", "is not in force", code="UNKNOWN_PROPOSAL")
        now = self._clock.now()
        return StoredProposal(
            proposal_id=measure_id,
            finding="",
            summary=_in_words(lifted.kind, lifted.scope, lifted.target, lifted.value),
            status="rolled_back",
            measure=lifted,
            seconds=0.0,
            created_at=lifted.created_at,
            changed_at=now,
            changed_by=actor,
        )

    async def impose(self, measure: Measure, *, actor: str | None = None) -> None:
        """Put a measure in force without a proposal, as staff may.

        Raises:
            ValidationError: see :func:`~gatewright.controls.check_measure`; or it would block a protected network.
        """
        check_measure(measure)
        if self._is_protected(measure.scope):
            raise _invalid(
                "scope",
                f"must not block {measure.scope.partition(':')[2]}: it overlaps a protected network (loopback, "
                "GATEWRIGHT_TRUSTED_PROXIES, GATEWRIGHT_PROTECTED_NETWORKS)",
                code="PROTECTED_NETWORK",
            )
        await self._store.save_measure(measure)
        self._shared.add(measure.measure_id)
        self._controls.apply(measure)
        self._emit(event_kinds.MONITORING_MEASURE_APPLIED, measure, actor)

    async def lift(self, measure_id: str, *, actor: str | None = None) -> Measure | None:
        """Lift a measure; returns it, None when it was not in force."""
        removed = await self._store.delete_measure(measure_id)
        lifted = self._controls.remove(measure_id) or removed
        self._shared.discard(measure_id)
        if lifted is not None:
            self._emit(event_kinds.MONITORING_MEASURE_LIFTED, lifted, actor)
        return lifted

    async def react(self, incidents: Iterable[StoredIncident]) -> None:
        """In enforce mode, apply what the incidents call for, within bounds."""
        if self.mode != "enforce":
            return
        for incident in incidents:
            finding = self._finding(incident)
            for answer in finding.answers:
                try:
                    await self._enforce(finding, answer)
                except (StorageError, ValidationError) as error:
                    _log.error("measure_not_applied", finding=finding.kind, error=error)

    async def load(self) -> None:
        """Take over the measures that the store has: at the start, and when another process changed them."""
        async with self._loading:
            stored = {m.measure_id: m for m in await self._store.list_measures(now=self._clock.now())}
            for gone in self._shared - stored.keys():
                self._controls.remove(gone)
            for measure in stored.values():
                if self._controls.get(measure.measure_id) != measure:
                    self._controls.apply(measure)
            self._shared = set(stored)

    # ------------------------------------------------------------------------------------------------------------

    async def _enforce(self, finding: Finding, answer: Answer) -> None:
        bounded = self._within_bounds(answer)
        if bounded is None:
            return
        wanted = self._proposal(finding, bounded)
        known = await self._store.get_proposal(wanted.proposal_id)
        if known is not None and known.status == "rolled_back" and self._age(known.changed_at) < self.bounds.respect:
            return
        kept = await self._store.add_proposal(wanted)
        if kept.status == "proposed":
            await self.apply(kept.proposal_id, actor=_AUTOMATIC)

    def _within_bounds(self, answer: Answer) -> Answer | None:
        bounds = self.bounds
        automatic = sum(measure.created_by == _AUTOMATIC for measure in self._controls.snapshot())
        if answer.kind not in bounds.kinds or automatic >= bounds.active:
            return None
        value = answer.value
        if answer.kind == MeasureKind.BLOCK:
            if not answer.scope.startswith("network:") or self._is_protected(answer.scope):
                return None
        elif answer.kind == MeasureKind.DETECTION_LEVEL and value > bounds.detection_level:
            return None
        elif answer.kind == MeasureKind.TIGHTEN_LIMIT:
            value = max(value, bounds.limit_factor)
        return msgspec.structs.replace(answer, value=value, seconds=min(answer.seconds, bounds.seconds))

    def _is_protected(self, scope: str) -> bool:
        """Whether this is the scope of a block that must not be."""
        where, _, name = scope.partition(":")
        if where != "network":
            return False
        wanted = ipaddress.ip_network(name)
        protected = (ipaddress.ip_network(text, strict=False) for text in self.bounds.protected)
        return self._controls.overlaps_protected(name) or any(
            wanted.version == one.version and wanted.overlaps(one) for one in protected
        )

    def _finding(self, incident: StoredIncident) -> Finding:
        return from_incident(incident, self._controls.detection_level(incident.manufacturer_id))

    def _proposal(self, finding: Finding, answer: Answer) -> StoredProposal:
        now = self._clock.now()
        what = f"{answer.kind}|{answer.scope}|{answer.target}|{answer.value:g}"
        number = hashlib.sha256(what.encode()).hexdigest()[:20]
        measure = Measure(
            measure_id=_MEASURE + number,
            kind=str(answer.kind),
            scope=answer.scope,
            target=answer.target,
            value=answer.value,
            reason=finding.summary,
            created_at=now,
            created_by=_AUTOMATIC,
            evidence=finding.evidence,
        )
        check_measure(measure)
        return StoredProposal(
            proposal_id=_PROPOSAL + number,
            finding=finding.kind,
            summary=f"{_in_words(answer.kind, answer.scope, answer.target, answer.value)}"
            f" for {answer.seconds / 3600:g} h: {finding.summary}",
            measure=measure,
            seconds=answer.seconds,
            evidence=finding.evidence,
            created_at=now,
            changed_at=now,
        )

    async def _refusal(self, proposal_id: str, rule: str) -> ValidationError:
        known = await self._store.get_proposal(proposal_id)
        if known is None:
            return _invalid("proposal_id", "is not known", code="UNKNOWN_PROPOSAL")
        return _invalid("proposal_id", f"{rule} ({known.status})", code="PROPOSAL_NOT_OPEN")

    def _age(self, moment: datetime) -> float:
        return (self._clock.now() - moment).total_seconds()

    def _emit(self, kind: str, measure: Measure, actor: str | None) -> None:
        where, _, name = measure.scope.partition(":")
        self._sink.emit(
            event(
                kind,
                severity=Severity.WARNING,
                timestamp=self._clock.now(),
                manufacturer_id=name if where == "manufacturer" else None,
                actor=actor or measure.created_by,
                measure_id=measure.measure_id,
                measure=measure.kind,
                scope=measure.scope,
                target=measure.target,
                value=measure.value,
                until=measure.until,
                reason=redact_text(measure.reason),
            )
        )


def _in_words(kind: str, scope: str, target: str, value: float) -> str:
    who = "everyone" if scope == "*" else scope.replace(":", " ", 1)
    if kind == MeasureKind.REQUIRE_MFA:
        return f"Require MFA of {who}"
    if kind == MeasureKind.BLOCK:
        return f"Block {who}"
    if kind == MeasureKind.DETECTION_LEVEL:
        return f"Raise the detection level to {value:g} for {who}"
    what = "every limit" if target == "*" else f"the limit {target}"
    return f"Multiply {what} of {who} by {value:g}"


def _invalid(field: str, rule: str, *, code: str = "VALIDATION_FAILED") -> ValidationError:
    error = FieldError(field=field, error_type=code, message=f"{field} {rule}.")
    return ValidationError(f"{field} {rule}.", code=code, errors=[error])
