"""Answers that are kept for a call that is sent again: encrypted, and so a source of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gatewright.encryption.records import Envelope
from gatewright.encryption.reencryption import SourceRecord
from gatewright.storage.onetime import OneTimeStore

KEPT_ANSWER = "idempotent answer"
"""The purpose of the one-time secrets that hold one; the envelope is ``sealed`` in their data."""


class KeptAnswers:
    """The source that re-encryption walks over.

    Args:
        store: keeps the answers, for a day.
    """

    name = "kept answers"

    def __init__(self, store: OneTimeStore) -> None:
        self._store = store
        self._page: dict[str, Mapping[str, Any]] = {}

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        """Answers in the order of their keys, those that have expired and were not cleared away yet as well."""
        found = await self._store.list_one_time(KEPT_ANSWER, after=after or "", limit=limit)
        self._page = {secret.key: secret.data for secret in found}
        return [SourceRecord(record_id=secret.key, envelope=dict(secret.data["sealed"])) for secret in found]

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        """Put ``envelope`` in the place of ``expected`` of the last page; False when it is not that any more."""
        known = self._page.get(record_id)
        if known is None or known["sealed"] != expected:
            return False
        data = {**known, "sealed": envelope}
        return await self._store.replace_one_time(KEPT_ANSWER, record_id, expected=known, data=data)
