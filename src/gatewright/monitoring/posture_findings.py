"""Posture findings from incidents, facts and timings, with suggested measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gatewright.controls import EVERYWHERE, MeasureKind
from gatewright.events import Severity
from gatewright.performance import Timing
from gatewright.records import Record
from gatewright.storage.audit import StoredIncident

HOUR, DAY = 3600.0, 86_400.0
PLATFORM_SCOPE = "manufacturer:platform"


class SuggestedMeasure(Record, frozen=True, kw_only=True):
    """A measure that would address a finding, and its duration in seconds."""

    kind: str
    scope: str
    target: str = EVERYWHERE
    value: float = 1.0
    seconds: float = HOUR


class PostureFinding(Record, frozen=True, kw_only=True):
    """A weakness of the security posture.

    ``measured`` contains the underlying facts, ``answers`` the suggested measures, and ``advice`` what to do.
    """

    finding_id: str
    kind: str
    severity: str
    summary: str
    advice: str
    measured: Mapping[str, Any] = {}
    evidence: tuple[str, ...] = ()
    answers: tuple[SuggestedMeasure, ...] = ()


class FactCheck(Record, frozen=True, kw_only=True):
    """The requirement for one fact: ``good`` must be true. Missing facts are not assessed."""

    fact: str
    good: Callable[[Any], bool]
    severity: str
    summary: str
    advice: str
    answers: tuple[SuggestedMeasure, ...] = ()


FACT_CHECKS = (
    FactCheck(
        fact="debug",
        good=lambda on: not on,
        severity=Severity.HIGH,
        summary="Debug output is enabled.",
        advice="Set GATEWRIGHT_DEBUG=false.",
    ),
    FactCheck(
        fact="mode",
        good=lambda mode: mode == "production",
        severity=Severity.NOTICE,
        summary="The service runs in development mode, which does not enforce secure settings.",
        advice="Set GATEWRIGHT_MODE=production before serving real manufacturers.",
    ),
    FactCheck(
        fact="cookie_secure",
        good=bool,
        severity=Severity.HIGH,
        summary="Cookies are sent over plain HTTP.",
        advice="Set GATEWRIGHT_COOKIE_SECURE=true.",
    ),
    FactCheck(
        fact="public_url_https",
        good=bool,
        severity=Severity.WARNING,
        summary="The service is reachable over plain HTTP.",
        advice="Terminate TLS in front of it, and set GATEWRIGHT_PUBLIC_URL to the https:// URL.",
    ),
    FactCheck(
        fact="mfa_required",
        good=bool,
        severity=Severity.NOTICE,
        summary="Manufacturers can sign in without a second factor.",
        advice="Set GATEWRIGHT_MFA_REQUIRED=true.",
    ),
    FactCheck(
        fact="inspection_mode",
        good=lambda mode: mode == "block",
        severity=Severity.WARNING,
        summary="Attacks are detected but not blocked.",
        advice="Review false alarms, then set GATEWRIGHT_INSPECTION_MODE=block.",
    ),
    FactCheck(
        fact="exclusions_expired",
        good=lambda lines: not lines,
        severity=Severity.NOTICE,
        summary="Inspection exclusions have expired and no longer apply.",
        advice="Remove the exclusions, or review them and set a later date.",
    ),
    FactCheck(
        fact="exclusions_expiring",
        good=lambda lines: not lines,
        severity=Severity.NOTICE,
        summary="Inspection exclusions expire within two weeks. After that, findings they exclude are acted on again.",
        advice=(
            "Review the events of kind threats:request:excluded, and decide whether the exclusions are still needed."
        ),
    ),
    FactCheck(
        fact="signing_key_age_days",
        good=lambda days: days <= 180,
        severity=Severity.WARNING,
        summary="The token signing key is overdue for rotation.",
        advice="Run `gatewright keys rotate signing`.",
    ),
    FactCheck(
        fact="data_key_age_days",
        good=lambda days: days <= 400,
        severity=Severity.NOTICE,
        summary="The data keys are overdue for rotation.",
        advice="Run `gatewright keys rotate encryption`.",
    ),
    FactCheck(
        fact="failed_compliance_checks",
        good=lambda failed: not failed,
        severity=Severity.HIGH,
        summary="Encryption compliance checks fail.",
        advice="Run `gatewright doctor` to see each check.",
    ),
    FactCheck(
        fact="staff_without_mfa",
        good=lambda count: not count,
        severity=Severity.HIGH,
        summary="Platform staff can sign in without a second factor.",
        advice="Require a second factor for the tenant `platform`.",
        answers=(SuggestedMeasure(kind=MeasureKind.REQUIRE_MFA.value, scope=PLATFORM_SCOPE, seconds=30 * DAY),),
    ),
    FactCheck(
        fact="detector_degraded",
        good=lambda degraded: not degraded,
        severity=Severity.WARNING,
        summary="Threats are detected by rules alone: the model is missing or invalid.",
        advice="Run `gatewright model versions`, then roll back or train a model.",
    ),
    FactCheck(
        fact="cache_away",
        good=lambda away: not away,
        severity=Severity.WARNING,
        summary="The shared cache is unavailable. Each process enforces limits on its own, at a quarter of the rate.",
        advice="Restore Redis. Nothing else is needed.",
    ),
    FactCheck(
        fact="store_away",
        good=lambda away: not away,
        severity=Severity.CRITICAL,
        summary="The store does not accept audit events. They are kept in the spool.",
        advice="Restore the store before the spool is full.",
    ),
    FactCheck(
        fact="audit_intact",
        good=bool,
        severity=Severity.CRITICAL,
        summary="The last verification of the audit log failed.",
        advice="Run `gatewright audit verify` to see the reason. Preserve the disk until it is known.",
    ),
)


def from_incident(incident: StoredIncident, detection_level: int) -> PostureFinding:
    """The finding for an open incident.

    Args:
        detection_level: the level in force for its manufacturer. A measure may raise it by one.
    """
    return PostureFinding(
        finding_id=f"incident:{incident.incident_id}",
        kind=incident.kind,
        severity=incident.severity,
        summary=incident.summary,
        advice="Review the incident and resolve it with a note.",
        measured={
            "events": incident.event_count,
            "first_seen": incident.first_seen.isoformat(),
            "last_seen": incident.last_seen.isoformat(),
            "manufacturer_id": incident.manufacturer_id,
            "source": incident.source,
        },
        evidence=(incident.incident_id,),
        answers=tuple(_suggestions(incident, detection_level)),
    )


def from_facts(facts: Mapping[str, Any], checks: Iterable[FactCheck] = FACT_CHECKS) -> list[PostureFinding]:
    """The findings in measured facts."""
    return [
        PostureFinding(
            finding_id=f"fact:{check.fact}",
            kind=check.fact,
            severity=str(check.severity),
            summary=check.summary,
            advice=check.advice,
            measured={check.fact: facts[check.fact]},
            answers=check.answers,
        )
        for check in checks
        if facts.get(check.fact) is not None and not check.good(facts[check.fact])
    ]


def from_timings(timings: Iterable[Timing], *, share: float = 0.05, calls: int = 100) -> list[PostureFinding]:
    """Functions that exceeded their budget in more than ``share`` of at least ``calls`` calls."""
    return [
        PostureFinding(
            finding_id=f"budget:{timing.name}",
            kind="over_budget",
            severity=Severity.NOTICE.value,
            summary=f"{timing.name} often exceeds its budget of {timing.budget * 1e3:g} ms.",
            advice="Check the load of the machine and the store. Raise the budget only if the work has grown.",
            measured={"p99_ms": timing.p99 * 1e3, "over_budget": timing.over_budget, "calls": timing.count},
        )
        for timing in timings
        if timing.count >= calls and timing.over_budget > share
    ]


def _suggestions(incident: StoredIncident, detection_level: int) -> Iterable[SuggestedMeasure]:
    """The measures for each kind of incident."""
    scope = f"manufacturer:{incident.manufacturer_id}" if incident.manufacturer_id else None
    kind = incident.kind
    if kind in {"brute_force", "refresh_token_reuse", "session_hijack"} and scope:
        yield SuggestedMeasure(kind=MeasureKind.REQUIRE_MFA.value, scope=scope, seconds=DAY)
    if kind in {"credential_stuffing", "repeated_threats"}:
        for network in _networks_to_block(incident):
            yield SuggestedMeasure(kind=MeasureKind.BLOCK.value, scope=f"network:{network}", seconds=HOUR)
    if kind == "distributed_guessing":
        yield SuggestedMeasure(
            kind=MeasureKind.TIGHTEN_LIMIT.value, scope=EVERYWHERE, target="login", value=0.5, seconds=HOUR / 2
        )
    if kind in {"repeated_threats", "manufacturer_threats"} and scope and detection_level < 4:
        yield SuggestedMeasure(
            kind=MeasureKind.DETECTION_LEVEL.value, scope=scope, value=detection_level + 1, seconds=6 * HOUR
        )
    if kind in {"privilege_probing", "quota_abuse"} and scope:
        yield SuggestedMeasure(kind=MeasureKind.TIGHTEN_LIMIT.value, scope=scope, value=0.5, seconds=HOUR)


def _networks_to_block(incident: StoredIncident) -> list[str]:
    """The addresses if there are at most three, so that others in the network are not blocked. Else the network."""
    addresses = [str(address) for address in incident.details.get("addresses", ())]
    if 0 < len(addresses) <= 3 and all(":" not in address for address in addresses):
        return [f"{address}/32" for address in addresses]
    return [incident.source] if incident.source else []
