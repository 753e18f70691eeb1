"""Verification that no entry of the audit log was changed, moved or removed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence

import msgspec

from gatewright.monitoring.binding import BindingCheck, Tampered
from gatewright.monitoring.checkpoints import Checkpoint, read_checkpoint, signed_by
from gatewright.records import Record
from gatewright.storage.audit import AuditBinder, AuditHead, AuditStore
from gatewright.storage.merkle import CACHED_LEVEL, EMPTY_ROOT, CompactMerkleTree

_BLOCK = 1 << CACHED_LEVEL
_CHUNK = 16 * _BLOCK
_sha256 = hashlib.sha256


class AuditVerification(Record, frozen=True, kw_only=True):
    """The result of a verification. True if the log is intact.

    ``first_bad_index`` is the first entry that cannot be trusted. ``reason`` is one of ``entry_altered``,
    ``entry_missing``, ``tail_missing``, ``entry_unaccounted``, ``fields_altered``, ``root_mismatch``,
    ``checkpoint_mismatch``, ``signature_invalid``; of ``binding_mismatch`` (size and root were written without the root
    secret), ``entries_unbound`` (entries were added without it), ``binding_removed`` (according to a checkpoint, the
    log was bound before); or of ``checkpoint_file_missing``, ``checkpoint_file_empty`` and
    ``checkpoint_file_unreadable``, which do not concern the entries.

    ``unverified_checkpoints`` counts checkpoints signed by unknown keys, whose roots were still compared.
    ``bound_from`` is the size from which the root secret bound the log, or None. ``held_against`` describes what the
    log was compared with.
    """

    valid: bool
    size: int
    root: str
    checked: int
    checked_checkpoints: int = 0
    unverified_checkpoints: int = 0
    first_bad_index: int | None = None
    reason: str | None = None
    detail: str = "Every entry is present and unchanged."
    seconds: float = 0.0
    bound_from: int | None = None
    held_against: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.valid


async def verify_log(
    store: AuditStore,
    keys: Sequence[str],
    *,
    kept: Sequence[Checkpoint] = (),
    older: Sequence[Checkpoint] = (),
    binder: AuditBinder | None = None,
    strict: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> AuditVerification:
    """Read every entry and compare hashes, positions, search fields, roots, bindings and checkpoints.

    Args:
        store: the log.
        keys: the accepted verifier keys.
        kept: checkpoints that were kept elsewhere. They must have a valid signature.
        older: further checkpoints. Those with a valid signature are compared.
        binder: checks the bindings of the head. Without it, they are not checked.
        strict: fail on a stored checkpoint that is signed by another key.
        progress: called with the number of entries read and their total.
    """
    began = time.perf_counter()
    stored = [read_checkpoint(checkpoint.note) for checkpoint in await store.list_checkpoints()]
    head, bindings = await store.audit_bindings()
    reading = _Reading(store, head, BindingCheck(bindings, binder))
    unknown = 0
    try:
        for checkpoint in kept:
            if not signed_by(checkpoint.note, keys):
                raise Tampered(0, "signature_invalid", "The checkpoint is not signed by a key of this log.")
        signed = [*kept, *(checkpoint for checkpoint in older if signed_by(checkpoint.note, keys))]
        valid = [*signed, *(checkpoint for checkpoint in stored if signed_by(checkpoint.note, keys))]
        notes = {checkpoint.note for checkpoint in valid}
        for checkpoint in stored:
            if checkpoint.note in notes:
                continue
            unknown += 1
            if strict:
                detail = f"The stored checkpoint at {checkpoint.size} entries is not signed by a key of this log."
                raise Tampered(0, "signature_invalid", detail)
        reading.expect([*stored, *signed], valid)
        await reading.read(progress)
        reading.finish()
    except Tampered as finding:
        return reading.result(began, unknown, finding)
    return reading.result(began, unknown, None)


class _Reading:
    """One pass over the log, up to its size at the start."""

    def __init__(self, store: AuditStore, head: AuditHead, bindings: BindingCheck) -> None:
        self._store, self._head, self._bindings = store, head, bindings
        self._tree = CompactMerkleTree()
        self._signed: list[Checkpoint] = []
        """The checkpoints with a valid signature."""
        self._checkpoints: list[Checkpoint] = []
        self._sizes: set[int] = set()
        self._checked = 0
        self._trusted = 0
        """The log is verified up to this size, by the last matching checkpoint."""

    def expect(self, checkpoints: list[Checkpoint], signed: list[Checkpoint]) -> None:
        """Compare the log with these checkpoints while reading. ``signed`` have a valid signature."""
        self._signed = signed
        self._checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.size)
        self._sizes = {checkpoint.size for checkpoint in checkpoints} | self._bindings.sizes
        if self._checkpoints and self._checkpoints[-1].size > self._head.size:
            detail = (
                f"A checkpoint was signed at {self._checkpoints[-1].size} entries, but the log has {self._head.size}."
            )
            raise Tampered(self._head.size, "tail_missing", detail)
        self._bindings.expect(self._head.size)

    async def read(self, progress: Callable[[int, int], None] | None) -> None:
        size, loop = self._head.size, asyncio.get_running_loop()
        self._compare_checkpoints()
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            nodes = await self._store.audit_nodes(CACHED_LEVEL, start >> CACHED_LEVEL, stop >> CACHED_LEVEL)
            # The store compares search fields at the same time, in a thread that releases the GIL.
            searching = asyncio.ensure_future(self._store.mismatched_audit(start, stop))
            try:
                rows = await self._store.scan_audit(start, stop - start)
                await loop.run_in_executor(None, self._take, rows, stop, nodes)
            finally:
                disguised = await searching
            if disguised is not None:
                detail = f"The search fields of entry {disguised} do not match its content."
                raise Tampered(disguised, "fields_altered", detail)
            if progress is not None:
                progress(stop, size)

    def finish(self) -> None:
        """Check the head, entries beyond it, and its bindings."""
        head = self._head
        if self._tree.root() != head.root:
            detail = "The entries do not match the root of the log."
            raise Tampered(self._trusted, "root_mismatch", detail)
        if head.stored > head.size:
            raise Tampered(head.size, "entry_unaccounted", f"Entries from {head.size} on are not part of the tree.")
        self._bindings.check(head.size, self._trusted, self._signed)

    def result(self, began: float, unknown: int, finding: Tampered | None) -> AuditVerification:
        intact = AuditVerification(
            valid=True,
            size=self._head.size,
            root=self._tree.root().hex(),
            checked=self._tree.size,
            checked_checkpoints=self._checked,
            unverified_checkpoints=unknown,
            seconds=time.perf_counter() - began,
            bound_from=self._bindings.bound_from,
        )
        if finding is None:
            return intact
        return msgspec.structs.replace(
            intact, valid=False, first_bad_index=finding.index, reason=finding.reason, detail=finding.detail
        )

    def _take(self, rows: list[tuple[int, bytes, bytes]], stop: int, nodes: list[bytes]) -> None:
        """Check a chunk: positions, hashes and cached subtrees. Runs in a thread."""
        growth, start = self._tree, self._tree.size
        growth.finished.clear()
        complete = len(rows) == stop - start and rows[0][0] == start and rows[-1][0] == stop - 1
        if not complete:  # entries before the gap are checked first
            missing = next((start + at for at, row in enumerate(rows) if row[0] != start + at), start + len(rows))
            rows = rows[: missing - start]
        leaves = [_sha256(b"\x00" + body).digest() for _, body, _ in rows]
        for at, (leaf, row) in enumerate(zip(leaves, rows, strict=True)):
            if leaf != row[2]:
                raise Tampered(start + at, "entry_altered", f"Entry {start + at} was altered.")
        try:
            self._grow(leaves)
        finally:  # a subtree locates the change more precisely than a checkpoint
            self._compare_nodes(nodes)
        if not complete:
            reason = "entry_missing" if missing < self._head.stored else "tail_missing"
            raise Tampered(missing, reason, f"Entry {missing} is missing.")

    def _compare_nodes(self, nodes: list[bytes]) -> None:
        """Compare the subtrees completed in this chunk with the cached ones in the store."""
        blocks = [(index, node) for level, index, node in self._tree.finished if level == CACHED_LEVEL]
        for (index, node), cached in zip(blocks, nodes, strict=False):
            if node != cached:
                first = index << CACHED_LEVEL
                detail = f"One of the entries {first} to {first + _BLOCK - 1} was altered, together with its hash."
                raise Tampered(first, "entry_altered", detail)

    def _grow(self, leaves: list[bytes]) -> None:
        """Add leaves block by block, and stop at every size of a checkpoint or binding."""
        growth, sizes = self._tree, self._sizes
        for at in range(0, len(leaves), _BLOCK):
            block = leaves[at : at + _BLOCK]
            inside = any(growth.size < size < growth.size + len(block) for size in sizes)
            if len(block) == _BLOCK and not inside:
                growth.append_block(block)
                if growth.size in sizes:
                    self._compare_checkpoints()
                continue
            for leaf in block:
                growth.append(leaf)
                if growth.size in sizes:
                    self._compare_checkpoints()

    def _compare_checkpoints(self) -> None:
        size, root = self._tree.size, self._tree.root().hex()
        self._bindings.note(size, self._tree.root())
        for checkpoint in self._checkpoints:
            if checkpoint.size != size:
                continue
            if checkpoint.root != (root if size else EMPTY_ROOT.hex()):
                detail = f"Entries {self._trusted} to {size - 1} differ from those that a checkpoint signed."
                raise Tampered(self._trusted, "checkpoint_mismatch", detail)
            self._checked += 1
        if size:
            self._trusted = size if any(c.size == size for c in self._checkpoints) else self._trusted
