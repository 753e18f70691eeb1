"""Inspection of requests: path, query, headers and body in one pass of the detector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from gatewright import event_kinds
from gatewright.controls import Controls
from gatewright.errors import SecurityThreatDetectedError
from gatewright.events import EventSink, Severity, event
from gatewright.inspection_policy import Exclusion
from gatewright.threats import Inspection, ThreatDetectionResult
from gatewright.web.body.forms import MAX_FIELDS, collect
from gatewright.web.enforcement import Enforcement, Treatment
from gatewright.web.headers import TARGETS_ASKED_ABOUT, HeaderReader, Key, is_secret
from gatewright.web.problems import Problem
from gatewright.web.request import RequestState
from gatewright.web.rules import SECRET_FIELDS, RouteRule, Scope

if TYPE_CHECKING:
    from gatewright.threats import ManufacturerSecurityValidator

MANY = 100
"""Findings in one value after which the detector stops; what is refused may then are behind what is not."""

SHOWN = 8
_PLACE = re.compile(r"\$\.(body|query|headers|path)(.*)", re.DOTALL)
_ITEM = re.compile(r"\[[0-9]+\](?=[.\[]|\Z)")


class Inspector:
    """Inspects requests, and does about what it finds what the route, the policy and its exclusions say.

    Args:
        validator: the detector.
        sink: where findings go as events.
        controls: the levels in force; a header that passed at one level is inspected again at a higher one.
        treatments: say what is done about a finding.
    """

    def __init__(
        self,
        validator: ManufacturerSecurityValidator,
        sink: EventSink,
        controls: Controls,
        treatments: Enforcement,
    ) -> None:
        self._validator = validator
        self._sink = sink
        self._controls = controls
        self._treatments = treatments
        self._headers = HeaderReader()
        self._judged_by: object = None

    async def inspect(self, scope: Scope, body: Any, rule: RouteRule, state: RequestState) -> None:
        """Inspect everything the application may read.

        Raises:
            SecurityThreatDetectedError: an attack, or a value too large to be inspected, that is to be refused.
                The message names no rule; the event has the evidence.
        """
        treatment = self._treatments.of(rule, scope)
        if treatment.mode == "off" and not treatment.looks:
            return
        detector = self._validator.detector
        if detector is not self._judged_by:
            self._judged_by = detector
            self.forget()
        owner = None if state.caller is None else state.caller.manufacturer_id
        level = self._controls.detection_level(owner, rule.name)
        value, headers = self._gather(scope, body, rule, level)
        if not value:
            return
        found = await self._validator.inspect(value, manufacturer_id=owner, route=rule.name, level=level)
        if not found.threat_detected and not found.truncated:
            if headers and self._validator.detector is detector:
                self._headers.remember(headers, level)
            return
        refused = treatment.refuses(found)
        if not refused and treatment.blocks and len(found.findings) >= MANY:
            hidden = await self._look_behind(value, treatment, owner, rule.name)
            found, refused = hidden or found, hidden is not None
        self._report(found, scope, state, treatment, refused=refused)
        if refused:
            raise SecurityThreatDetectedError(
                "The request was refused because its content looks like an attack."
                if found.threat_detected
                else "The request was refused because its content is too large or too deep to be inspected.",
                code="THREAT_DETECTED" if found.threat_detected else "INSPECTION_TRUNCATED",
            )

    async def _look_behind(
        self, value: Mapping[str, Any], treatment: Treatment, owner: str | None, route: str | None
    ) -> Inspection | None:
        """Look for what is refused alone, so that many findings that are let pass hide none behind them."""
        for piece, types in treatment.shares(value):
            if types:
                found = await self._validator.inspect(piece, manufacturer_id=owner, route=route, types=types)
                if found.threat_detected or found.truncated:
                    return found
        return None

    def _gather(self, scope: Scope, body: Any, rule: RouteRule, level: int) -> tuple[dict[str, Any], list[Key]]:
        """The values to inspect, and the headers to cache if they are harmless."""
        query = scope.get("query_string")
        paths, pairs = [scope["path"]], _query(query) if query else []
        if b"%25" in (scope.get("raw_path") or b""):
            paths.append(unquote(paths[0]))
        for name, target in scope["headers"]:
            if name in TARGETS_ASKED_ABOUT:
                path, _, query = target.partition(b"?")
                paths.append(unquote(path))
                pairs += _query(quote(query, safe=b"%&=+").encode())
        value: dict[str, Any] = {"path": paths[0] if len(paths) == 1 else paths}
        if pairs:
            value["query"] = collect(pairs)
        headers, new = self._headers.read(scope["headers"], level)
        if headers:
            value["headers"] = headers
        if body is not None:
            has_excluded = type(body) is dict and not rule.exclude.isdisjoint(body)
            value["body"] = without(body, rule.exclude) if has_excluded else body
        return value, new

    def forget(self, _: str = "") -> None:
        """Drop the memory: the detector, or its level, is another."""
        self._headers.forget()

    def _report(
        self, found: Inspection, scope: Scope, state: RequestState, treatment: Treatment, *, refused: bool
    ) -> None:
        """One event about the request; none where all that was found is of types that are off."""
        told = [(finding, *treatment.of(finding)) for finding in found.findings]
        told = [one for one in told if one[1] != "off"]
        if not told and not found.truncated:
            return
        if refused:
            kind, severity = event_kinds.THREATS_REQUEST_BLOCKED, Severity.WARNING
        elif found.truncated or any(exclusion is None for _, _, exclusion in told):
            kind, severity = event_kinds.THREATS_REQUEST_SEEN, Severity.WARNING
        else:
            kind, severity = event_kinds.THREATS_REQUEST_EXCLUDED, Severity.NOTICE
        told.sort(key=lambda one: one[1] != "block")
        caller = state.caller
        self._sink.emit(
            event(
                kind,
                severity=severity,
                manufacturer_id=None if caller is None else caller.manufacturer_id,
                account_id=None if caller is None else caller.account_id,
                session_id=state.session_id,
                ip_address=state.client.ip_address,
                request_id=state.request_id,
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"][:200],
                route=state.route,
                risk_score=round(found.risk_score, 3),
                confidence=round(found.confidence, 3),
                truncated=found.truncated,
                findings=[_finding(finding, mode, exclusion) for finding, mode, exclusion in told[:SHOWN]],
            )
        )


def _finding(finding: ThreatDetectionResult, mode: str, exclusion: Exclusion | None) -> dict[str, Any]:
    """A finding as an event tells it; ``part`` and ``field`` are what an exclusion would say of the place."""
    told = {
        "threat_type": finding.threat_type,
        "severity": finding.severity,
        "confidence": round(finding.confidence, 3),
        "path": finding.path,
        "patterns": list(finding.detected_patterns)[:8],
        "evidence": "[redacted]" if is_secret(finding.path) else str(finding.evidence)[:300],
        "mode": mode,
    }
    if place := _PLACE.fullmatch(finding.path):
        told |= {"part": place[1], "field": _ITEM.sub("[*]", f"${place[2]}")[:300]}
    if exclusion is not None:
        told["excluded"] = exclusion.described()
    return told


def _query(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="surrogateescape"
        )
    except UnicodeDecodeError:
        raise Problem(400, "INVALID_QUERY", "The query string must be percent-encoded ASCII.") from None
    except ValueError:
        raise Problem(400, "TOO_MANY_FIELDS", f"A query may have at most {MAX_FIELDS} fields.") from None


def without(body: Any, excluded: frozenset[str]) -> Any:
    """``body`` without the top-level fields that are not inspected; a copy only where there is one.

    What is where a password should and is no plain text is inspected: ``{"password": {"$ne": ""}}`` is an attack.
    """
    if isinstance(body, dict) and not excluded.isdisjoint(body):
        return {
            name: value
            for name, value in body.items()
            if name not in excluded or (name in SECRET_FIELDS and isinstance(value, dict | list))
        }
    return body
