"""The key life cycle: rotation, revocation, shredding and re-encryption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from gatewright import event_kinds
from gatewright.encryption.context import owner_of
from gatewright.encryption.records import (
    EmergencyReport,
    KeyInfo,
    KeyRotationResult,
    ReencryptionReport,
    RootRotationResult,
    ShredResult,
)
from gatewright.encryption.reencryption import RecordSource, Reencryption
from gatewright.encryption.root import root_key
from gatewright.encryption.vault import KeyVault, RootKeyInput
from gatewright.errors import KeyUnavailableError
from gatewright.events import Severity
from gatewright.references import TenantRef
from gatewright.storage.keys import GenerationStatus

SETTLE_SECONDS = 1.0
"""Time until every process has noticed a rotation. They check at least four times a second."""

Progress = Callable[[ReencryptionReport], None]


class KeyLifecycle:
    """Operations on keys. The manager documents them."""

    def __init__(self, vault: KeyVault) -> None:
        self._vault = vault

    async def list_keys(self) -> list[KeyInfo]:
        """The generations of data keys, newest first."""
        return [
            KeyInfo(
                key_id=generation.key_id,
                version=generation.version,
                status=generation.status,
                created_at=generation.created_at,
                retired_at=generation.retired_at,
                reason=generation.reason,
            )
            for generation in reversed(await self._vault.generations())
        ]

    async def rotate(self, *, reason: str) -> KeyRotationResult:
        """Start a new generation of data keys."""
        old, new = await self._vault.rotate(reason)
        return KeyRotationResult(
            old_key_id=old.key_id,
            new_key_id=new.key_id,
            key_version=new.version,
            rotated_at=new.created_at,
            reason=reason,
        )

    async def rotate_if_due(self) -> KeyRotationResult | None:
        """Rotate if rotation is enabled and the newest generation has reached its maximum age."""
        newest = (await self._vault.generations())[-1]
        age = self._vault.clock.now() - newest.created_at
        if not self._vault.rotation_enabled or age < self._vault.rotation_age:
            return None
        return await self.rotate(reason="age")

    async def rotate_root(self, new: RootKeyInput) -> RootRotationResult:
        """Replace the root key and rewrap the data keys."""
        root = await asyncio.to_thread(root_key, new) if isinstance(new, str | bytes) else new
        await self._vault.open()
        old_id = self._vault.root_ids[0]
        rewrapped = await self._vault.rotate_root(root)
        return RootRotationResult(old_root_id=old_id, new_root_id=root.root_id, rewrapped=rewrapped)

    async def revoke(self, key_id: str, *, reason: str, destroy: bool = False) -> int:
        """Revoke a generation, after rotating if it is the active one. Returns the number of its data keys."""
        if (await self._vault.generations())[-1].key_id == key_id:
            await self.rotate(reason=f"revocation: {reason}")
        ring = (await self._vault.sealer()).ring
        keys = await ring.revoke(key_id, reason=reason, destroy=destroy)
        kind = event_kinds.ENCRYPTION_KEY_DESTROYED if destroy else event_kinds.ENCRYPTION_KEY_REVOKED
        self._vault.emit(kind, Severity.HIGH, key_id=key_id, reason=reason, keys=keys)
        return keys

    async def shred(self, manufacturer: TenantRef, *, reason: str) -> ShredResult:
        """Destroy a manufacturer's keys."""
        owner = owner_of(manufacturer)
        if owner is None:
            raise TypeError("shred() requires a manufacturer")
        keys = await (await self._vault.sealer()).ring.shred(owner, reason)
        now = self._vault.clock.now()
        durable = self._vault.key_store is not None
        self._vault.emit(
            event_kinds.ENCRYPTION_KEYS_SHREDDED,
            Severity.HIGH,
            manufacturer_id=owner,
            keys=keys,
            durable=durable,
            reason=reason,
        )
        return ShredResult(manufacturer_id=owner, keys_destroyed=keys, durable=durable, shredded_at=now)

    async def reencrypt_all(
        self,
        sources: RecordSource | Sequence[RecordSource],
        *,
        batch_size: int,
        records_per_second: float | None = None,
        progress: Progress | None = None,
    ) -> list[ReencryptionReport]:
        """Re-encrypt all records of the sources under the newest keys, one source after another."""
        return [
            await Reencryption(
                self._vault,
                source,
                batch_size=batch_size,
                records_per_second=records_per_second,
                progress=progress,
            ).run()
            for source in (sources if isinstance(sources, Sequence) else [sources])
        ]

    async def emergency_rotation(
        self,
        sources: Sequence[RecordSource],
        *,
        reason: str,
        key_id: str | None,
        batch_size: int,
        settle: float,
        destroy: bool,
        progress: Progress | None,
    ) -> EmergencyReport:
        """Rotate, re-encrypt everything, revoke the compromised generation, and re-encrypt late writes."""
        keys = await self.list_keys()
        compromised = next((key for key in keys if key.key_id == key_id), None) if key_id else keys[0]
        if compromised is None:
            raise KeyUnavailableError(f"Unknown data key generation {key_id!r}.", code="UNKNOWN_KEY")
        rotation = None
        if compromised is keys[0]:
            rotation = await self.rotate(reason=f"emergency: {reason}")
        if settle > 0 and self._vault.key_store is not None:
            await asyncio.sleep(settle)
        reports = await self.reencrypt_all(sources, batch_size=batch_size, progress=progress)
        if all(map(_is_complete, reports)):
            await self.revoke(compromised.key_id, reason=reason)
            reports = _combine(reports, await self.reencrypt_all(sources, batch_size=batch_size, progress=progress))
        complete = all(map(_is_complete, reports))
        if complete and destroy:
            await self.revoke(compromised.key_id, reason=reason, destroy=True)
        status = next(key.status for key in await self.list_keys() if key.key_id == compromised.key_id)
        return EmergencyReport(
            key_id=compromised.key_id,
            rotation=rotation,
            reencryptions=reports,
            revoked=status != GenerationStatus.RETIRED,
            destroyed=status == GenerationStatus.DESTROYED,
            complete=complete,
        )


def _is_complete(report: ReencryptionReport) -> bool:
    """Whether no record of the source is under an old key."""
    return report.finished and not report.failed


def _combine(first: list[ReencryptionReport], last: list[ReencryptionReport]) -> list[ReencryptionReport]:
    """The result of the last run, with the counts of both."""
    return [
        msgspec.structs.replace(
            after,
            scanned=before.scanned + after.scanned,
            reencrypted=before.reencrypted + after.reencrypted,
            contended=before.contended + after.contended,
            started_at=before.started_at,
        )
        for before, after in zip(first, last, strict=True)
    ]
