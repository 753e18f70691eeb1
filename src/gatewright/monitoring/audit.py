"""AuditLog: searching, verifying and proving what was logged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import msgspec

from gatewright.clock import Clock
from gatewright.errors import FieldError, StorageError, StoreUnavailableError, ValidationError
from gatewright.events import Severity
from gatewright.monitoring.checkpoints import Checkpoint, CheckpointSigner, read_checkpoint
from gatewright.monitoring.entries import SEVERITIES, AuditedEvent, event_of
from gatewright.monitoring.proofs import ConsistencyProof, InclusionProof, consistency, inclusion
from gatewright.monitoring.verification import AuditVerification, verify_log
from gatewright.storage.audit import AuditQuery, AuditStore, StoredCheckpoint
from gatewright.storage.merkle import EMPTY_ROOT

MOST_RESULTS = 1000
_TAIL = 32 * 1024


class AuditLog:
    """The log of everything that happened.

    Args:
        store: where it is kept.
        flush: waits until what was emitted is kept, so that one's own events are found.
        clock: for the time on checkpoints.
        origin: the name of the log on its checkpoints.
        signing_seed: 32 bytes, the key of the checkpoints; None makes one for this process.
        previous_seeds: keys whose signatures still count.
        checkpoint_file: a file, best on another machine's disk, to which every checkpoint is appended as a JSON
            string a line, and whose newest one :meth:`verify` holds the log against.
        report: called with a verification that found something.
    """

    def __init__(
        self,
        store: AuditStore,
        flush: Callable[[], Awaitable[None]],
        clock: Clock,
        *,
        origin: str = "gatewright/audit",
        signing_seed: bytes | None = None,
        previous_seeds: tuple[bytes, ...] = (),
        checkpoint_file: str | Path | None = None,
        report: Callable[[AuditVerification], Awaitable[None]] | None = None,
    ) -> None:
        self._store, self._flush, self._clock, self._report = store, flush, clock, report
        self._signer = CheckpointSigner(origin, signing_seed or secrets.token_bytes(32), previous=previous_seeds)
        self._own_key = signing_seed is None
        self._file = Path(checkpoint_file) if checkpoint_file is not None else None
        self.last_verification: AuditVerification | None = None
        """What this process found when it last read the whole log."""

    @property
    def verifier_key(self) -> str:
        """The public key of the checkpoints, in C2SP's form; whoever checks a proof needs it."""
        return self._signer.verifier_key

    async def search(
        self,
        *,
        kind: str | None = None,
        manufacturer_id: str | None = None,
        account_id: str | None = None,
        ip_address: str | None = None,
        request_id: str | None = None,
        severity: Severity | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditedEvent]:
        """Events, newest first.

        Args:
            kind: a kind, or the beginning of some with ``*`` at the end (``auth:*``).
            severity: this one or a higher.
            since, until: aware times; from ``since`` to before ``until``.
            before: only indexes below this one: the last of a page continues it.
            limit: 1 to 1,000.

        Raises:
            ValidationError: a severity that is none, or a limit out of range.
        """
        if severity is not None and str(severity) not in SEVERITIES:
            raise _invalid("severity", f"must be one of {', '.join(SEVERITIES)}")
        if not 1 <= limit <= MOST_RESULTS:
            raise _invalid("limit", f"must be from 1 to {MOST_RESULTS}")
        await self._settle()
        query = AuditQuery(
            kind=kind,
            manufacturer_id=manufacturer_id,
            account_id=account_id,
            ip_address=ip_address,
            request_id=request_id,
            severity=SEVERITIES[str(severity)] if severity is not None else 0,
            since=since.timestamp() if since else None,
            until=until.timestamp() if until else None,
            before=before,
            limit=limit,
        )
        return [event_of(entry) for entry in await self._store.search_audit(query)]

    async def verify(
        self,
        checkpoint: Checkpoint | str | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> AuditVerification:
        """Read the whole log and say whether it is what it was; see :class:`AuditVerification`.

        Args:
            checkpoint: one that was kept elsewhere, without which a cut tail may go unseen.
            progress: called with entries read and their total.
        """
        await self._settle()
        kept = [checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)] if checkpoint else []
        if self._file is not None:
            kept += await asyncio.to_thread(self._last_in_file)
        keys = self._signer.verifier_keys
        found = await verify_log(self._store, keys, kept=kept, strict=not self._own_key, progress=progress)
        wrong_note = bool(kept) and found.reason == "signature_invalid"  # says nothing about the log
        if not wrong_note:
            self.last_verification = found
        if not found.valid and not wrong_note and self._report is not None:
            await self._report(found)
        return found

    async def checkpoint(self) -> Checkpoint:
        """Sign the log as it is now; keep the result elsewhere."""
        await self._settle()
        head = await self._store.audit_head()
        signed = self._signer.sign(head.size, head.root if head.size else EMPTY_ROOT, self._clock.now())
        await self._store.add_checkpoint(
            StoredCheckpoint(
                size=head.size,
                root=bytes.fromhex(signed.root),
                created_at=signed.created_at or self._clock.now(),
                note=signed.note,
            )
        )
        if self._file is not None:
            await asyncio.to_thread(self._append_to_file, signed.note)
        return signed

    async def prove(self, event_id: str, *, checkpoint: Checkpoint | str | None = None) -> InclusionProof:
        """Prove that an event is in the log: under ``checkpoint``, or under one made now.

        Raises:
            ValidationError: the event is not in the log, or not under that checkpoint (``UNKNOWN_EVENT``).
        """
        await self._settle()
        entry = await self._store.find_audit(event_id)
        under = read_checkpoint(str(checkpoint)) if checkpoint is not None else await self.checkpoint()
        if entry is None or entry.index >= under.size:
            raise _invalid("event_id", "is not in the log under this checkpoint", code="UNKNOWN_EVENT")
        return InclusionProof(
            event_id=event_id,
            index=entry.index,
            size=under.size,
            entry=entry.body.decode(),
            leaf_hash=entry.leaf_hash.hex(),
            root=under.root,
            path=await inclusion(self._store, entry.index, under.size),
            checkpoint=under.note,
        )

    async def prove_consistency(self, old: Checkpoint | str, new: Checkpoint | str | None = None) -> ConsistencyProof:
        """Prove that the log under ``new`` (or as it is now) only continued the one under ``old``.

        Raises:
            ValidationError: ``old`` is empty or speaks of more entries than ``new``.
        """
        first = read_checkpoint(str(old))
        second = read_checkpoint(str(new)) if new is not None else await self.checkpoint()
        if not 0 < first.size <= second.size:
            raise _invalid("old", "must have an entry and no more than the newer checkpoint")
        path = await consistency(self._store, first.size, second.size)
        return ConsistencyProof(old=first.note, new=second.note, path=path)

    async def _settle(self) -> None:
        with contextlib.suppress(StoreUnavailableError):  # what is in the store can be read all the same
            await self._flush()

    def _append_to_file(self, note: str) -> None:
        path = self._file
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, msgspec.json.encode(note) + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(f"The checkpoint file {path} cannot be written: {error.strerror}.") from error

    def _last_in_file(self) -> list[Checkpoint]:
        """The newest whole line of the file; a last line torn by a power cut is passed over."""
        if self._file is None or not self._file.exists():
            return []
        with self._file.open("rb") as file:
            file.seek(max(0, self._file.stat().st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        for line in reversed(lines):
            with contextlib.suppress(msgspec.DecodeError):
                return [read_checkpoint(msgspec.json.decode(line, type=str))]
        return []


def _invalid(field: str, rule: str, *, code: str = "VALIDATION_FAILED") -> ValidationError:
    error = FieldError(field=field, error_type=code, message=f"{field} {rule}.")
    return ValidationError(f"{field} {rule}.", code=code, errors=[error])
