"""What an inspection finds."""

from __future__ import annotations

from typing import Any

from gatewright.records import Record


class ThreatDetectionResult(Record, frozen=True, kw_only=True):
    """What was found of one threat type at one place.

    ``severity`` is ``low``, ``medium``, ``high`` or ``critical``, ``none`` where nothing was found; ``confidence`` and
    ``risk_score`` are from 0 to 1. ``detected_patterns`` are rule ids (``model`` where the learned model alone
    decided), ``evidence`` is the part of the value that shows the attack, secrets masked; ``threat_details`` holds a
    sentence for people, ``path`` the place (``$.products[3].name``), ``metadata`` spans, the decoded form and the
    heaviest n-grams.
    """

    threat_detected: bool
    threat_type: str
    severity: str = "none"
    confidence: float = 0.0
    risk_score: float = 0.0
    detected_patterns: list[str] = []
    evidence: str = ""
    threat_details: dict[str, Any] = {}
    path: str = "$"
    metadata: dict[str, Any] = {}


class Inspection(Record, frozen=True, kw_only=True):
    """All findings in a value, the worst first. ``truncated``: the value was too large or too deep to be seen
    whole."""

    threat_detected: bool
    findings: list[ThreatDetectionResult] = []
    risk_score: float = 0.0
    confidence: float = 0.0
    truncated: bool = False


CLEAN = Inspection(threat_detected=False)
"""Nothing found."""
