"""Measures in force and the proposals they come from, shared by every process."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.controls import Measure
from gatewright.records import Record


class StoredProposal(Record, frozen=True, kw_only=True):
    """A measure that was proposed. ``status`` is ``proposed``, ``applied`` or ``rolled_back``; ``measure`` is
    what applying it puts in force, for ``seconds`` from then on."""

    proposal_id: str
    finding: str
    summary: str
    status: str = "proposed"
    measure: Measure
    seconds: float
    evidence: tuple[str, ...] = ()
    created_at: datetime
    changed_at: datetime
    changed_by: str | None = None


class MeasureStore(Protocol):
    """Measures and proposals. A change of a measure is a change of topic ``controls``."""

    async def save_measure(self, measure: Measure) -> None:
        """Put a measure in force, replacing the one of the same id."""
        ...

    async def delete_measure(self, measure_id: str) -> Measure | None:
        """Lift a measure; returns it, None when there was none."""
        ...

    async def list_measures(self, *, now: datetime) -> list[Measure]:
        """Those that have not ended."""
        ...

    async def add_proposal(self, proposal: StoredProposal) -> StoredProposal:
        """Keep a proposal; one of the same id that is proposed or applied stays as it is and is returned."""
        ...

    async def get_proposal(self, proposal_id: str) -> StoredProposal | None: ...

    async def list_proposals(self, *, status: str | None = None, limit: int = 100) -> list[StoredProposal]:
        """The newest first."""
        ...

    async def change_proposal(
        self, proposal_id: str, *, expected: tuple[str, ...], status: str, at: datetime, by: str | None
    ) -> StoredProposal | None:
        """Set the status if it is one of ``expected`` (compare-and-set); None when it is not."""
        ...
