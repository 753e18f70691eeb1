"""Explain: what a support person needs to see why a value was taken for an attack."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from gatewright.logs import redact_text
from gatewright.threats.decision import Verdict, risk, worst_severity
from gatewright.threats.findings import ThreatDetectionResult
from gatewright.threats.matching import re2_options
from gatewright.threats.model.linear import LinearModel
from gatewright.threats.normalise import Normal
from gatewright.threats.rules import Rule
from gatewright.threats.types import ThreatType
from gatewright.threats.walk import Text

EVIDENCE = 200
"""Characters of a value that are shown."""

_SEARCHED = 20_000


class Explainer:
    """Makes findings of verdicts."""

    def __init__(self, model: LinearModel | None) -> None:
        self._model = model

    def findings(
        self, text: Text, normal: Normal, squashed: str, verdict: Verdict, window: bytes, named: list[int]
    ) -> list[ThreatDetectionResult]:
        """One finding a threat type that the rules name, or that the model thinks likeliest."""
        by_type: dict[str, list[Rule]] = {}
        for rule in verdict.rules:
            by_type.setdefault(rule.threat_type, []).append(rule)
        if not by_type:
            by_type[self._likeliest(window, named)] = []
        return [self._finding(kind, rules, text, normal, squashed, verdict) for kind, rules in by_type.items()]

    def _likeliest(self, window: bytes, named: list[int]) -> str:
        if self._model is None:
            return ThreatType.CODE_INJECTION.value
        return self._model.kinds(window, named)[0][0]

    def _finding(
        self, kind: str, rules: list[Rule], text: Text, normal: Normal, squashed: str, verdict: Verdict
    ) -> ThreatDetectionResult:
        severity = worst_severity(rules, verdict.confidence)
        spans = [span for rule in rules if (span := _span(rule, text.text, normal.text, squashed))]
        start = spans[0]["start"] if spans and spans[0]["in"] == "value" else 0
        decoded = normal.text[:EVIDENCE] if normal.text != text.text else None
        return ThreatDetectionResult(
            threat_detected=True,
            threat_type=kind,
            severity=severity,
            confidence=round(verdict.confidence, 4),
            risk_score=risk(severity, verdict.confidence),
            detected_patterns=[rule.id for rule in rules] or ["model"],
            evidence=redact_text(text.text[max(0, start - 20) : max(0, start - 20) + EVIDENCE]),
            threat_details={
                "summary": _sentence(kind, rules, text),
                "explanations": [rule.explain for rule in rules],
                "references": sorted({reference for rule in rules for reference in rule.references}),
            },
            path=text.path,
            metadata={
                "in_key": text.is_key,
                "spans": spans,
                "signals": sorted(normal.signals),
                "decoded": None if decoded is None else redact_text(decoded),
            },
        )


def _sentence(kind: str, rules: list[Rule], text: Text) -> str:
    what = kind.replace("_", " ")
    place = f"the key at {text.path}" if text.is_key else f"the value at {text.path}"
    if rules:
        return f"{place[0].upper()}{place[1:]} looks like {what}: {rules[0].explain}"
    return f"{place[0].upper()}{place[1:]} resembles known attacks ({what}), though no single rule names it."


def _span(rule: Rule, value: str, normal: str, squashed: str) -> dict[str, Any] | None:
    """Where a rule matches: in the value itself, or in a decoded form of it."""
    expression = _compiled(rule.pattern)
    for name, form in (("value", value), ("decoded", normal), ("squashed", squashed)):
        found = expression.search(form[:_SEARCHED])
        if found:
            return {"rule": rule.id, "in": name, "start": found.start(), "end": found.end()}
    return None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, re2_options())
