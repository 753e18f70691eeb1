"""Checks of a manufacturer's business data: business rules, and inspection of every field."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from gatewright import event_kinds
from gatewright.business import KnownNames, risk_level, security_score, validate_business_data
from gatewright.clock import Clock
from gatewright.errors import FieldError, ValidationError
from gatewright.events import EventSink, Severity, event
from gatewright.storage.tenants import StoredManufacturer
from gatewright.threats.active_engine import ActiveEngine
from gatewright.threats.executor import InspectionExecutor
from gatewright.threats.results import ThreatDetectionResult, ValidationResult

KNOWN_NAMES_AGE = 300.0
"""Seconds after which the names of registered manufacturers are read again."""

MAX_KNOWN_NAMES = 50_000
_PAGE = 1_000


class Manufacturers(Protocol):
    """The registered companies, for look-alike names."""

    async def list_manufacturers(self, *, after: str = "", limit: int = 100) -> list[StoredManufacturer]:
        """Manufacturers in the order of their ids, those after ``after``."""
        ...


class BusinessChecks:
    """Validates business data and looks for attacks in it.

    Args:
        detection: finds attacks.
        offload: where the rules of business run, which read tables from files.
        manufacturers: the registered ones, whose names a new one must not imitate; None to skip the check.
        sink: receives the events of rejected data.
        clock: ages the names.
    """

    def __init__(
        self,
        detection: ActiveEngine,
        *,
        offload: InspectionExecutor,
        manufacturers: Manufacturers | None,
        sink: EventSink,
        clock: Clock,
    ) -> None:
        self._detection = detection
        self._offload = offload
        self._manufacturers = manufacturers
        self._sink = sink
        self._clock = clock
        self._names = KnownNames()
        self._names_read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def validate(self, data: Any) -> ValidationResult:
        """Check one set of data.

        Raises:
            ValidationError: it is not a mapping.
        """
        if not isinstance(data, Mapping):
            raise ValidationError(
                "Manufacturer data must be a mapping of field names to values.", code="INVALID_FIELD_TYPE"
            )
        await self._refresh_names()
        report = await self._offload.in_thread(lambda: validate_business_data(data, known_names=self._names))
        inspection = await self._detection.inspect(data)
        attacks = [_attack_error(found) for found in inspection.findings]
        if inspection.truncated:
            attacks.append(
                FieldError(
                    field="$",
                    error_type="INPUT_TOO_LARGE",
                    message="The data is too large or too deep to be inspected.",
                )
            )
        errors = [*report.errors, *attacks]
        score = security_score(report.errors, report.warnings, checked=report.checked, attacks=len(attacks))
        if attacks:
            self._emit(data, inspection.findings)
        return ValidationResult(
            is_valid=not errors,
            errors=errors,
            warnings=report.warnings,
            threats=inspection.findings,
            security_score=score,
            risk_level=risk_level(score),
        )

    def _emit(self, data: Mapping[str, Any], findings: list[ThreatDetectionResult]) -> None:
        manufacturer_id = data.get("manufacturer_id")
        self._sink.emit(
            event(
                event_kinds.THREATS_DATA_REFUSED,
                severity=Severity.WARNING,
                manufacturer_id=manufacturer_id if isinstance(manufacturer_id, str) else None,
                threat_types=sorted({found.threat_type for found in findings}),
                paths=[found.path for found in findings[:8]],
            )
        )

    async def _refresh_names(self) -> None:
        if self._manufacturers is None or self._clock.monotonic() - self._names_read_at < KNOWN_NAMES_AGE:
            return
        if self._reading.locked() and self._names_read_at > float("-inf"):
            return  # they are being read: until then the former ones will do
        async with self._reading:
            if self._clock.monotonic() - self._names_read_at < KNOWN_NAMES_AGE:
                return
            names, after = KnownNames(), ""
            for _ in range(MAX_KNOWN_NAMES // _PAGE):
                page = await self._manufacturers.list_manufacturers(after=after, limit=_PAGE)
                for manufacturer in page:
                    names.add(manufacturer.company_name)
                if len(page) < _PAGE:
                    break
                after = page[-1].manufacturer_id
            self._names, self._names_read_at = names, self._clock.monotonic()


def _attack_error(found: ThreatDetectionResult) -> FieldError:
    return FieldError(
        field=found.path.removeprefix("$.") or "$",
        error_type="THREAT_DETECTED",
        message=f"The value contains an attack ({found.threat_type.replace('_', ' ')}); remove the suspicious part.",
    )
