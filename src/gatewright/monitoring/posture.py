"""Security posture: findings, proposals, and measures that can be rolled back."""

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
from gatewright.events import EventSink, Severity, emitter
from gatewright.logs import get_logger, redact_text
from gatewright.monitoring.audit_encoding import SEVERITIES
from gatewright.monitoring.posture_findings import (
    PostureFinding,
    SuggestedMeasure,
    from_facts,
    from_incident,
    from_timings,
)
from gatewright.performance import timings
from gatewright.records import Record
from gatewright.storage.audit import IncidentStore, MeasureStore, StoredIncident, StoredProposal

Proposal = StoredProposal
Facts = Mapping[str, Any] | Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
Mode = Literal["suggest", "enforce"]

_log = get_logger(__name__)
_AUTOMATIC = "posture"
_MEASURE, _PROPOSAL = "mea_", "pro_"
"""The prefixes of ids. A proposal and its measure share the rest of the id."""


class MeasureLimits(Record, frozen=True, kw_only=True):
    """The limits of enforce mode.

    ``seconds`` is the maximum duration of a measure, ``active`` the maximum number of automatic measures,
    ``detection_level`` the highest level, ``limit_factor`` the lowest factor for limits, and ``kinds`` the permitted
    kinds of measures. Networks that overlap ``protected``, or those that the controls protect, are never blocked, not
    even manually. A measure that was rolled back manually is not applied again for ``respect`` seconds.
    """

    seconds: float = 86_400.0
    active: int = 100
    detection_level: int = 3
    limit_factor: float = 0.25
    kinds: tuple[str, ...] = tuple(kind.value for kind in MeasureKind)
    protected: tuple[str, ...] = LOOPBACK
    respect: float = 86_400.0


class InForce(Record, frozen=True, kw_only=True):
    """A measure in force, for display. ``id`` rolls it back. Without ``until``, it stays in force until then."""

    id: str
    summary: str
    until: datetime | None
    reason: str
    created_at: datetime
    created_by: str


class PostureStore(IncidentStore, MeasureStore, Protocol):
    """The store of incidents, proposals and measures."""


class Posture:
    """Assesses the posture and applies measures.

    Args:
        store: stores incidents, proposals and measures.
        sink: receives ``monitoring:measure:*`` events.
        clock: the source of time.
        controls: enforces the measures.
        mode: ``suggest`` waits for approval, and ``enforce`` applies measures for incidents within ``limits``.
        limits: the limits of enforce mode.
        facts: a mapping, or a function (async or not) that returns one; see ``posture_findings.FACT_CHECKS``.
    """

    def __init__(
        self,
        store: PostureStore,
        sink: EventSink,
        clock: Clock,
        controls: Controls,
        *,
        mode: Mode = "suggest",
        limits: MeasureLimits | None = None,
        facts: Facts | None = None,
    ) -> None:
        if mode not in ("suggest", "enforce"):
            raise _invalid("mode", "must be suggest or enforce")
        self.mode: Mode = mode
        self.limits = limits or MeasureLimits()
        self.facts: Facts = facts if facts is not None else {}
        self._store, self._controls, self._clock = store, controls, clock
        self._emit = emitter(sink, clock)
        self._shared: set[str] = set()
        self._loading = asyncio.Lock()

    # --- assessment ---------------------------------------------------------------------------------------------

    async def assess(self) -> list[PostureFinding]:
        """The findings in open incidents, facts and timings, most severe first."""
        facts = self.facts() if callable(self.facts) else self.facts
        measured: Mapping[str, Any] = await facts if inspect.isawaitable(facts) else facts
        findings = [
            *(self._finding(incident) for incident in await self._store.list_incidents(status="open", limit=1000)),
            *from_facts(measured),
            *from_timings(timings().values()),
        ]
        return sorted(findings, key=lambda finding: -SEVERITIES.get(finding.severity, 0))

    async def propose(self) -> list[Proposal]:
        """Proposals of measures for the findings, waiting to be applied. Idempotent."""
        proposals = {}
        for finding in await self.assess():
            for measure in finding.answers:
                if self._is_protected(measure.scope):
                    continue
                stored = await self._store.add_proposal(self._proposal(finding, measure))
                if stored.status == "proposed":
                    proposals[stored.proposal_id] = stored
        return list(proposals.values())

    async def proposals(self, *, status: str | None = None, limit: int = 100) -> list[Proposal]:
        """Proposals, newest first. ``status`` is ``proposed``, ``applied`` or ``rolled_back``."""
        return await self._store.list_proposals(status=status, limit=limit)

    # --- measures -----------------------------------------------------------------------------------------------

    async def apply(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Apply a proposal: immediately in this process, and shortly afterwards in all others.

        Raises:
            ValidationError: unknown (``UNKNOWN_PROPOSAL``), or no longer open (``PROPOSAL_NOT_OPEN``).
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
        """The measures in force, oldest first, with their ids for :meth:`roll_back`."""
        measures = sorted(
            await self._store.list_measures(now=self._clock.now()), key=lambda m: (m.created_at, m.measure_id)
        )
        return [
            InForce(
                id=measure.measure_id,
                summary=_describe(measure.kind, measure.scope, measure.target, measure.value),
                until=measure.until,
                reason=measure.reason,
                created_at=measure.created_at,
                created_by=measure.created_by,
            )
            for measure in measures
        ]

    async def roll_back(self, proposal_id: str, *, actor: str | None = None) -> Proposal:
        """Roll back a proposal, and restore the previous state.

        Args:
            proposal_id: the id of the proposal, or of the measure in force.

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
        """Lift a measure by its id, whether or not it came from a proposal."""
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
            summary=_describe(lifted.kind, lifted.scope, lifted.target, lifted.value),
            status="rolled_back",
            measure=lifted,
            seconds=0.0,
            created_at=lifted.created_at,
            changed_at=now,
            changed_by=actor,
        )

    async def impose(self, measure: Measure, *, actor: str | None = None) -> None:
        """Apply a measure without a proposal.

        Raises:
            ValidationError: see :func:`~gatewright.controls.check_measure`. Also if it blocks a protected network.
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
        self._emit_measure(event_kinds.MONITORING_MEASURE_APPLIED, measure, actor)

    async def lift(self, measure_id: str, *, actor: str | None = None) -> Measure | None:
        """Lift a measure. Returns the measure, or None if it was not in force."""
        removed = await self._store.delete_measure(measure_id)
        lifted = self._controls.remove(measure_id) or removed
        self._shared.discard(measure_id)
        if lifted is not None:
            self._emit_measure(event_kinds.MONITORING_MEASURE_LIFTED, lifted, actor)
        return lifted

    async def react(self, incidents: Iterable[StoredIncident]) -> None:
        """In enforce mode, apply the measures for the incidents, within the limits."""
        if self.mode != "enforce":
            return
        for incident in incidents:
            finding = self._finding(incident)
            for measure in finding.answers:
                try:
                    await self._enforce(finding, measure)
                except (StorageError, ValidationError) as error:
                    _log.error("measure_not_applied", finding=finding.kind, error=error)

    async def load(self) -> None:
        """Load the measures in the store: at startup, and after changes by other processes."""
        async with self._loading:
            stored = {m.measure_id: m for m in await self._store.list_measures(now=self._clock.now())}
            for measure_id in self._shared - stored.keys():
                self._controls.remove(measure_id)
            for measure in stored.values():
                if self._controls.get(measure.measure_id) != measure:
                    self._controls.apply(measure)
            self._shared = set(stored)

    # ------------------------------------------------------------------------------------------------------------

    async def _enforce(self, finding: PostureFinding, suggestion: SuggestedMeasure) -> None:
        measure = self._limit(suggestion)
        if measure is None:
            return
        proposal = self._proposal(finding, measure)
        earlier = await self._store.get_proposal(proposal.proposal_id)
        if earlier is not None and earlier.status == "rolled_back":
            age = (self._clock.now() - earlier.changed_at).total_seconds()
            if age < self.limits.respect:
                return
        stored = await self._store.add_proposal(proposal)
        if stored.status == "proposed":
            await self.apply(stored.proposal_id, actor=_AUTOMATIC)

    def _limit(self, suggestion: SuggestedMeasure) -> SuggestedMeasure | None:
        """The measure within the limits of enforce mode, or None if it is not permitted."""
        limits = self.limits
        automatic = sum(measure.created_by == _AUTOMATIC for measure in self._controls.snapshot())
        if suggestion.kind not in limits.kinds or automatic >= limits.active:
            return None
        value = suggestion.value
        if suggestion.kind == MeasureKind.BLOCK:
            if not suggestion.scope.startswith("network:") or self._is_protected(suggestion.scope):
                return None
        elif suggestion.kind == MeasureKind.DETECTION_LEVEL and value > limits.detection_level:
            return None
        elif suggestion.kind == MeasureKind.TIGHTEN_LIMIT:
            value = max(value, limits.limit_factor)
        return msgspec.structs.replace(suggestion, value=value, seconds=min(suggestion.seconds, limits.seconds))

    def _is_protected(self, scope: str) -> bool:
        """Whether the scope is a protected network, which must not be blocked."""
        kind, _, name = scope.partition(":")
        if kind != "network":
            return False
        network = ipaddress.ip_network(name)
        protected = (ipaddress.ip_network(text, strict=False) for text in self.limits.protected)
        return self._controls.overlaps_protected(name) or any(
            network.version == other.version and network.overlaps(other) for other in protected
        )

    def _finding(self, incident: StoredIncident) -> PostureFinding:
        return from_incident(incident, self._controls.detection_level(incident.manufacturer_id))

    def _proposal(self, finding: PostureFinding, suggestion: SuggestedMeasure) -> StoredProposal:
        now = self._clock.now()
        identity = f"{suggestion.kind}|{suggestion.scope}|{suggestion.target}|{suggestion.value:g}"
        number = hashlib.sha256(identity.encode()).hexdigest()[:20]
        measure = Measure(
            measure_id=_MEASURE + number,
            kind=str(suggestion.kind),
            scope=suggestion.scope,
            target=suggestion.target,
            value=suggestion.value,
            reason=finding.summary,
            created_at=now,
            created_by=_AUTOMATIC,
            evidence=finding.evidence,
        )
        check_measure(measure)
        return StoredProposal(
            proposal_id=_PROPOSAL + number,
            finding=finding.kind,
            summary=f"{_describe(suggestion.kind, suggestion.scope, suggestion.target, suggestion.value)}"
            f" for {suggestion.seconds / 3600:g} h: {finding.summary}",
            measure=measure,
            seconds=suggestion.seconds,
            evidence=finding.evidence,
            created_at=now,
            changed_at=now,
        )

    async def _refusal(self, proposal_id: str, rule: str) -> ValidationError:
        stored = await self._store.get_proposal(proposal_id)
        if stored is None:
            return _invalid("proposal_id", "is not known", code="UNKNOWN_PROPOSAL")
        return _invalid("proposal_id", f"{rule} ({stored.status})", code="PROPOSAL_NOT_OPEN")

    def _emit_measure(self, kind: str, measure: Measure, actor: str | None) -> None:
        scope, _, name = measure.scope.partition(":")
        self._emit(
            kind,
            Severity.WARNING,
            manufacturer_id=name if scope == "manufacturer" else None,
            actor=actor or measure.created_by,
            measure_id=measure.measure_id,
            measure=measure.kind,
            scope=measure.scope,
            target=measure.target,
            value=measure.value,
            until=measure.until,
            reason=redact_text(measure.reason),
        )


def _describe(kind: str, scope: str, target: str, value: float) -> str:
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
