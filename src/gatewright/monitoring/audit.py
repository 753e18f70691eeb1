"""The audit log: search, verification and proofs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from gatewright.clock import Clock
from gatewright.errors import FieldError, StorageError, StoreUnavailableError, ValidationError
from gatewright.events import Severity
from gatewright.monitoring.audit_encoding import SEVERITIES, AuditedEvent, event_of
from gatewright.monitoring.checkpoints import Checkpoint, CheckpointFile, CheckpointSigner, read_checkpoint
from gatewright.monitoring.proofs import ConsistencyProof, InclusionProof, consistency, inclusion
from gatewright.monitoring.verification import AuditVerification, verify_log
from gatewright.storage.audit import AuditBinder, AuditBinding, AuditHead, AuditQuery, AuditStore, StoredCheckpoint
from gatewright.storage.merkle import EMPTY_ROOT

MAX_RESULTS = 1000


class AuditLog:
    """The tamper-evident log of all events.

    Args:
        store: stores the log.
        flush: waits until emitted events are stored, so that callers see their own.
        clock: the source of time for checkpoints.
        origin: the name of the log on its checkpoints.
        signing_seeds: keys of checkpoints, 32 bytes each. The first one signs (None generates a key for this process),
            and the others only verify.
        checkpoint_file: a file, preferably on another machine, to which every checkpoint is appended as a line with a
            JSON string. :meth:`verify` compares the log with it.
        anchor_file: a file beside the database with the first checkpoints of a bound log.
        binder: binds the log to the root secret, and checks these bindings.
        report: called with a failed verification.
    """

    def __init__(
        self,
        store: AuditStore,
        flush: Callable[[], Awaitable[None]],
        clock: Clock,
        *,
        origin: str = "gatewright/audit",
        signing_seeds: Sequence[bytes | None] = (None,),
        checkpoint_file: str | Path | None = None,
        anchor_file: str | Path | None = None,
        binder: AuditBinder | None = None,
        report: Callable[[AuditVerification], Awaitable[None]] | None = None,
    ) -> None:
        self._store, self._flush, self._clock, self._report = store, flush, clock, report
        current, *previous = signing_seeds
        self._signer = CheckpointSigner(
            origin, current or secrets.token_bytes(32), previous=tuple(seed for seed in previous if seed)
        )
        self._own_key = current is None
        self._file = CheckpointFile(checkpoint_file) if checkpoint_file is not None else None
        self._anchor = CheckpointFile(anchor_file) if anchor_file is not None else None
        self._binder = binder
        self.last_verification: AuditVerification | None = None
        """The last verification in this process."""

    @property
    def verifier_key(self) -> str:
        """The public key of the checkpoints in C2SP format. Proofs are checked with it."""
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
            kind: a kind, or a prefix with ``*`` at the end (``auth:*``).
            severity: the minimum severity.
            since, until: aware times, from ``since`` (inclusive) to ``until`` (exclusive).
            before: only entries with a lower index. For the next page, pass the index of the last event.
            limit: 1 to 1,000.

        Raises:
            ValidationError: the severity is unknown, or the limit is out of range.
        """
        if severity is not None and str(severity) not in SEVERITIES:
            raise _invalid("severity", f"must be one of {', '.join(SEVERITIES)}")
        if not 1 <= limit <= MAX_RESULTS:
            raise _invalid("limit", f"must be 1 to {MAX_RESULTS}")
        await self._flush_events()
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
        """Verify the whole log; see :class:`AuditVerification`.

        Args:
            checkpoint: a checkpoint that was kept elsewhere. Without one, removed entries at the end of the log may go
                unnoticed.
            progress: called with the number of entries read and their total.
        """
        await self._flush_events()
        passed = (
            [checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)] if checkpoint else []
        )
        in_file = await self._read(self._file)
        anchor = [kept for kept in await self._read(self._anchor) if self._signer.signed(kept)]
        result = await verify_log(
            self._store,
            self._signer.verifier_keys,
            kept=[*passed, *in_file[-1:]],
            older=[*in_file[:-1], *anchor],
            binder=self._binder,
            strict=not self._own_key,
            progress=progress,
        )
        result = msgspec.structs.replace(result, held_against=self._describe_evidence(result, passed, in_file, anchor))
        if result.valid and result.size and self._file is not None and not in_file:
            fault = await asyncio.to_thread(self._file.fault)
            if fault is not None:
                result = msgspec.structs.replace(result, valid=False, reason=fault[0], detail=fault[1])
        foreign_checkpoint = (
            bool(passed or in_file) and result.reason == "signature_invalid"
        )  # the checkpoint is at fault, not the log
        if not foreign_checkpoint:
            self.last_verification = result
        if not result.valid and not foreign_checkpoint and self._report is not None:
            await self._report(result)
        return result

    async def checkpoint(self) -> Checkpoint:
        """Sign the current state of the log. Keep the result elsewhere.

        Raises:
            StorageError: the log differs from the one that the root secret last bound (``AUDIT_DAMAGED``).
        """
        await self._flush_events()
        head, bindings = await self._store.audit_bindings()
        signed = self._sign(head, bindings)
        await self._report_lost_file(head)
        await self._store.add_checkpoint(
            StoredCheckpoint(
                size=head.size,
                root=bytes.fromhex(signed.root),
                created_at=signed.created_at or self._clock.now(),
                note=signed.note,
            )
        )
        if self._file is not None:
            await asyncio.to_thread(self._file.append, signed.note)
        await self._write_anchor(signed)
        return signed

    async def begin_witnesses(self) -> None:
        """Create the checkpoint file of a new log, and the anchor of a bound one."""
        head, bindings = await self._store.audit_bindings()
        if self._binder is None or (head.size and not bindings):
            return  # the log is not bound yet
        with contextlib.suppress(StorageError):  # verify() reports the reason
            signed = self._sign(head, bindings)
            if self._file is not None and not head.size and not await asyncio.to_thread(self._file.path.exists):
                await asyncio.to_thread(self._file.append, signed.note)
            await self._write_anchor(signed)

    async def prove(self, event_id: str, *, checkpoint: Checkpoint | str | None = None) -> InclusionProof:
        """Prove that an event is in the log, under ``checkpoint`` or a new one.

        Raises:
            ValidationError: the event is not in the log, or not under this checkpoint (``UNKNOWN_EVENT``).
        """
        await self._flush_events()
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
        """Prove that the log under ``new`` (default: the current log) extends the one under ``old``.

        Raises:
            ValidationError: ``old`` is empty, or has more entries than ``new``.
        """
        first = read_checkpoint(str(old))
        second = read_checkpoint(str(new)) if new is not None else await self.checkpoint()
        if not 0 < first.size <= second.size:
            raise _invalid("old", "must not be empty or larger than the newer checkpoint")
        path = await consistency(self._store, first.size, second.size)
        return ConsistencyProof(old=first.note, new=second.note, path=path)

    async def _flush_events(self) -> None:
        with contextlib.suppress(StoreUnavailableError):  # stored entries can be read anyway
            await self._flush()

    def _sign(self, head: AuditHead, bindings: list[AuditBinding]) -> Checkpoint:
        """Sign a checkpoint of the head, unless it differs from its binding."""
        bound_from = None
        if self._binder is not None and bindings:
            last = bindings[-1]
            if (last.size, last.root) != (head.size, head.root) or not self._binder.verify(last):
                raise StorageError(
                    "The audit log was not signed: it differs from the log last signed with this root secret.",
                    code="AUDIT_DAMAGED",
                    recommended_action="Run `gatewright audit verify`.",
                )
            bound_from = bindings[0].bound_from if self._binder.verify(bindings[0]) else None
        elif self._binder is not None and not head.size:
            bound_from = 0
        return self._signer.sign(
            head.size, head.root if head.size else EMPTY_ROOT, self._clock.now(), bound_from=bound_from
        )

    async def _report_lost_file(self, head: AuditHead) -> None:
        """Report a checkpoint file that was removed, before it is created again."""
        if self._file is None or self._report is None or not await self._store.list_checkpoints(limit=1):
            return
        fault = await asyncio.to_thread(self._file.fault)
        if fault is not None:
            reason, detail = fault
            size, root = head.size, head.root.hex()
            await self._report(
                AuditVerification(valid=False, size=size, root=root, checked=0, reason=reason, detail=detail)
            )

    async def _write_anchor(self, signed: Checkpoint) -> None:
        """Keep the first checkpoint of a bound log, and the first one with an entry."""
        if self._anchor is None or signed.bound_from is None:
            return
        sizes = [kept.size for kept in await self._read(self._anchor) if self._signer.signed(kept)]
        if not sizes or (signed.size and not max(sizes)):
            await asyncio.to_thread(self._anchor.append, signed.note)

    async def _read(self, file: CheckpointFile | None) -> list[Checkpoint]:
        """The checkpoints in a file, or none if it cannot be read."""
        if file is None:
            return []
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(file.read)
        return []

    def _describe_evidence(
        self, result: AuditVerification, passed: list[Checkpoint], in_file: list[Checkpoint], anchor: list[Checkpoint]
    ) -> tuple[str, ...]:
        """Describe what the log was compared with."""
        if self._binder is None:
            lines = ["no root secret: the head of the log is not bound"]
        elif result.bound_from is None:
            lines = ["root secret: no entry is bound yet. The next append binds the log"]
        else:
            lines = [f"root secret: bound from entry {result.bound_from:,} on"]
            if result.bound_from:
                lines[0] += ". Earlier changes to earlier entries are not detected"
        if self._file is not None:
            newest = f", the newest of {in_file[-1].size:,} entries" if in_file else ""
            lines.append(f"checkpoint file {self._file.path}: {len(in_file):,} checkpoints{newest}")
        if passed:
            lines.append(f"checkpoint passed to verify: {passed[0].size:,} entries")
        if anchor:
            lines.append(f"anchor {self._anchor.path if self._anchor else ''}")
        lines.append(f"{result.checked_checkpoints:,} checkpoints in all, including those in the store")
        return tuple(lines)


def _invalid(field: str, rule: str, *, code: str = "VALIDATION_FAILED") -> ValidationError:
    error = FieldError(field=field, error_type=code, message=f"{field} {rule}.")
    return ValidationError(f"{field} {rule}.", code=code, errors=[error])
