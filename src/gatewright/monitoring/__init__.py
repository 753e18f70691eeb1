"""Monitoring: audit log, incidents, posture, metrics. It alone consumes events, and it alone decides on measures."""

from gatewright.monitoring.audit import AuditLog
from gatewright.monitoring.audit_encoding import AuditedEvent
from gatewright.monitoring.checkpoints import Checkpoint
from gatewright.monitoring.incidents import Incident
from gatewright.monitoring.monitor import SecurityMonitor
from gatewright.monitoring.posture import Bounds, InForce, Posture, Proposal
from gatewright.monitoring.posture_findings import Finding
from gatewright.monitoring.proofs import (
    ConsistencyProof,
    InclusionProof,
    check_consistency_proof,
    check_inclusion_proof,
)
from gatewright.monitoring.verification import AuditVerification

__all__ = [
    "AuditLog",
    "AuditVerification",
    "AuditedEvent",
    "Bounds",
    "Checkpoint",
    "ConsistencyProof",
    "Finding",
    "InForce",
    "Incident",
    "InclusionProof",
    "Posture",
    "Proposal",
    "SecurityMonitor",
    "check_consistency_proof",
    "check_inclusion_proof",
]
