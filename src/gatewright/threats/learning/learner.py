"""The learner: collects feedback, fits candidates, and activates or rolls back versions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.errors import RateLimitExceededError, StoreUnavailableError, ValidationError
from gatewright.events import EventSink, Severity, event, new_event_id
from gatewright.logs import hide_secrets
from gatewright.records import Record
from gatewright.storage.feedback import FeedbackStore, StoredFeedback, StoredModelVersion
from gatewright.threats.learning.candidate import CandidateResult, attempt
from gatewright.threats.learning.feedback import Selection, contradiction, digest_of, select, text_of
from gatewright.threats.learning.fit import decode_correction, encode_correction
from gatewright.threats.learning.regression_gate import Learnable

Detector = TypeVar("Detector", bound=Learnable)

STATEMENTS_A_DAY = 200
"""Statements that one actor may make in 24 hours."""

DOUBTED = "most corrections of this actor do not fit what is known"
UNLEARNABLE = "together with the others it does not fit what is known"


class ModelVersion(Record, frozen=True, kw_only=True):
    """One attempt to learn. ``version`` 0 is the base model; ``metrics`` has rates from 0 to 1 and counts."""

    version: int
    accepted: bool
    reason: str
    metrics: dict[str, float]
    active: bool = False
    base: str = ""
    created_by: str = ""
    created_at: datetime | None = None


class ThreatFeedback(Record, frozen=True, kw_only=True):
    """A statement that was taken: ``status`` is ``open`` (to be learned from) or ``disputed``, with the reason."""

    feedback_id: str
    threat_type: str
    is_threat: bool
    actor: str
    status: str
    note: str
    created_at: datetime


class Learner:
    """Keeps statements and versions, and tells which detector to use.

    Args:
        store: where both are kept.
        sink: where events go.
        clock: dates statements.
        executor: where fitting and judging run.
    """

    def __init__(self, store: FeedbackStore, *, sink: EventSink, clock: Clock, executor: Executor) -> None:
        self._store = store
        self._sink = sink
        self._clock = clock
        self._executor = executor
        self._learning = asyncio.Lock()

    async def take(
        self,
        detector: Learnable,
        data: Any,
        threat_type: str,
        is_threat: bool,
        *,
        actor: str,
        source: str = "api",
        reason: str = "",
    ) -> ThreatFeedback:
        """Keep one statement.

        Raises:
            ValidationError: no text, too much of it, or no actor.
            RateLimitExceededError: the actor made too many statements today.
        """
        if not actor or len(actor) > 200 or len(reason) > 1_000:
            raise ValidationError("Feedback requires an actor and a reason of at most 1,000 characters.")
        text = text_of(data, detector)
        certain = detector.with_correction(None).inspect(text)
        note = contradiction(text, certain, is_threat=is_threat)
        now = self._clock.now()
        statement = StoredFeedback(
            feedback_id=new_event_id(),
            actor=actor,
            source=source,
            digest=digest_of(text),
            text=hide_secrets(text),
            threat_type=threat_type,
            is_threat=is_threat,
            reason=reason,
            status="disputed" if note else "open",
            note=note,
            confidence=certain.confidence,
            created_at=now,
        )
        kept = await self._store.add_feedback(statement, since=now - timedelta(days=1), limit=STATEMENTS_A_DAY)
        if kept is None:
            self._sink.emit(event(event_kinds.THREATS_FEEDBACK_REFUSED, severity=Severity.WARNING, actor=actor))
            raise RateLimitExceededError(
                f"At most {STATEMENTS_A_DAY} feedback reports a day are accepted from one actor.", retry_after=3_600
            )
        self._sink.emit(
            event(
                event_kinds.THREATS_FEEDBACK_GIVEN, actor=actor, threat_type=threat_type, is_threat=is_threat, note=note
            )
        )
        return ThreatFeedback(
            feedback_id=kept.feedback_id,
            threat_type=threat_type,
            is_threat=is_threat,
            actor=actor,
            status=kept.status,
            note=note,
            created_at=now,
        )

    async def learn(self, current: Learnable, *, actor: str, traffic: Sequence[Any] = ()) -> ModelVersion:
        """Train, evaluate and store a new version; it is used from then on if it was accepted.

        Every version is trained again on all feedback given. If the result fails its checks, the version in use
        cannot be trusted either, since it was trained on part of the same feedback: the base model takes over, and
        the statements are marked as disputed so that they do not block later ones.

        Args:
            current: the detector in use.
            actor: who asked for it.
            traffic: recent values, on which the candidate is tried without effect.
        """
        async with self._learning:
            active = await self._store.active_model_version()
            number = active.version if active else 0
            selection = select(await self._store.list_feedback(statuses=("open", "used")))
            if not any(statement.status == "open" for statement in selection.chosen):
                return ModelVersion(version=number, accepted=False, reason="There is no new feedback.", metrics={})
            if not current.base_id:
                return ModelVersion(
                    version=number, accepted=False, reason="There is no model; rules alone decide.", metrics={}
                )
            loop = asyncio.get_running_loop()
            tried = await loop.run_in_executor(self._executor, attempt, current, selection.chosen, traffic)
            version = await self._keep(tried, current.base_id, expected=number, actor=actor)
            await self._settle(version, selection, tried.doubted)
            if tried.unlearnable:
                if active:  # first, so that a crash behind it leaves the base in use
                    await self.roll_back(0, actor=actor)
                told = [one.feedback_id for one in selection.chosen + selection.agreeing]
                await self._store.settle_feedback(told, status="disputed", note=UNLEARNABLE)
            return _public(version)

    async def versions(self) -> list[ModelVersion]:
        """Every attempt, oldest first."""
        return [_public(version) for version in await self._store.list_model_versions()]

    async def roll_back(self, version: int, *, actor: str) -> ModelVersion:
        """Use an earlier version again; 0 is the bare base. What later versions learned from is put in dispute.

        Raises:
            ValidationError: no accepted version of that number.
        """
        if not await self._store.activate_model_version(version):
            raise ValidationError(f"Unknown or refused model version {version}.", code="UNKNOWN_MODEL_VERSION")
        later = [
            statement.feedback_id
            for statement in await self._store.list_feedback(statuses=("used",))
            if int(statement.note.rpartition(" ")[2]) > version
        ]
        await self._store.settle_feedback(later, status="disputed", note=f"rolled back to version {version}")
        self._sink.emit(
            event(
                event_kinds.THREATS_MODEL_ROLLED_BACK,
                severity=Severity.NOTICE,
                actor=actor,
                version=version,
                disputed=len(later),
            )
        )
        stored = await self._store.get_model_version(version)
        return (
            _public(stored)
            if stored
            else ModelVersion(version=0, accepted=True, reason="The base model.", metrics={}, active=True)
        )

    async def detector_in_use(self, base: Detector) -> tuple[Detector, bytes | None]:
        """``base`` under the active version's correction, and that correction as it is kept.

        Without a correction if none is stored, or if it belongs to another base model.
        """
        active = await self._store.active_model_version()
        if active is None or active.delta is None:
            return base.with_correction(None), None
        if active.base != base.base_id:
            self._sink.emit(
                event(
                    event_kinds.THREATS_MODEL_MISMATCHED,
                    severity=Severity.WARNING,
                    version=active.version,
                    base=active.base,
                )
            )
            return base.with_correction(None), None
        return base.with_correction(decode_correction(active.delta)), active.delta

    async def _keep(self, tried: CandidateResult, base: str, *, expected: int, actor: str) -> StoredModelVersion:
        wanted = StoredModelVersion(
            version=0,
            base=base,
            accepted=not tried.objection,
            reason=tried.objection or "It gives the statements their labels and leaves the guard set unchanged.",
            metrics=msgspec.json.encode(tried.metrics).decode(),
            delta=None if tried.objection else encode_correction(tried.correction),
            created_by=actor,
            created_at=self._clock.now(),
        )
        kept = await self._store.add_model_version(wanted, expected_active=expected)
        if kept is None:
            raise StoreUnavailableError("Another process is learning at the same time. Try again.", retry_after=1)
        self._sink.emit(
            event(
                event_kinds.THREATS_MODEL_ACCEPTED if kept.accepted else event_kinds.THREATS_MODEL_REFUSED,
                severity=Severity.NOTICE if kept.accepted else Severity.WARNING,
                actor=actor,
                version=kept.version,
                reason=kept.reason,
                metrics=tried.metrics,
            )
        )
        return kept

    async def _settle(self, version: StoredModelVersion, selection: Selection, doubted: frozenset[str]) -> None:
        said = selection.chosen + selection.agreeing
        if version.accepted:
            used = [one.feedback_id for one in said if one.status == "open" and one.actor not in doubted]
            await self._store.settle_feedback(used, status="used", note=f"version {version.version}")
        not_believed = [one.feedback_id for one in said if one.actor in doubted]
        for reason, feedback_ids in (*selection.left_out.items(), (DOUBTED, not_believed)):
            await self._store.settle_feedback(feedback_ids, status="disputed", note=reason)


def _public(stored: StoredModelVersion) -> ModelVersion:
    return ModelVersion(
        version=stored.version,
        accepted=stored.accepted,
        reason=stored.reason,
        metrics=msgspec.json.decode(stored.metrics, type=dict[str, float]),
        active=stored.active,
        base=stored.base,
        created_by=stored.created_by,
        created_at=stored.created_at,
    )
