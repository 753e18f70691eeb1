"""The storage protocol of feedback on verdicts, and the model versions learned from it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredFeedback(Record, frozen=True, kw_only=True):
    """One statement: ``actor`` says that ``text`` is, or is not, an attack of ``threat_type``.

    Whatever in ``text`` looked like a secret was replaced before.

    ``status`` is ``open`` (to be learned from), ``used`` (an accepted version learned from it), ``disputed``
    (kept, not learned from) or ``withdrawn``; ``note`` says why.
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
    """One attempt to learn. ``delta`` is what is added to the frozen base (safetensors); None when refused.

    ``base`` names the base model by its content; a delta fits no other. ``metrics`` is JSON text.
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
        """Keep a statement; None when the actor already made ``limit`` statements since ``since``.

        A second statement of the same actor on the same text and threat type replaces the first.
        """
        ...

    async def list_feedback(self, *, statuses: tuple[str, ...] = (), limit: int = 10_000) -> list[StoredFeedback]:
        """Statements in the order in which they came; only those of ``statuses`` when given."""
        ...

    async def settle_feedback(self, feedback_ids: list[str], *, status: str, note: str) -> int:
        """Set status and note; returns how many there were."""
        ...

    async def add_model_version(
        self, version: StoredModelVersion, *, expected_active: int
    ) -> StoredModelVersion | None:
        """Keep a version under the next free number, and activate it if it was accepted.

        None, and nothing kept, when another version than ``expected_active`` is active by now (compare-and-set);
        0 is the bare base.
        """
        ...

    async def list_model_versions(self, *, limit: int = 1_000) -> list[StoredModelVersion]:
        """Versions, oldest first, without their deltas."""
        ...

    async def get_model_version(self, version: int) -> StoredModelVersion | None:
        """One version with its delta."""
        ...

    async def active_model_version(self) -> StoredModelVersion | None:
        """The version in use, with its delta; None for the bare base."""
        ...

    async def activate_model_version(self, version: int) -> bool:
        """Use an accepted version from now on, or the bare base (0); a change of topic ``model``."""
        ...
