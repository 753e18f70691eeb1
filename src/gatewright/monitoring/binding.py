"""Binding of the audit log to the root secret: a MAC over its size and root, renewed with every append.

An attacker who can write to the database can recompute every hash in it, but not this MAC. The MAC does not reveal that
the whole database was restored to an earlier state. A checkpoint file does.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from gatewright.encryption.secretbox import derive_key, length_prefixed
from gatewright.monitoring.checkpoints import Checkpoint
from gatewright.storage.audit import AuditBinder, AuditBinding


class HeadBinder:
    """Creates and checks bindings (HMAC-SHA-256 with a key derived from the root secret).

    Args:
        origin: the name of the log. Bindings of other logs are invalid.
        root: the root secret.
        previous: earlier root secrets, whose bindings are still valid.
    """

    def __init__(self, origin: str, root: bytes, previous: Sequence[bytes] = ()) -> None:
        self._origin = origin
        self._keys = [
            derive_key(secret, "gatewright", "monitoring", "audit head binding") for secret in (root, *previous)
        ]

    def bind(self, bound_from: int, size: int, root: bytes) -> AuditBinding:
        """Bind this size and root with the current root secret."""
        mac = self._mac(self._keys[0], bound_from, size, root)
        return AuditBinding(bound_from=bound_from, size=size, root=root, mac=mac)

    def verify(self, binding: AuditBinding) -> bool:
        """Whether the binding was created with one of the root secrets."""
        fields = (binding.bound_from, binding.size, binding.root)
        return any(hmac.compare_digest(self._mac(key, *fields), binding.mac) for key in self._keys)

    def _mac(self, key: bytes, bound_from: int, size: int, root: bytes) -> bytes:
        return hmac.digest(key, length_prefixed(self._origin, str(bound_from), str(size), root), "sha256")


class Tampered(Exception):
    """The log was tampered with. Ends the verification."""

    def __init__(self, index: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.index, self.reason, self.detail = index, reason, detail


class BindingCheck:
    """Compares the bindings of a log with its entries.

    Args:
        bindings: the stored bindings, oldest first.
        binder: checks bindings. None skips the check.
    """

    def __init__(self, bindings: Sequence[AuditBinding], binder: AuditBinder | None) -> None:
        self._bindings, self._binder = bindings, binder
        self._roots: dict[int, bytes] = {}
        self.sizes = {binding.size for binding in bindings}
        """The sizes at which the root of the tree is needed."""

    @property
    def bound_from(self) -> int | None:
        """The size from which the log is bound. None if it is not bound, or cannot be checked."""
        return self._bindings[0].bound_from if self._bindings and self._binder is not None else None

    def note(self, size: int, root: bytes) -> None:
        """Record the root of the tree at a size."""
        self._roots[size] = root

    def expect(self, size: int) -> None:
        """Raise Tampered if the log has fewer entries than were bound."""
        most = max(self.sizes, default=0)
        if self._binder is not None and most > size:
            raise Tampered(size, "tail_missing", f"The root secret bound {most} entries, but the log has {size}.")

    def check(self, size: int, trusted: int, checkpoints: Sequence[Checkpoint]) -> None:
        """Raise Tampered if the log of ``size`` entries differs from the one that the root secret bound.

        Args:
            trusted: the log is verified up to this size.
            checkpoints: checkpoints signed by a key of this log. They also state whether the log was bound.
        """
        if self._binder is None:
            return
        first = min((c.bound_from for c in checkpoints if c.bound_from is not None), default=None)
        if size and first is not None and (self.bound_from is None or self.bound_from > first):
            now = "is not bound" if self.bound_from is None else f"is bound from entry {self.bound_from} on"
            detail = (
                f"According to a checkpoint, the root secret bound the log from entry {first} on, but the log {now}."
                " The database was replaced, or its bindings were deleted."
            )
            raise Tampered(trusted, "binding_removed", detail)
        end = None
        for binding in self._bindings:
            start = max(binding.bound_from, trusted if trusted < binding.size else 0)
            if end is not None and binding.bound_from != end:
                self._refuse_gap(end, binding.bound_from)
            if self._roots.get(binding.size) != binding.root or not self._binder.verify(binding):
                detail = (
                    f"Entries {start} to {binding.size - 1} differ from those that this root secret bound. If"
                    " GATEWRIGHT_SECRET_KEY was changed, add the old one to GATEWRIGHT_PREVIOUS_SECRET_KEYS."
                )
                raise Tampered(start, "binding_mismatch", detail)
            end = binding.size
        if end is not None and end != size:
            self._refuse_gap(end, size)

    def _refuse_gap(self, end: int, start: int) -> None:
        if start < end:
            detail = f"Entries {start} to {end - 1} were removed and replaced."
            raise Tampered(start, "tail_missing", detail)
        detail = f"Entries {end} to {start - 1} were added without the root secret."
        raise Tampered(end, "entries_unbound", detail)
