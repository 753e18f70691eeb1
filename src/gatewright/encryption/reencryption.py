"""Re-encryption of records under the newest keys, in batches that can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gatewright import event_kinds
from gatewright.encryption.context import LONGEST_OWNER, VERSION
from gatewright.encryption.records import Envelope, KeyInfo, ReencryptionReport
from gatewright.encryption.vault import KeyVault
from gatewright.errors import DecryptionError, ValidationError
from gatewright.events import Severity
from gatewright.records import Record
from gatewright.storage.attempts import OneTimeStore
from gatewright.storage.keys import StoredReencryption

KEPT_ANSWER = "idempotent answer"
"""The purpose of the one-time secrets that hold one; the envelope is ``sealed`` in their data."""


class IdempotencySource:
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
        """Replace ``expected`` of the last page by ``envelope``; False if the stored value has changed."""
        known = self._page.get(record_id)
        if known is None or known["sealed"] != expected:
            return False
        data = {**known, "sealed": envelope}
        return await self._store.replace_one_time(KEPT_ANSWER, record_id, expected=known, data=data)


MOST_PASSES = 20
"""Passes over a source before a writer that keeps using old keys is given up on."""

_FAILED_IDS = 100


class SourceRecord(Record, frozen=True, kw_only=True):
    """One envelope of a source; ``record_id`` names it within the source."""

    record_id: str
    envelope: Envelope


class RecordSource(Protocol):
    """Where envelopes are kept: a table, a collection. A record with several envelopes is several of these."""

    @property
    def name(self) -> str:
        """What progress is remembered under."""
        ...

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        """Records in the order of their ids, those after ``after``; an empty page ends the source."""
        ...

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        """Replace ``expected`` by ``envelope``; False if the stored value has changed."""
        ...


class ListSource:
    """Envelopes in a list, replaced in place; for scripts and small sets."""

    name = "list"

    def __init__(self, envelopes: list[Envelope]) -> None:
        self._envelopes = envelopes

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        start = 0 if after is None else int(after) + 1
        members = enumerate(self._envelopes[start : start + limit], start)
        return [SourceRecord(record_id=str(place), envelope=envelope) for place, envelope in members]

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        if self._envelopes[int(record_id)] != expected:
            return False
        self._envelopes[int(record_id)] = envelope
        return True


class Reencryptor(Protocol):
    """Re-encrypts single envelopes; the life cycle of keys, which in turn runs re-encryptions."""

    @property
    def vault(self) -> KeyVault: ...

    async def list_keys(self) -> list[KeyInfo]: ...

    async def reencrypt_manufacturer_data(self, encrypted: Envelope) -> Envelope: ...

    async def is_shredded(self, manufacturer: Any) -> bool: ...


class Reencryption:
    """One run over one source.

    Args:
        manager: re-encrypts single envelopes.
        source: the records.
        batch_size: records in a page, 1 to 10,000.
        records_per_second: the most that are read in a second; None for no limit.
        progress: called after each page.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        manager: Reencryptor,
        source: RecordSource,
        *,
        batch_size: int = 200,
        records_per_second: float | None = None,
        progress: Callable[[ReencryptionReport], None] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 1 <= batch_size <= 10_000 or (records_per_second is not None and not records_per_second > 0):
            raise ValidationError("batch_size must be 1 to 10,000, and records_per_second above 0.")
        self._manager = manager
        self._vault = manager.vault
        self._source = source
        self._batch_size = batch_size
        self._rate = records_per_second
        self._progress = progress
        self._pause = pause
        self._key_id = ""
        self._failed: set[str] = set()
        self._shredded: set[str] = set()
        self._already = self._contended = self._stale = 0

    async def run(self) -> ReencryptionReport:
        """Pass over the source until a pass finds nothing under an old key.

        Raises:
            StoreUnavailableError: the source or the key store is unavailable; call again to continue.
        """
        newest = (await self._manager.list_keys())[0]
        self._key_id = newest.key_id
        state = await self._begin(newest.version)
        self._emit(event_kinds.ENCRYPTION_REENCRYPTION_STARTED, state)
        finished = False
        for _ in range(MOST_PASSES):
            resumed = state.cursor is not None
            self._stale = 0
            state = await self._pass(state)
            if not self._stale and not resumed:
                finished = True
                break
        state = msgspec.structs.replace(state, finished_at=self._vault.clock.now() if finished else None)
        await self._save(state)
        self._emit(
            event_kinds.ENCRYPTION_REENCRYPTION_FINISHED
            if finished
            else event_kinds.ENCRYPTION_REENCRYPTION_INCOMPLETE,
            state,
        )
        return self._report(state)

    async def _begin(self, version: int) -> StoredReencryption:
        """Where an interrupted run to the same version was, or the beginning."""
        store, now = self._vault.key_store, self._vault.clock.now()
        known = await store.get_reencryption(self._source.name) if store is not None else None
        if known is not None and known.target_version == version and known.finished_at is None:
            return known
        return StoredReencryption(source=self._source.name, target_version=version, started_at=now, updated_at=now)

    async def _pass(self, state: StoredReencryption) -> StoredReencryption:
        """Process from the cursor to the end of the source, then reset the cursor."""
        begun, looked_at = self._vault.clock.monotonic(), 0
        while page := await self._source.page(state.cursor, self._batch_size):
            changed = sum(await asyncio.gather(*(self._renew(record) for record in page)))
            looked_at += len(page)
            state = await self._save(
                msgspec.structs.replace(
                    state,
                    cursor=page[-1].record_id,
                    scanned=state.scanned + len(page),
                    reencrypted=state.reencrypted + changed,
                    failed=len(self._failed),
                )
            )
            if self._progress is not None:
                self._progress(self._report(state))
            if self._rate is not None:
                ahead = looked_at / self._rate - (self._vault.clock.monotonic() - begun)
                await self._pause(max(0.0, ahead))
        return await self._save(msgspec.structs.replace(state, cursor=None))

    async def _renew(self, record: SourceRecord) -> bool:
        """Re-encrypt one record; whether it was written."""
        metadata = record.envelope.get("encryption_metadata")
        if isinstance(metadata, dict) and metadata.get("version") == VERSION and metadata.get("key_id") == self._key_id:
            self._already += 1
            return False
        try:
            renewed = await self._manager.reencrypt_manufacturer_data(record.envelope)
        except DecryptionError:
            await self._note_closed(record, metadata)
            return False
        self._stale += 1
        if await self._source.replace(record.record_id, record.envelope, renewed):
            return True
        self._contended += 1
        return False

    async def _note_closed(self, record: SourceRecord, metadata: Any) -> None:
        """A record does not open: a failure, unless that is what shredding its manufacturer's keys was for."""
        owner = metadata.get("manufacturer_id") if isinstance(metadata, dict) else None
        if isinstance(owner, str) and 0 < len(owner) <= LONGEST_OWNER and await self._manager.is_shredded(owner):
            self._shredded.add(record.record_id)
        else:
            self._failed.add(record.record_id)

    async def _save(self, state: StoredReencryption) -> StoredReencryption:
        state = msgspec.structs.replace(state, updated_at=self._vault.clock.now())
        if self._vault.key_store is not None:
            await self._vault.key_store.save_reencryption(state)
        return state

    def _report(self, state: StoredReencryption) -> ReencryptionReport:
        return ReencryptionReport(
            source=state.source,
            target_version=state.target_version,
            scanned=state.scanned,
            reencrypted=state.reencrypted,
            already_current=self._already,
            contended=self._contended,
            shredded=len(self._shredded),
            failed=len(self._failed),
            failed_ids=sorted(self._failed)[:_FAILED_IDS],
            finished=state.finished_at is not None,
            started_at=state.started_at,
            updated_at=state.updated_at,
        )

    def _emit(self, kind: str, state: StoredReencryption) -> None:
        severity = Severity.WARNING if kind.endswith("incomplete") or self._failed else Severity.INFO
        self._vault.emit(
            kind,
            severity=severity,
            source=state.source,
            key_version=state.target_version,
            scanned=state.scanned,
            reencrypted=state.reencrypted,
            failed=len(self._failed),
        )
