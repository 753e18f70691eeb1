"""The storage protocol of feedback on verdicts and of model versions trained on it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredFeedback(Record, frozen=True, kw_only=True):
    """A label by ``actor``: ``text`` is, or is not, an attack of ``threat_type``.

    Apparent secrets in ``text`` have already been redacted.

    ``status`` is ``open`` (not yet trained on), ``used`` (an accepted version was trained on it), ``disputed`` (kept,
    excluded from training) or ``withdrawn``. ``note`` gives the reason.
    """

    feedback_id: str
    actor: str
    source: str
    digest: str
    text: str
    threat_type: str
    is_threat: bool
    reason: str = ""
    status: str = "open"
    note: str = ""
    confidence: float = 0.0
    created_at: datetime


class StoredModelVersion(Record, frozen=True, kw_only=True):
    """The result of one training run. ``delta`` is added to the frozen base model (safetensors); None if rejected.

    ``base`` is the content hash of the base model, the only one that the delta fits. ``metrics`` is JSON text.
    """

    version: int
    base: str
    accepted: bool
    reason: str
    metrics: str
    delta: bytes | None = None
    active: bool = False
    created_by: str = ""
    created_at: datetime


class FeedbackStore(Protocol):
    """Feedback and model versions."""

    async def add_feedback(self, feedback: StoredFeedback, *, since: datetime, limit: int) -> StoredFeedback | None:
        """Store feedback; None if the actor has already given ``limit`` labels since ``since``.

        A second label by the same actor for the same text and threat type replaces the first.
        """
        ...

    async def list_feedback(self, *, statuses: tuple[str, ...] = (), limit: int = 10_000) -> list[StoredFeedback]:
        """List feedback, oldest first, optionally limited to ``statuses``."""
        ...

    async def settle_feedback(self, feedback_ids: list[str], *, status: str, note: str) -> int:
        """Set status and note, and return the number of rows updated."""
        ...

    async def add_model_version(
        self, version: StoredModelVersion, *, expected_active: int
    ) -> StoredModelVersion | None:
        """Store a version under the next number, and activate it if it was accepted.

        None, with nothing stored, if the active version is no longer ``expected_active`` (compare-and-set). 0 is the
        base model.
        """
        ...

    async def list_model_versions(self, *, limit: int = 1_000) -> list[StoredModelVersion]:
        """List versions, oldest first, without deltas."""
        ...

    async def get_model_version(self, version: int) -> StoredModelVersion | None:
        """Return a version with its delta."""
        ...

    async def active_model_version(self) -> StoredModelVersion | None:
        """Return the active version with its delta; None if the base model is active."""
        ...

    async def activate_model_version(self, version: int) -> bool:
        """Activate an accepted version, or the base model (0). Published under topic ``model``."""
        ...
