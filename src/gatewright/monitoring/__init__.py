"""Monitoring: what happened, and what follows? Audit log, incidents, posture and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.monitoring.audit import AuditLog
    from gatewright.monitoring.audit_encoding import AuditedEvent, entry_of
    from gatewright.monitoring.binding import HeadBinder
    from gatewright.monitoring.checkpoints import Checkpoint, CheckpointSigner, note_in, read_checkpoint, signed_by
    from gatewright.monitoring.correlation import CorrelationRule, Correlator
    from gatewright.monitoring.folding import SITE_NETWORKS, WINDOW, Folding
    from gatewright.monitoring.incidents import Incident
    from gatewright.monitoring.metrics import MOST_KINDS
    from gatewright.monitoring.monitor import SecurityMonitor
    from gatewright.monitoring.posture import InForce, MeasureLimits, Posture, Proposal
    from gatewright.monitoring.posture_findings import Finding
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
        "Correlator",
        "CorrelationRule",
    ),
    "gatewright.monitoring.folding": (
        "Folding",
        "SITE_NETWORKS",
        "WINDOW",
    ),
    "gatewright.monitoring.incidents": ("Incident",),
    "gatewright.monitoring.metrics": ("MOST_KINDS",),
    "gatewright.monitoring.monitor": ("SecurityMonitor",),
    "gatewright.monitoring.posture": (
        "MeasureLimits",
        "InForce",
        "Posture",
        "Proposal",
    ),
    "gatewright.monitoring.posture_findings": ("Finding",),
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
    "MOST_KINDS",
    "SITE_NETWORKS",
    "WINDOW",
    "AuditLog",
    "AuditVerification",
    "AuditedEvent",
    "Checkpoint",
    "CheckpointSigner",
    "ConsistencyProof",
    "CorrelationRule",
    "Correlator",
    "Finding",
    "Folding",
    "HeadBinder",
    "InForce",
    "Incident",
    "InclusionProof",
    "MeasureLimits",
    "Posture",
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
