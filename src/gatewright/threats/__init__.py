"""What do they send? Detection, sanitising, validation, and learning from feedback."""

from gatewright.threats.learning.learner import ModelVersion, ThreatFeedback
from gatewright.threats.results import (
    Inspection,
    PatternStatistics,
    RateLimitResult,
    ThreatDetectionResult,
    ValidationResult,
)
from gatewright.threats.sanitize import SanitizedValue
from gatewright.threats.types import ThreatType
from gatewright.threats.validator import ManufacturerSecurityValidator

__all__ = [
    "Inspection",
    "ManufacturerSecurityValidator",
    "ModelVersion",
    "PatternStatistics",
    "RateLimitResult",
    "SanitizedValue",
    "ThreatDetectionResult",
    "ThreatFeedback",
    "ThreatType",
    "ValidationResult",
]
