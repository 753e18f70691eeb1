"""Adjustments: what was suggested for a manufacturer, what was applied, and what it was before."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredAdjustment(Record, frozen=True, kw_only=True):
    """One suggestion and its fate.

    ``kind`` is ``tier``, ``grant`` or ``restrict``, ``subject`` the tier or permission. ``status`` goes from
    ``proposed`` to ``applied`` and on to ``rolled_back`` or ``expired``. ``former`` is the stored tier before
    (None: there was none), ``grant_id`` the grant that was made, ``until`` when it ends by itself.
    """

    suggestion_id: str
    manufacturer_id: str
    kind: str
    subject: str
    status: str = "proposed"
    former: str | None = None
    grant_id: str | None = None
    until: datetime | None = None
    author: str | None = None
    created_at: datetime
    changed_at: datetime


class AdjustmentStore(Protocol):
    """Suggestions and their fate, and the days on which permissions were used."""

    async def propose_adjustment(self, adjustment: StoredAdjustment) -> None:
        """Keep a suggestion; one of the same id that is applied stays as it is."""
        ...

    async def get_adjustment(self, suggestion_id: str) -> StoredAdjustment | None: ...

    async def list_adjustments(
        self, manufacturer_id: str | None = None, *, status: str | None = None, limit: int = 1_000
    ) -> list[StoredAdjustment]:
        """Newest change first."""
        ...

    async def change_adjustment(self, adjustment: StoredAdjustment, *, expected: str) -> bool:
        """Replace what is stored if its status still is ``expected`` (compare-and-set)."""
        ...

    async def replace_tier(self, manufacturer_id: str, *, expected: str | None, tier: str | None) -> bool:
        """Set the stored tier if it still is ``expected``; None stands for no stored tier, which only a manufacturer
        that is not registered can have. A change of topic ``manufacturer``."""
        ...

    async def note_permission_use(self, manufacturer_id: str, permission: str, day: int) -> None:
        """A permission was used on a day (days since 1970-01-01)."""
        ...

    async def permission_use(self, manufacturer_id: str) -> dict[str, tuple[int, int]]:
        """The first and the last day on which each permission was used."""
        ...
