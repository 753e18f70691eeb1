"""Re-encryption of records under the newest keys, in batches that can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gatewright import event_kinds
from gatewright.encryption.context import MAX_OWNER_LENGTH, VERSION
from gatewright.encryption.records import Envelope, ReencryptionReport
from gatewright.encryption.vault import KeyVault
from gatewright.errors import DecryptionError, ValidationError
from gatewright.events import Severity
from gatewright.records import Record
from gatewright.storage.attempts import OneTimeStore
from gatewright.storage.keys import StoredReencryption

MAX_PASSES = 20
"""Passes over a source before re-encryption gives up on a writer that keeps using old keys."""

_MAX_FAILED_IDS = 100


class SourceRecord(Record, frozen=True, kw_only=True):
    """One envelope of a source. ``record_id`` is unique within the source."""

    record_id: str
    envelope: Envelope


class RecordSource(Protocol):
    """A table or collection of envelopes. A record with several envelopes appears once for each of them."""

    @property
    def name(self) -> str:
        """The name under which progress is stored."""
        ...

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        """The records after ``after``, in the order of their ids. An empty page ends the source."""
        ...

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        """Replace ``expected`` with ``envelope``. Returns False if the stored value has changed."""
        ...


class ListSource:
    """Envelopes in a list, replaced in place. For scripts and small data sets."""

    name = "list"

    def __init__(self, envelopes: list[Envelope]) -> None:
        self._envelopes = envelopes

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        start = 0 if after is None else int(after) + 1
        page = enumerate(self._envelopes[start : start + limit], start)
        return [SourceRecord(record_id=str(index), envelope=envelope) for index, envelope in page]

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        if self._envelopes[int(record_id)] != expected:
            return False
        self._envelopes[int(record_id)] = envelope
        return True


IDEMPOTENT_RESPONSE = "idempotent answer"
"""The stored purpose of the one-time secrets of idempotent responses. The envelope is ``sealed`` in their data."""


class IdempotencySource:
    """The stored responses to requests with an ``Idempotency-Key``.

    Args:
        store: stores the responses.
    """

    name = "kept answers"

    def __init__(self, store: OneTimeStore) -> None:
        self._store = store
        self._page: dict[str, Mapping[str, Any]] = {}

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        """Responses in the order of their keys, including expired ones that were not deleted yet."""
        secrets = await self._store.list_one_time(IDEMPOTENT_RESPONSE, after=after or "", limit=limit)
        self._page = {secret.key: secret.data for secret in secrets}
        return [SourceRecord(record_id=secret.key, envelope=dict(secret.data["sealed"])) for secret in secrets]

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        """Replace ``expected`` of the last page by ``envelope``; False if the stored value has changed."""
        current = self._page.get(record_id)
        if current is None or current["sealed"] != expected:
            return False
        data = {**current, "sealed": envelope}
        return await self._store.replace_one_time(IDEMPOTENT_RESPONSE, record_id, expected=current, data=data)


class Reencryption:
    """One run over one source.

    Args:
        vault: the keys.
        source: the records.
        batch_size: records per page, 1 to 10,000.
        records_per_second: the maximum read rate. None means no limit.
        progress: called after each page.
        pause: waits for a number of seconds.
    """

    def __init__(
        self,
        vault: KeyVault,
        source: RecordSource,
        *,
        batch_size: int = 200,
        records_per_second: float | None = None,
        progress: Callable[[ReencryptionReport], None] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 1 <= batch_size <= 10_000 or (records_per_second is not None and not records_per_second > 0):
            raise ValidationError("batch_size must be 1 to 10,000, and records_per_second must be above 0.")
        self._vault = vault
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
        """Process the source until a pass finds no envelope under an old key.

        Raises:
            StoreUnavailableError: the source or the key store is unavailable. Call again to continue.
        """
        newest = (await self._vault.generations())[-1]
        self._key_id = newest.key_id
        state = await self._load_state(newest.version)
        self._emit(event_kinds.ENCRYPTION_REENCRYPTION_STARTED, state)
        finished = False
        for _ in range(MAX_PASSES):
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

    async def _load_state(self, version: int) -> StoredReencryption:
        """The state of an interrupted run to the same version, or a new one."""
        store, now = self._vault.key_store, self._vault.clock.now()
        stored = await store.get_reencryption(self._source.name) if store is not None else None
        if stored is not None and stored.target_version == version and stored.finished_at is None:
            return stored
        return StoredReencryption(source=self._source.name, target_version=version, started_at=now, updated_at=now)

    async def _pass(self, state: StoredReencryption) -> StoredReencryption:
        """Process from the cursor to the end of the source, then reset the cursor."""
        started, read = self._vault.clock.monotonic(), 0
        while page := await self._source.page(state.cursor, self._batch_size):
            changed = sum(await asyncio.gather(*(self._reencrypt(record) for record in page)))
            read += len(page)
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
                ahead = read / self._rate - (self._vault.clock.monotonic() - started)
                await self._pause(max(0.0, ahead))
        return await self._save(msgspec.structs.replace(state, cursor=None))

    async def _reencrypt(self, record: SourceRecord) -> bool:
        """Re-encrypt one record. Returns whether it was written."""
        metadata = record.envelope.get("encryption_metadata")
        if isinstance(metadata, dict) and metadata.get("version") == VERSION and metadata.get("key_id") == self._key_id:
            self._already += 1
            return False
        try:
            envelope = await self._vault.reencrypt(record.envelope)
        except DecryptionError:
            await self._record_failure(record, metadata)
            return False
        self._stale += 1
        if await self._source.replace(record.record_id, record.envelope, envelope):
            return True
        self._contended += 1
        return False

    async def _record_failure(self, record: SourceRecord, metadata: Any) -> None:
        """Count a record that cannot be decrypted as failed, or as shredded if its keys were destroyed."""
        owner = metadata.get("manufacturer_id") if isinstance(metadata, dict) else None
        if isinstance(owner, str) and 0 < len(owner) <= MAX_OWNER_LENGTH and await self._vault.is_shredded(owner):
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
            failed_ids=sorted(self._failed)[:_MAX_FAILED_IDS],
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
