"""The active engine: the detector in use, and the level that applies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from gatewright import event_kinds
from gatewright.controls import Controls
from gatewright.errors import ConfigurationError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.inspection_policy import WatchPolicy
from gatewright.threats.executor import INLINE_CHARACTERS, InspectionExecutor, size_of
from gatewright.threats.learning.telemetry import DetectionWatch, Drifted
from gatewright.threats.results import Inspection, ThreatDetectionResult
from gatewright.threats.types import neighbours, threat_type_of

if TYPE_CHECKING:
    from gatewright.threats.engine import DetectionEngine

MAX_BATCH = 100_000
"""Items in one batch."""
COUNTED_AT_ONCE = 1_000
"""Results that are counted before others have their turn."""


class ActiveEngine:
    """Runs inspections on the engine that is in use at the moment.

    Args:
        level: the policy's detection level, 1 to 4.
        controls: may raise it.
        sink: receives the drift events.
        offload: where inspections run.
        load_arguments: make the same engine in another process; None for an engine that was handed in.
        bounds: when drift and false alarms are worth an event.
    """

    def __init__(
        self,
        *,
        level: int,
        controls: Controls,
        sink: EventSink,
        offload: InspectionExecutor,
        load_arguments: Mapping[str, Any] | None,
        bounds: WatchPolicy | None = None,
    ) -> None:
        self._level = level
        self._controls = controls
        self._sink = sink
        self._offload = offload
        self._load_arguments = load_arguments
        self._correction: bytes | None = None
        self.current: DetectionEngine | None = None
        self.watch = DetectionWatch(bounds)

    @property
    def engine(self) -> DetectionEngine:
        """The engine in use; raises ConfigurationError before there is one."""
        if self.current is None:
            raise ConfigurationError(
                "The validator is not initialized.",
                code="NOT_INITIALIZED",
                recommended_action="Await initialize() first.",
            )
        return self.current

    @property
    def loaded(self) -> bool:
        """Whether there is an engine."""
        return self.current is not None

    def use(self, engine: DetectionEngine, correction: bytes | None = None) -> None:
        """Inspect with ``engine`` from now on; ``correction`` is what was added to its base model, as kept."""
        self.current = engine
        self._correction = correction
        self._offload.end_processes()  # theirs is the former one
        self.watch.begin_anew(engine.evidence)

    def stop(self) -> None:
        """Inspect no more."""
        self.current = None

    def adopt(self, level: int, bounds: WatchPolicy) -> None:
        """Go by another policy's level and bounds from now on."""
        self._level = level
        self.watch.bounds = bounds

    def level_for(self, manufacturer_id: str | None = None, route: str | None = None) -> int:
        """The level in force: the policy's, or what a measure raised it to."""
        return max(self._level, self._controls.detection_level(manufacturer_id, route))

    async def inspect(
        self,
        data: Any,
        *,
        manufacturer_id: str | None = None,
        route: str | None = None,
        types: frozenset[str] | None = None,
        level: int | None = None,
    ) -> Inspection:
        """Inspect one value, for ``types`` only if given."""
        engine = self.current or self.engine
        level = self.level_for(manufacturer_id, route) if level is None else max(self._level, level)
        if size_of(data) <= INLINE_CHARACTERS:
            inspection = engine.inspect(data, level=level, types=types)
        else:
            inspection = await self._offload.in_thread(partial(engine.inspect, data, level=level, types=types))
        if drifts := self.watch.saw(data, inspection):
            self._report(drifts)
        return inspection

    async def inspect_many(
        self, items: Iterable[Any], *, manufacturer_id: str | None = None, route: str | None = None
    ) -> list[Inspection]:
        """Inspect a batch; the results are in the order of the items.

        Raises:
            ValidationError: more than MAX_BATCH items.
        """
        batch = bounded_batch(items)
        engine, level = self.engine, self.level_for(manufacturer_id, route)
        recipe = None if self._load_arguments is None else (self._load_arguments, self._correction)
        results = await self._offload.inspect_many(batch, level, lambda item: engine.inspect(item, level=level), recipe)
        for number, (item, inspection) in enumerate(zip(batch, results, strict=True), 1):
            if drifts := self.watch.saw(item, inspection):
                self._report(drifts)
            if number % COUNTED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return results

    async def analyse(self, threat_type: Any, data: Any) -> ThreatDetectionResult:
        """The worst finding of a type, or of a neighboring type of its family; a clean result where there is none.

        Raises:
            UnknownThreatTypeError: no such type.
        """
        wanted = threat_type_of(threat_type)
        inspection = await self.inspect(data, types=neighbours(wanted))
        found = next((f for f in inspection.findings if f.threat_type == wanted), None)
        if found is None and inspection.findings:
            nearest = inspection.findings[0]
            found = replace(nearest, threat_type=wanted, metadata={**nearest.metadata, "found_as": nearest.threat_type})
        return found or ThreatDetectionResult(threat_detected=False, threat_type=wanted)

    def _report(self, drifts: list[Drifted]) -> None:
        for drift in drifts:
            self._sink.emit(event(event_kinds.THREATS_TRAFFIC_DRIFTED, severity=Severity.NOTICE, **drift._asdict()))


def bounded_batch(items: Iterable[Any]) -> list[Any]:
    """The items as a list of at most MAX_BATCH; raises ValidationError."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise ValidationError("A batch must be a list of values.", code="INVALID_FIELD_TYPE")
    batch = list(islice(items, MAX_BATCH + 1))
    if len(batch) > MAX_BATCH:
        raise ValidationError(
            f"A batch may have at most {MAX_BATCH} items. Send several batches.", code="INPUT_TOO_LARGE"
        )
    return batch
