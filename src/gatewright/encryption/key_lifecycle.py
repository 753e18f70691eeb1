"""The key life cycle: rotation, revocation, shredding and re-encryption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gatewright import event_kinds
from gatewright.encryption.context import owner_of
from gatewright.encryption.records import (
    EmergencyReport,
    Envelope,
    KeyInfo,
    KeyRotationResult,
    ReencryptionReport,
    RootRotationResult,
    ShredResult,
)
from gatewright.encryption.reencryption import RecordSource, Reencryption
from gatewright.encryption.root import root_key
from gatewright.encryption.vault import Key, KeyVault
from gatewright.errors import KeyUnavailableError
from gatewright.events import Severity
from gatewright.storage.keys import GenerationStatus

SETTLE_SECONDS = 1.0
"""After so long every process has learned of a rotation: they look four times a second or more often."""


class KeyLifecycle:
    """What operators do with keys."""

    def __init__(self, vault: KeyVault) -> None:
        self.vault = vault

    async def list_keys(self) -> list[KeyInfo]:
        """The generations of data keys, newest first."""
        sealer = await self.vault.sealer()
        return [
            KeyInfo(
                key_id=generation.key_id,
                version=generation.version,
                status=generation.status,
                created_at=generation.created_at,
                retired_at=generation.retired_at,
                reason=generation.reason,
            )
            for generation in reversed(await sealer.ring.generations())
        ]

    async def rotate_encryption_key(self, *, reason: str = "requested") -> KeyRotationResult:
        """Use data keys of a new, higher version from now on; what was sealed before still opens.

        Args:
            reason: why, for the event.
        """
        old, new = await self.vault.rotate(reason)
        return KeyRotationResult(
            old_key_id=old.key_id,
            new_key_id=new.key_id,
            key_version=new.version,
            rotated_at=new.created_at,
            reason=reason,
        )

    async def rotate_if_due(self) -> KeyRotationResult | None:
        """Rotate if rotation is enabled and the newest keys are older than ``rotation_days``; call it now and then."""
        sealer = await self.vault.sealer()
        newest = (await sealer.ring.generations())[-1]
        if not self.vault.rotation_enabled or self.vault.clock.now() - newest.created_at < self.vault.rotation_age:
            return None
        return await self.rotate_encryption_key(reason="age")

    async def rotate_root_key(self, new: Key) -> RootRotationResult:
        """Replace the root key. Data keys are wrapped again, envelopes stay as they are.

        May be called again after a fault: what was done already is skipped, and nothing is lost on the way.
        Without a key store there is nothing to wrap: new data keys come from the new root, and those of the old
        one open in this process, and later where it is given among ``previous_keys``.

        Raises:
            KeyUnavailableError: the new key is too short, or a data key is under a root that is not at hand.
        """
        root = await asyncio.to_thread(root_key, new) if isinstance(new, str | bytes) else new
        await self.vault.open()
        old_id = self.vault.root_ids[0]
        rewrapped = await self.vault.rotate_root(root)
        return RootRotationResult(old_root_id=old_id, new_root_id=root.root_id, rewrapped=rewrapped)

    async def revoke_key(self, key_id: str, *, reason: str, destroy: bool = False) -> int:
        """Let a compromised generation open nothing any more, but for re-encryption.

        Args:
            key_id: as in an envelope's metadata. The active generation is rotated away first.
            reason: why, for the event and the list of keys.
            destroy: delete its data keys as well; what is still sealed under them is lost permanently.

        Returns:
            How many data keys the generation has (had).

        Raises:
            KeyUnavailableError: no generation has that id.
        """
        sealer = await self.vault.sealer()
        if (await sealer.ring.generations())[-1].key_id == key_id:
            await self.rotate_encryption_key(reason=f"revocation: {reason}")
        keys = await sealer.ring.revoke(key_id, reason=reason, destroy=destroy)
        kind = event_kinds.ENCRYPTION_KEY_DESTROYED if destroy else event_kinds.ENCRYPTION_KEY_REVOKED
        self.vault.emit(kind, Severity.HIGH, key_id=key_id, reason=reason, keys=keys)
        return keys

    async def shred(self, manufacturer: Any, *, reason: str = "requested") -> ShredResult:
        """Destroy a manufacturer's keys, so that its data can be read nowhere: crypto-shredding.

        For good: nothing is encrypted for that manufacturer afterwards either. In a backup the data stays
        readable as far as the key store is in it (``docs/key-management.md``).
        """
        owner = owner_of(manufacturer)
        if owner is None:
            raise TypeError("shred needs a manufacturer")
        sealer = await self.vault.sealer()
        keys = await sealer.ring.shred(owner, reason)
        now = self.vault.clock.now()
        durable = self.vault.key_store is not None
        self.vault.emit(
            event_kinds.ENCRYPTION_KEYS_SHREDDED,
            Severity.HIGH,
            manufacturer_id=owner,
            keys=keys,
            durable=durable,
            reason=reason,
        )
        return ShredResult(manufacturer_id=owner, keys_destroyed=keys, durable=durable, shredded_at=now)

    async def is_shredded(self, manufacturer: Any) -> bool:
        """Whether a manufacturer's keys were destroyed permanently."""
        owner = owner_of(manufacturer)
        return owner is not None and await (await self.vault.sealer()).ring.is_shredded(owner)

    # --- re-encryption ------------------------------------------------------------------------------------------

    async def reencrypt_manufacturer_data(self, encrypted: Envelope) -> Envelope:
        """The same data under the newest key; what the envelope says of owner, classification and field stays.

        Version 1.0 authenticates no labels, so they are dropped: seal the value again to bind it to a field.

        Raises:
            DecryptionError: it does not open.
        """
        sealer = await self.vault.sealer()
        opened = await self.vault.decrypt(encrypted, rescue=True)
        stated = {} if opened.legacy else opened.metadata
        labels = (stated.get("classification"), stated.get("field"))
        envelope = sealer.try_seal(opened.data, opened.owner, labels)
        return envelope if envelope is not None else await sealer.seal(opened.data, opened.owner, labels)

    async def reencrypt_all(
        self,
        sources: RecordSource | Sequence[RecordSource],
        *,
        batch_size: int = 200,
        records_per_second: float | None = None,
        progress: Callable[[ReencryptionReport], None] | None = None,
    ) -> list[ReencryptionReport]:
        """Bring all records of the sources under the newest keys, while reads and writes continue.

        Run it as a task. It may be ended at any moment and called again: with a key store it continues where it
        was. Writes are compare-and-set, so what someone else wrote meanwhile is never lost.

        Args:
            sources: where records are.
            batch_size: records in a page, 1 to 10,000.
            records_per_second: the most that are read in a second; None for no limit.
            progress: called after each page.
        """
        several = sources if isinstance(sources, Sequence) else [sources]
        return [
            await Reencryption(
                self,
                source,
                batch_size=batch_size,
                records_per_second=records_per_second,
                progress=progress,
            ).run()
            for source in several
        ]

    async def emergency_rotation(
        self,
        sources: Sequence[RecordSource],
        *,
        reason: str,
        key_id: str | None = None,
        batch_size: int = 200,
        settle: float = SETTLE_SECONDS,
        destroy: bool = False,
        progress: Callable[[ReencryptionReport], None] | None = None,
    ) -> EmergencyReport:
        """A key is compromised: rotate, re-encrypt everything at full speed, then revoke it, and look once more.

        May be called again after a fault, with the ``key_id`` of the first call: what is done is passed over.

        Args:
            sources: all sources of records; one that is missing keeps its records under the revoked key.
            reason: what happened.
            key_id: the compromised generation; the active one when missing.
            batch_size: records in a page, 1 to 10,000.
            settle: seconds to wait until every process has learned of the new generation, so that none writes
                under the old one behind our back; of no use, and not waited for, without a key store.
            destroy: delete the data keys of the generation as well, once nothing is left under it.
            progress: called after each page.

        Returns:
            The report. The generation is revoked only if no record was left under it.

        Raises:
            KeyUnavailableError: no generation has that id (``UNKNOWN_KEY``).
        """
        known = await self.list_keys()
        compromised = next((key for key in known if key.key_id == key_id), None) if key_id else known[0]
        if compromised is None:
            raise KeyUnavailableError(f"Unknown data key generation {key_id!r}.", code="UNKNOWN_KEY")
        rotation = None
        if compromised is known[0]:
            rotation = await self.rotate_encryption_key(reason=f"emergency: {reason}")
        if settle > 0 and self.vault.key_store is not None:
            await asyncio.sleep(settle)
        reports = await self.reencrypt_all(sources, batch_size=batch_size, progress=progress)
        if all(_whole(report) for report in reports):
            await self.revoke_key(compromised.key_id, reason=reason)
            reports = _summed(reports, await self.reencrypt_all(sources, batch_size=batch_size, progress=progress))
        complete = all(_whole(report) for report in reports)
        if complete and destroy:
            await self.revoke_key(compromised.key_id, reason=reason, destroy=True)
        status = next(key.status for key in await self.list_keys() if key.key_id == compromised.key_id)
        return EmergencyReport(
            key_id=compromised.key_id,
            rotation=rotation,
            reencryptions=reports,
            revoked=status != GenerationStatus.RETIRED,
            destroyed=status == GenerationStatus.DESTROYED,
            complete=complete,
        )


def _whole(report: ReencryptionReport) -> bool:
    """Whether nothing is left under old keys in that source."""
    return report.finished and not report.failed


def _summed(first: list[ReencryptionReport], last: list[ReencryptionReport]) -> list[ReencryptionReport]:
    """Two runs over the same sources as one: how the last ended, and what both did."""
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
