"""ManufacturerSecurityValidator: the public face of detection, sanitization, validation and learning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls
from gatewright.errors import ConfigurationError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.policy import Policy, load_policy
from gatewright.storage.attempts import Throttle
from gatewright.storage.cache.memory import MemoryCache
from gatewright.storage.changes import Changes
from gatewright.storage.feedback import FeedbackStore
from gatewright.storage.sqlite.store import SqliteStore
from gatewright.threats.action_limits import ActionLimits
from gatewright.threats.active_engine import ActiveEngine, bounded_batch
from gatewright.threats.business_checks import BusinessChecks, Manufacturers
from gatewright.threats.executor import InspectionExecutor, size_of
from gatewright.threats.learning.learner import Learner, ModelVersion, ThreatFeedback
from gatewright.threats.results import (
    Inspection,
    PatternStatistics,
    RateLimitResult,
    ThreatDetectionResult,
    ValidationResult,
)
from gatewright.threats.sanitize import SanitizedValue, sanitise
from gatewright.threats.types import threat_type_of

if TYPE_CHECKING:
    from gatewright.threats.engine import DetectionEngine


class LearningStore(FeedbackStore, Protocol):
    """A store of feedback and model versions with a change feed."""

    changes: Changes


class ManufacturerSecurityValidator:
    """Inspects, sanitizes and validates what manufacturers send. All arguments are optional.

    Args:
        policy: action rates and the detection level.
        engine: a detection engine that is loaded already.
        store: keeps feedback and model versions; a private one in memory when missing.
        cache: counts actions; in this process when missing.
        sink: where events go.
        controls: measures that raise the detection level or tighten limits.
        clock: the time.
        manufacturers: the registered ones, whose names a new one must not imitate.
        rules_dir: rules to use in place of those that ship.
        model_file: model to use in place of the one that ships.
        processes: how many for large batches; as many as there are cores when missing, 0 for none.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        engine: DetectionEngine | None = None,
        store: LearningStore | None = None,
        cache: Throttle | None = None,
        sink: EventSink | None = None,
        controls: Controls | None = None,
        clock: Clock | None = None,
        manufacturers: Manufacturers | None = None,
        rules_dir: Path | None = None,
        model_file: Path | None = None,
        processes: int | None = None,
    ) -> None:
        policy = policy or load_policy()
        clock = clock or SystemClock()
        controls = controls or Controls(clock=clock)
        self._sink = sink or NullSink()
        self._given_engine = engine
        self._base: DetectionEngine | None = None
        self._load_arguments: dict[str, Any] = {"rules_dir": rules_dir, "model_path": model_file}
        self._own_store: SqliteStore | None = None
        if store is None:
            store = self._own_store = SqliteStore()
        self._store: LearningStore = store
        self._offload = InspectionExecutor(processes=processes)
        self._detection = ActiveEngine(
            level=policy.detection.level,
            controls=controls,
            sink=self._sink,
            offload=self._offload,
            load_arguments=None if engine is not None else self._load_arguments,
            bounds=policy.detection.watch,
        )
        self._learner = Learner(self._store, sink=self._sink, clock=clock, executor=self._offload.threads)
        self._screening = BusinessChecks(
            self._detection, offload=self._offload, manufacturers=manufacturers, sink=self._sink, clock=clock
        )
        self._actions = ActionLimits(policy, cache or MemoryCache(clock=clock), controls)
        self._starting = asyncio.Lock()
        self._closed = False
        self._unsubscribe: Callable[[], None] | None = None
        self._reloads: set[asyncio.Task[None]] = set()

    # --- life -------------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Load the rules, the model and the active version. Calling twice is harmless.

        Raises:
            ConfigurationError: the rules cannot be read, or the validator was closed.
        """
        async with self._starting:
            if self._closed:
                raise ConfigurationError("This manager was closed. Create a new one.", code="MANAGER_CLOSED")
            if self._base is not None:
                return
            if self._own_store is not None:
                await self._own_store.initialize()
            base = self._given_engine or await self._load_engine()
            await self._use_active_version(base)
            self._base = base
            if base.degraded:
                self._sink.emit(event(event_kinds.THREATS_MODEL_UNAVAILABLE, severity=Severity.WARNING))
            self._unsubscribe = self._store.changes.subscribe("model", self._version_changed)
            await self._offload.in_thread(_warm_business_data)

    async def close(self) -> None:
        """Stop threads and processes, and close a private store. Calling twice is harmless."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for task in tuple(self._reloads):
            task.cancel()
        self._closed = True
        self._detection.stop()
        self._offload.close()
        if self._own_store is not None and self._base is not None:
            await self._own_store.close()
        self._base = None

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def adopt(self, policy: Policy) -> None:
        """Switch to another policy: its detection level, action rates and drift limits."""
        self._detection.adopt(policy.detection.level, policy.detection.watch)
        self._actions.policy = policy

    async def load_threat_patterns(self) -> int:
        """Reload the rules after a change of the rules directory; returns how many there are.

        Raises:
            ConfigurationError: a rule is wrong; the ones in use stay.
        """
        base = await self._load_engine()
        await self._use_active_version(base)
        self._base = base
        return len(base.rules)

    @property
    def degraded(self) -> bool:
        """Whether the model is missing or damaged, so that rules alone decide."""
        return self._detection.loaded and self._detection.engine.degraded

    @property
    def detector(self) -> DetectionEngine:
        """The active detector; another object once rules or the model change.

        Raises:
            ConfigurationError: not initialised, or closed.
        """
        return self._detection.current or self._detection.engine

    # --- inspection -------------------------------------------------------------------------------------------------

    async def inspect(
        self,
        data: Any,
        *,
        manufacturer_id: str | None = None,
        route: str | None = None,
        types: frozenset[str] | None = None,
        level: int | None = None,
    ) -> Inspection:
        """Inspect any JSON-like value for every type of attack, keys and values, in one pass.

        Args:
            data: the value.
            manufacturer_id, route: measures may raise the detection level for either.
            types: look for these threat types only.
            level: the least detection level, 1 to 4, if the measures for this request were read already.
        """
        return await self._detection.inspect(
            data, manufacturer_id=manufacturer_id, route=route, types=types, level=level
        )

    async def inspect_many(
        self, items: Iterable[Any], *, manufacturer_id: str | None = None, route: str | None = None
    ) -> list[Inspection]:
        """Inspect a batch, in order; large batches use all cores.

        A program that sends very large batches guards its entry by ``if __name__ == "__main__"``, as
        :mod:`multiprocessing` asks.
        """
        return await self._detection.inspect_many(items, manufacturer_id=manufacturer_id, route=route)

    async def detect_threat(self, threat_type: Any, data: Any) -> bool:
        """Whether ``data`` shows an attack of this type, or of a neighboring type of its family.

        Raises:
            UnknownThreatTypeError: no such type.
        """
        return (await self._detection.analyse(threat_type, data)).threat_detected

    async def analyze_threat(self, threat_type: Any, data: Any) -> ThreatDetectionResult:
        """As :meth:`detect_threat`, with confidence, severity, evidence and location."""
        return await self._detection.analyse(threat_type, data)

    async def get_threat_confidence(self, threat_type: Any, data: Any) -> float:
        """The confidence, 0 to 1, that ``data`` shows an attack of this type."""
        return (await self._detection.analyse(threat_type, data)).confidence

    # --- data -------------------------------------------------------------------------------------------------------

    async def sanitize(self, data: Any, context: str = "text") -> SanitizedValue:
        """Sanitize a value for ``html``, ``text``, ``filename``, ``identifier``, ``csv`` or ``log``.

        Raises:
            ValidationError: an unknown context, or a value that is not JSON-like or too large.
        """
        return await self._offload.run(lambda: sanitise(data, context), size=size_of(data))

    async def validate_manufacturer_data(self, data: Mapping[str, Any]) -> ValidationResult:
        """Validate a manufacturer's business data, and inspect all of it for attacks.

        Raises:
            ValidationError: ``data`` is not a mapping.
        """
        return await self._screening.validate(data)

    async def validate_many(self, items: Iterable[Mapping[str, Any]]) -> list[ValidationResult]:
        """Validate a batch, in order; raises ValidationError if an item is not a mapping."""
        return [await self._screening.validate(item) for item in bounded_batch(items)]

    async def check_rate_limit(
        self, manufacturer_id: str, action: str, current_usage: int | None = None
    ) -> RateLimitResult:
        """Count one use of ``action``, or, with ``current_usage``, only compare that with the limit."""
        result = await self._actions.check(manufacturer_id, action, current_usage)
        if not result.allowed:
            self._sink.emit(
                event(
                    event_kinds.THREATS_RATE_LIMIT_EXCEEDED,
                    severity=Severity.NOTICE,
                    manufacturer_id=manufacturer_id,
                    action=action,
                    limit=result.limit,
                )
            )
        return result

    # --- learning ---------------------------------------------------------------------------------------------------

    async def provide_threat_feedback(
        self,
        data: Any,
        threat_type: Any,
        is_threat: bool,
        *,
        actor: str,
        source: str = "api",
        reason: str = "",
    ) -> ThreatFeedback:
        """Report that a value is, or is not, an attack. Takes effect with :meth:`retrain_ml_models`.

        Args:
            data: the value.
            threat_type: what it is (or was taken for).
            is_threat: what is true.
            actor: who says so; what one actor can change is bounded.
            source: ``api`` or ``console``.
            reason: why, in at most 1,000 characters.

        Raises:
            UnknownThreatTypeError: no such type.
            ValidationError: no text in it, or too much.
            RateLimitExceededError: the actor said too much today.
        """
        wanted = threat_type_of(threat_type)
        engine = self._detection.engine
        given = await self._learner.take(
            engine, data, wanted, bool(is_threat), actor=actor, source=source, reason=reason
        )
        verdict = engine.inspect(data, level=self._detection.level_for())
        for alarm in self._detection.watch.told(verdict, is_threat=bool(is_threat)):
            self._sink.emit(event(event_kinds.THREATS_MODEL_FALSE_ALARMS, severity=Severity.WARNING, **alarm._asdict()))
        return given

    async def retrain_ml_models(self, *, actor: str = "system") -> ModelVersion:
        """Train on the feedback given so far. An accepted version is used immediately."""
        watch = self._detection.watch
        version = await self._learner.learn(self._detection.engine, actor=actor, traffic=watch.traffic())
        if version.accepted:
            await self._reload()
        return version

    async def list_model_versions(self) -> list[ModelVersion]:
        """List model versions, oldest first, rejected ones with their reason."""
        return await self._learner.versions()

    async def rollback_model(self, version: int, *, actor: str = "system") -> ModelVersion:
        """Roll back to an earlier version. Version 0 is the bundled base model.

        Raises:
            ValidationError: there is no accepted version of that number.
        """
        rolled_back = await self._learner.roll_back(version, actor=actor)
        await self._reload()
        return rolled_back

    async def get_pattern_statistics(self) -> PatternStatistics:
        """Detections in this process, the feedback on them, and whether the traffic drifts."""
        return self._detection.watch.statistics()

    # ----------------------------------------------------------------------------------------------------------------

    async def _load_engine(self) -> DetectionEngine:
        def load() -> DetectionEngine:
            from gatewright.threats.engine import DetectionEngine

            return DetectionEngine.load(**self._load_arguments)

        return await self._offload.in_thread(load)

    async def _use_active_version(self, base: DetectionEngine) -> None:
        engine, correction = await self._learner.detector_in_use(base)
        self._detection.use(engine, correction)

    async def _reload(self) -> None:
        if self._base is not None:
            await self._use_active_version(self._base)

    def _version_changed(self, _: str) -> None:
        task = asyncio.get_running_loop().create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


def _warm_business_data() -> None:
    """Load the libraries and tables of business data, so that no first request waits for them."""
    from gatewright.business import validate_business_data

    validate_business_data(
        {
            "company_name": "Example",
            "email": "info@example.com",
            "tax_id": "12-3456789",
            "phone": "+1 415 555 2671",
            "website": "https://example.com",
            "address": {"street": "1 Main St", "city": "Detroit", "state": "MI", "zip": "48201", "country": "US"},
        }
    )
