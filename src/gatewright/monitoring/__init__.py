"""Monitoring: audit log, incidents, security posture and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.monitoring.audit import AuditLog
    from gatewright.monitoring.audit_encoding import AuditedEvent, entry_of
    from gatewright.monitoring.binding import HeadBinder
    from gatewright.monitoring.checkpoints import Checkpoint, CheckpointSigner, note_in, read_checkpoint, signed_by
    from gatewright.monitoring.correlation import CORRELATION_RULES, CorrelationRule, Correlator
    from gatewright.monitoring.folding import FOLD_RULES, MAX_SITE_NETWORKS, WINDOW_SECONDS, Folding
    from gatewright.monitoring.incidents import Incident
    from gatewright.monitoring.metrics import MAX_KINDS
    from gatewright.monitoring.monitor import SecurityMonitor
    from gatewright.monitoring.posture import InForce, MeasureLimits, Posture, Proposal
    from gatewright.monitoring.posture_findings import PostureFinding
    from gatewright.monitoring.proofs import (
        ConsistencyProof,
        InclusionProof,
        check_consistency_proof,
        check_inclusion_proof,
    )
    from gatewright.monitoring.spool import Spool
    from gatewright.monitoring.verification import AuditVerification

_NAMES = {
    "gatewright.monitoring.audit": ("AuditLog",),
    "gatewright.monitoring.audit_encoding": (
        "AuditedEvent",
        "entry_of",
    ),
    "gatewright.monitoring.binding": ("HeadBinder",),
    "gatewright.monitoring.checkpoints": (
        "Checkpoint",
        "CheckpointSigner",
        "note_in",
        "read_checkpoint",
        "signed_by",
    ),
    "gatewright.monitoring.correlation": (
        "CORRELATION_RULES",
        "Correlator",
        "CorrelationRule",
    ),
    "gatewright.monitoring.folding": (
        "FOLD_RULES",
        "Folding",
        "MAX_SITE_NETWORKS",
        "WINDOW_SECONDS",
    ),
    "gatewright.monitoring.incidents": ("Incident",),
    "gatewright.monitoring.metrics": ("MAX_KINDS",),
    "gatewright.monitoring.monitor": ("SecurityMonitor",),
    "gatewright.monitoring.posture": (
        "MeasureLimits",
        "InForce",
        "Posture",
        "Proposal",
    ),
    "gatewright.monitoring.posture_findings": ("PostureFinding",),
    "gatewright.monitoring.proofs": (
        "ConsistencyProof",
        "InclusionProof",
        "check_consistency_proof",
        "check_inclusion_proof",
    ),
    "gatewright.monitoring.spool": ("Spool",),
    "gatewright.monitoring.verification": ("AuditVerification",),
}

__all__ = [
    "CORRELATION_RULES",
    "FOLD_RULES",
    "MAX_KINDS",
    "MAX_SITE_NETWORKS",
    "WINDOW_SECONDS",
    "AuditLog",
    "AuditVerification",
    "AuditedEvent",
    "Checkpoint",
    "CheckpointSigner",
    "ConsistencyProof",
    "CorrelationRule",
    "Correlator",
    "Folding",
    "HeadBinder",
    "InForce",
    "Incident",
    "InclusionProof",
    "MeasureLimits",
    "Posture",
    "PostureFinding",
    "Proposal",
    "SecurityMonitor",
    "Spool",
    "check_consistency_proof",
    "check_inclusion_proof",
    "entry_of",
    "note_in",
    "read_checkpoint",
    "signed_by",
]

__getattr__ = lazy_names(__name__, _NAMES)
