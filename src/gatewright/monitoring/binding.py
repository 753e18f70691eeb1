"""Binding of the audit log to the root secret: a MAC over its size and root, renewed with every append.

Someone who can write the database can recompute every hash in it, but not this MAC. What it cannot show is that the
whole database was put back to an older state, with the MAC of that time: a checkpoint file does.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from gatewright.encryption.secretbox import derive_key, length_prefixed
from gatewright.monitoring.checkpoints import Checkpoint
from gatewright.storage.audit import AuditBinder, AuditBinding


class HeadBinder:
    """Makes and checks the MACs (HMAC-SHA-256, under a key derived from the root secret).

    Args:
        origin: the name of the log; a binding of another log is invalid.
        root: the root secret.
        previous: earlier root secrets, whose bindings still hold.
    """

    def __init__(self, origin: str, root: bytes, previous: Sequence[bytes] = ()) -> None:
        self._origin = origin
        self._keys = [
            derive_key(secret, "gatewright", "monitoring", "audit head binding") for secret in (root, *previous)
        ]

    def bind(self, bound_from: int, size: int, root: bytes) -> AuditBinding:
        """A binding of this size and root, made with the present root secret."""
        mac = self._mac(self._keys[0], bound_from, size, root)
        return AuditBinding(bound_from=bound_from, size=size, root=root, mac=mac)

    def holds(self, binding: AuditBinding) -> bool:
        """Whether one of the root secrets made this binding."""
        stated = (binding.bound_from, binding.size, binding.root)
        return any(hmac.compare_digest(self._mac(key, *stated), binding.mac) for key in self._keys)

    def _mac(self, key: bytes, bound_from: int, size: int, root: bytes) -> bytes:
        return hmac.digest(key, length_prefixed(self._origin, str(bound_from), str(size), root), "sha256")


class Tampered(Exception):
    """The log is not what it was; ends the reading."""

    def __init__(self, index: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.index, self.reason, self.detail = index, reason, detail


class BindingCheck:
    """The bindings of a log, held against what was read of it.

    Args:
        bindings: as the store has them, oldest first.
        binder: knows the root secrets; None if there are none, and then nothing is checked.
    """

    def __init__(self, bindings: Sequence[AuditBinding], binder: AuditBinder | None) -> None:
        self._bindings, self._binder = bindings, binder
        self._roots: dict[int, bytes] = {}
        self.sizes = {binding.size for binding in bindings}
        """Where the root of the tree must be noted."""

    @property
    def bound_from(self) -> int | None:
        """The size from which on the log was bound; None where it was not, or nothing can tell."""
        return self._bindings[0].bound_from if self._bindings and self._binder is not None else None

    def note(self, size: int, root: bytes) -> None:
        """The tree had this root at this size."""
        self._roots[size] = root

    def expect(self, size: int) -> None:
        """Raise Tampered when the log has fewer entries than were bound."""
        most = max(self.sizes, default=0)
        if self._binder is not None and most > size:
            raise Tampered(size, "tail_missing", f"The root secret bound {most} entries; the log has {size}.")

    def judge(self, size: int, trusted: int, checkpoints: Sequence[Checkpoint]) -> None:
        """Raise Tampered when the log of ``size`` entries is not what the root secret bound.

        Args:
            trusted: the log is known to be right up to here.
            checkpoints: signed by a key of this log; one that calls the log bound is right.
        """
        if self._binder is None:
            return
        first = min((c.bound_from for c in checkpoints if c.bound_from is not None), default=None)
        if size and first is not None and (self.bound_from is None or self.bound_from > first):
            now = "is not bound" if self.bound_from is None else f"is bound from entry {self.bound_from} on"
            detail = (
                f"A checkpoint says that the root secret bound the log from entry {first} on; now it {now}."
                " The database was replaced, or its bindings were deleted."
            )
            raise Tampered(trusted, "binding_removed", detail)
        end = None
        for binding in self._bindings:
            start = max(binding.bound_from, trusted if trusted < binding.size else 0)
            if end is not None and binding.bound_from != end:
                self._refuse_gap(end, binding.bound_from)
            if self._roots.get(binding.size) != binding.root or not self._binder.holds(binding):
                detail = (
                    f"Entries from {start} to {binding.size - 1} are not those that were bound by this root secret. If"
                    " GATEWRIGHT_SECRET_KEY was changed, name the old one in GATEWRIGHT_PREVIOUS_SECRET_KEYS."
                )
                raise Tampered(start, "binding_mismatch", detail)
            end = binding.size
        if end is not None and end != size:
            self._refuse_gap(end, size)

    def _refuse_gap(self, end: int, start: int) -> None:
        if start < end:
            detail = f"Entries from {start} to {end - 1} were removed, and others put in their place."
            raise Tampered(start, "tail_missing", detail)
        detail = f"Entries from {end} to {start - 1} were added by something that does not have the root secret."
        raise Tampered(end, "entries_unbound", detail)
