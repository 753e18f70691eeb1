"""Results of threat detection: findings, an inspection, and verdicts on business data."""

from __future__ import annotations

from typing import Any

from gatewright.errors import FieldError
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


class ValidationResult(Record, frozen=True, kw_only=True):
    """What was found in a manufacturer's data.

    ``security_score`` is from 0 (bad) to 1, ``risk_level`` one of ``low``, ``medium``, ``high``, ``critical``.
    ``is_valid``: no error and no attack; warnings are allowed.
    """

    is_valid: bool
    errors: list[FieldError]
    warnings: list[FieldError]
    threats: list[ThreatDetectionResult]
    security_score: float
    risk_level: str


class RateLimitResult(Record, frozen=True, kw_only=True):
    """Whether an action is allowed now. Counts are those after the call; ``retry_after`` is in seconds."""

    allowed: bool
    remaining_requests: int
    limit: int
    retry_after: float


class PatternStatistics(Record, frozen=True, kw_only=True):
    """What inspections in this process found since it started, and what people said about it.

    ``by_pattern`` counts findings by rule id, ``by_type`` by threat type; ``false_alarms`` and
    ``false_alarms_by_type`` those that people called harmless. ``false_alarm_share`` and its twin by type are the
    shares of the values found, since the model in use was put in use, that people corrected; only what was
    corrected is named. ``drift`` compares the confidences of recent inspections with those of earlier ones
    (population stability index: under 0.1 similar, over 0.25 other traffic or another attacker). ``traffic`` are the
    shares of the texts that pass by how near to an attack they are, of a sample, and ``traffic_drift`` compares
    those.
    """

    inspections: int
    detections: int
    by_pattern: dict[str, int]
    by_type: dict[str, int]
    false_alarms: dict[str, int]
    false_alarms_by_type: dict[str, int] = {}
    false_alarm_share: dict[str, float] = {}
    false_alarm_share_by_type: dict[str, float] = {}
    feedback_false_alarms: int
    feedback_missed: int
    detection_rate: float
    recent_detection_rate: float
    drift: float
    traffic: dict[str, float] = {}
    traffic_drift: float = 0.0
