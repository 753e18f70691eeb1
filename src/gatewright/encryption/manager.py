"""ManufacturerEncryptionManager: the public face of encryption at rest."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.encryption import masking
from gatewright.encryption.codec import serialize
from gatewright.encryption.compliance import ComplianceChecker
from gatewright.encryption.context import (
    MAX_CLASSIFICATION_LENGTH,
    MAX_FIELD_LENGTH,
    MAX_OWNER_LENGTH,
    canonical,
    owner_of,
    wrong_owner,
)
from gatewright.encryption.envelope import Algorithm, open_chunks, read_head, seal_chunks, stream_head
from gatewright.encryption.key_lifecycle import SETTLE_SECONDS, KeyLifecycle
from gatewright.encryption.records import (
    ComplianceReport,
    EmergencyReport,
    Envelope,
    ExportedRecord,
    KeyInfo,
    KeyRotationResult,
    ReencryptionReport,
    RootRotationResult,
    ShredResult,
)
from gatewright.encryption.reencryption import RecordSource
from gatewright.encryption.sealing import NOT_READY
from gatewright.encryption.secretbox import decryption_failed, derive_key
from gatewright.encryption.vault import MESSAGES_PER_KEY, KeyVault, RootKeyInput, VaultOptions
from gatewright.errors import DecryptionError, FieldError, ValidationError
from gatewright.events import EventSink, Severity
from gatewright.references import TenantRef
from gatewright.storage.keys import KeyStore


class ManufacturerEncryptionManager:
    """Encrypts and decrypts data with separate keys for each manufacturer, and manages these keys.

    Args:
        encryption_key: the root key: 32 bytes (raw, hex or base64), a passphrase, which is stretched with scrypt, or
            a :class:`~gatewright.encryption.root.KeyWrapper` together with a durable store. None generates a key for
            this process.
        key_rotation_enabled: rotate data keys automatically, by age and by number of messages. Manual rotation always
            works.
        algorithm: the cipher of new envelopes: ``AES-256-GCM`` or ``ChaCha20-Poly1305``.
        store: stores wrapped data keys. Without a durable store, data keys are derived from the root key.
        previous_keys: root keys that may still decrypt, newest first.
        legacy_fernet_keys: keys of version 1.0 payloads. The root key is not one of them unless listed here.
        compress: compress new envelopes. Leave it off if attackers can write part of the data, since the length then
            leaks the rest.
        rotation_days: the age at which data keys rotate, above 0.
        max_messages_per_key: the maximum number of messages under one data key, at most 2^32.
        cache_size: the maximum number of data keys in memory.
        secret_files: files and directories whose permissions the compliance report checks.
        require_fips: report a failure if the cryptographic library is not in FIPS mode.
        sink: receives events.
        clock: the source of time.
    """

    def __init__(
        self,
        encryption_key: RootKeyInput | None = None,
        key_rotation_enabled: bool = True,
        *,
        algorithm: str = Algorithm.AES_256_GCM.value,
        store: KeyStore | None = None,
        previous_keys: Sequence[RootKeyInput] = (),
        legacy_fernet_keys: Sequence[str | bytes] | str | bytes = (),
        compress: bool = False,
        rotation_days: float = 90.0,
        max_messages_per_key: int = MESSAGES_PER_KEY,
        cache_size: int = 10_000,
        secret_files: Sequence[Path] = (),
        require_fips: bool = False,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        legacy = [legacy_fernet_keys] if isinstance(legacy_fernet_keys, str | bytes) else list(legacy_fernet_keys)
        options = VaultOptions(
            algorithm=algorithm,
            rotation_enabled=key_rotation_enabled,
            rotation_days=rotation_days,
            max_messages_per_key=max_messages_per_key,
            compress=compress,
            cache_size=cache_size,
        )
        self.vault = KeyVault(
            [encryption_key, *previous_keys],
            options,
            store=store,
            legacy_fernet_keys=legacy,
            sink=sink,
            clock=clock,
        )
        self.keys = KeyLifecycle(self.vault)
        self._secret_files = tuple(secret_files)
        self._require_fips = require_fips

    def __repr__(self) -> str:
        return f"ManufacturerEncryptionManager(algorithm={self.vault.algorithm.value!r})"

    async def initialize(self) -> None:
        """Load the root key and open the key ring. Idempotent.

        Raises:
            KeyUnavailableError: the root key is too short, does not belong to the key store, or was rotated away.
        """
        await self.vault.open()

    async def close(self) -> None:
        """Drop the data keys from memory."""
        await self.vault.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- data ---------------------------------------------------------------------------------------------------

    async def encrypt_manufacturer_data(
        self,
        data: Any,
        *,
        manufacturer_id: TenantRef | None = None,
        classification: str | None = None,
        field: str | None = None,
    ) -> Envelope:
        """Encrypt any JSON-like data; dates, decimals, bytes and integers of any size keep their types.

        Args:
            data: the data to encrypt.
            manufacturer_id: the owner: an id, or any object with ``manufacturer_id``. Defaults to
                ``data["manufacturer_id"]``. Without either, the envelope belongs to no manufacturer.
            classification: a label for the data, stored in the metadata. At most 100 characters.
            field: the path of the field that the envelope is bound to. Decryption can require it.

        Returns:
            ``{"encrypted_payload": ..., "encryption_metadata": {...}}``, JSON-safe.

        Raises:
            ValidationError: the data contains a type that cannot be serialized.
            KeyUnavailableError: the manufacturer's keys were shredded, or the root key of the store is missing.
        """
        sealer = self.vault.opened
        if sealer is not None and type(manufacturer_id) is str and manufacturer_id and not (classification or field):
            envelope = sealer.try_seal(data, manufacturer_id)
            if envelope is not None:
                return envelope
        if manufacturer_id is None and type(data) is dict:
            manufacturer_id = data.get("manufacturer_id")
            if type(manufacturer_id) is not str or not 0 < len(manufacturer_id) <= MAX_OWNER_LENGTH:
                manufacturer_id = None
        owner = owner_of(manufacturer_id)
        if classification is not None or field is not None:
            _check_labels(classification, field)
        sealer = sealer or await self.vault.sealer()
        labels = (classification, field)
        envelope = sealer.try_seal(data, owner, labels)
        return envelope if envelope is not None else await sealer.seal(data, owner, labels)

    async def decrypt_manufacturer_data(
        self,
        encrypted: Envelope,
        *,
        manufacturer_id: TenantRef | None = None,
        authorized_context: TenantRef | None = None,
        field: str | None = None,
        minimum_key_version: int = 0,
    ) -> Any:
        """Decrypt an envelope.

        Args:
            encrypted: an envelope from :meth:`encrypt_manufacturer_data`, or of version 1.0.
            manufacturer_id: the caller: an id, or any object with ``manufacturer_id``.
            authorized_context: an older name of ``manufacturer_id``.
            field: the field that the envelope must be bound to. Version 1.0 envelopes are bound to none.
            minimum_key_version: the oldest accepted key version. Version 1.0 counts as 0.

        Raises:
            InsufficientPermissionsError: the envelope is authentic, but belongs to another manufacturer.
            DecryptionError: the envelope cannot be decrypted. The error does not reveal why.
        """
        sealer = self.vault.opened
        if sealer is not None and authorized_context is None and field is None and not minimum_key_version:
            data = sealer.try_open(encrypted, manufacturer_id)
            if data is not NOT_READY:
                return data
        opened = await self.vault.decrypt(encrypted)
        if opened.owner is not None or not opened.legacy:
            self._check_owner(manufacturer_id, opened.owner)
            self._check_owner(authorized_context, opened.owner)
        if field is not None and (opened.legacy or opened.metadata.get("field") != field):
            raise decryption_failed()  # the metadata of version 1.0 is not authenticated
        if minimum_key_version and (opened.legacy or opened.metadata["key_version"] < minimum_key_version):
            raise decryption_failed()
        return opened.data

    async def encrypt_stream(
        self,
        source: AsyncIterable[bytes],
        *,
        manufacturer_id: TenantRef | None = None,
        classification: str | None = None,
        field: str | None = None,
    ) -> AsyncIterator[bytes]:
        """Encrypt a stream of any length in chunks of 128 KiB.

        Args:
            source: the plaintext, in blocks of any size.
            manufacturer_id: the owner. ``classification`` and ``field`` are those of
                :meth:`encrypt_manufacturer_data`.

        Yields:
            The encrypted stream, in order.
        """
        _check_labels(classification, field)
        sealer = await self.vault.sealer()
        metadata, subkey = await sealer.stream_key(owner_of(manufacturer_id), classification, field)
        head, aad = stream_head(metadata, subkey)
        yield head
        async for chunk in seal_chunks(source, subkey, aad):
            yield chunk

    async def decrypt_stream(
        self, source: AsyncIterable[bytes], *, manufacturer_id: TenantRef | None = None, field: str | None = None
    ) -> AsyncIterator[bytes]:
        """Decrypt the output of :meth:`encrypt_stream`.

        Each block is authenticated before it is yielded. The stream is complete only if the iteration ends without
        an error.

        Raises:
            InsufficientPermissionsError: the stream belongs to another manufacturer.
            DecryptionError: a byte was changed, moved, removed or added.
        """
        blocks = aiter(source)
        metadata, header, rest = await read_head(blocks)
        sealer = await self.vault.sealer()
        subkey = await sealer.stream_opener(metadata, header)
        opened = open_chunks(_prepend(rest, blocks), subkey, canonical(metadata))
        async for chunk in opened:
            self._check_owner(manufacturer_id, metadata.get("manufacturer_id"))
            if field is not None and metadata.get("field") != field:
                raise decryption_failed()
            yield chunk

    async def blind_index(self, manufacturer_id: TenantRef | None, field: str, value: Any) -> str:
        """A keyed hash for equality searches on encrypted values: equal values of a field have equal hashes.

        The index does not reveal the value without the key, but it reveals which records of a manufacturer share a
        value. It survives key rotation, and is useless after :meth:`shred`. Text is normalized (NFC). Fold its case
        first for case-insensitive searches.

        Returns:
            64 hexadecimal digits.
        """
        owner = owner_of(manufacturer_id)
        sealer = await self.vault.sealer()
        key = derive_key(await sealer.ring.index_key(owner or ""), "gatewright blind index", field)
        plain = unicodedata.normalize("NFC", value) if isinstance(value, str) else value
        return hmac.digest(key, serialize(plain), "sha256").hex()

    def mask(self, data: Any) -> Any:
        """A copy of ``data`` with sensitive values masked, for logs and pages. See
        :func:`~gatewright.encryption.masking.mask`."""
        return masking.mask(data)

    async def export_manufacturer_data(
        self, manufacturer: TenantRef, sources: Sequence[RecordSource], *, batch_size: int = 200
    ) -> AsyncIterator[ExportedRecord]:
        """Export all data of a manufacturer in plaintext, record by record, as for a data subject request.

        Records that cannot be decrypted are included with ``readable=False``.
        """
        owner = owner_of(manufacturer)
        count = 0
        for source in sources:
            after: str | None = None
            while page := await source.page(after, batch_size):
                after = page[-1].record_id
                for record in page:
                    metadata = record.envelope.get("encryption_metadata") or {}
                    if metadata.get("manufacturer_id") == owner:
                        count += 1
                        yield await self._export_record(source.name, record.record_id, record.envelope, metadata)
        self.vault.emit(event_kinds.ENCRYPTION_DATA_EXPORTED, Severity.NOTICE, manufacturer_id=owner, records=count)

    async def validate_encryption_compliance(self) -> ComplianceReport:
        """Check algorithms, keys, message counts, files and the cryptographic library. Failed checks have a remedy."""
        report = await ComplianceChecker(
            self.vault, secret_files=self._secret_files, require_fips=self._require_fips
        ).run()
        for finding in report.findings:
            if finding.status == "failed":
                self.vault.emit(
                    event_kinds.ENCRYPTION_COMPLIANCE_FAILED,
                    Severity(finding.severity),
                    check=finding.check,
                    detail=finding.detail,
                )
        return report

    # --- keys ---------------------------------------------------------------------------------------------------

    async def list_keys(self) -> list[KeyInfo]:
        """The generations of data keys, newest first."""
        return await self.keys.list_keys()

    async def rotate_encryption_key(self, *, reason: str = "requested") -> KeyRotationResult:
        """Start a new generation of data keys. Existing envelopes can still be decrypted.

        Args:
            reason: the reason, for the event.
        """
        return await self.keys.rotate(reason=reason)

    async def rotate_if_due(self) -> KeyRotationResult | None:
        """Rotate if rotation is enabled and the newest keys are older than ``rotation_days``. Call it periodically."""
        return await self.keys.rotate_if_due()

    async def rotate_root_key(self, new: RootKeyInput) -> RootRotationResult:
        """Replace the root key. Data keys are rewrapped, and envelopes do not change.

        Call it again after a failure: finished work is skipped. Without a key store, new data keys are derived from
        the new root key, and later processes need the old one in ``previous_keys`` to decrypt existing envelopes.

        Raises:
            KeyUnavailableError: the new key is too short, or the root key of a stored data key is missing.
        """
        return await self.keys.rotate_root(new)

    async def revoke_key(self, key_id: str, *, reason: str, destroy: bool = False) -> int:
        """Revoke a compromised generation of data keys. It can then be used for re-encryption only.

        Args:
            key_id: the id in an envelope's metadata. If the generation is active, a new one is started first.
            reason: the reason, for the event and the list of keys.
            destroy: also delete the data keys. Data that is still encrypted under them is lost permanently.

        Returns:
            The number of data keys in the generation.

        Raises:
            KeyUnavailableError: the generation does not exist.
        """
        return await self.keys.revoke(key_id, reason=reason, destroy=destroy)

    async def shred(self, manufacturer: TenantRef, *, reason: str = "requested") -> ShredResult:
        """Destroy a manufacturer's keys permanently, so that its data cannot be decrypted (crypto-shredding).

        No data can be encrypted for that manufacturer afterwards. Backups that include the key store stay readable;
        see ``docs/key-management.md``.
        """
        return await self.keys.shred(manufacturer, reason=reason)

    async def is_shredded(self, manufacturer: TenantRef) -> bool:
        """Whether a manufacturer's keys were destroyed permanently."""
        owner = owner_of(manufacturer)
        return owner is not None and await self.vault.is_shredded(owner)

    async def reencrypt_manufacturer_data(self, encrypted: Envelope) -> Envelope:
        """Encrypt the same data under the newest key. Owner, classification and field are preserved.

        The labels of version 1.0 envelopes are not authenticated, so they are dropped. Encrypt the value again to bind
        it to a field.

        Raises:
            DecryptionError: the envelope cannot be decrypted.
        """
        return await self.vault.reencrypt(encrypted)

    async def reencrypt_all(
        self,
        sources: RecordSource | Sequence[RecordSource],
        *,
        batch_size: int = 200,
        records_per_second: float | None = None,
        progress: Callable[[ReencryptionReport], None] | None = None,
    ) -> list[ReencryptionReport]:
        """Re-encrypt all records of the sources under the newest keys, while reads and writes continue.

        Run it as a task. It can be cancelled at any time: with a key store, the next call resumes where it stopped.
        Writes are compare-and-set, so concurrent changes are never lost.

        Args:
            sources: the sources of records.
            batch_size: records per page, 1 to 10,000.
            records_per_second: the maximum read rate. None means no limit.
            progress: called after each page.
        """
        return await self.keys.reencrypt_all(
            sources, batch_size=batch_size, records_per_second=records_per_second, progress=progress
        )

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
        """Respond to a compromised key: rotate, re-encrypt everything at full speed, then revoke the key.

        Call it again after a failure, with the ``key_id`` of the first call. Finished work is skipped.

        Args:
            sources: all sources of records. Records of a missing source stay under the revoked key.
            reason: the reason, for events and the list of keys.
            key_id: the compromised generation. Defaults to the active one.
            batch_size: records per page, 1 to 10,000.
            settle: seconds to wait until every process uses the new generation. Ignored without a key store.
            destroy: also delete the data keys of the generation, once no record is under it.
            progress: called after each page.

        Returns:
            The report. The generation is revoked only if no record is left under it.

        Raises:
            KeyUnavailableError: the generation does not exist (``UNKNOWN_KEY``).
        """
        return await self.keys.emergency_rotation(
            sources,
            reason=reason,
            key_id=key_id,
            batch_size=batch_size,
            settle=settle,
            destroy=destroy,
            progress=progress,
        )

    def _check_owner(self, caller: TenantRef | None, owner: str | None) -> None:
        """Raise InsufficientPermissionsError if the data does not belong to the caller."""
        caller_id = owner_of(caller)
        if caller_id is not None and caller_id != owner:
            self.vault.emit(event_kinds.ENCRYPTION_DATA_REFUSED, Severity.WARNING, manufacturer_id=caller_id)
            raise wrong_owner(owner, caller_id)

    async def _export_record(
        self, source: str, record_id: str, envelope: Envelope, metadata: dict[str, Any]
    ) -> ExportedRecord:
        try:
            data, readable = (await self.vault.decrypt(envelope)).data, True
        except DecryptionError:
            data, readable = None, False
        return ExportedRecord(
            source=source,
            record_id=record_id,
            field=metadata.get("field"),
            classification=metadata.get("classification"),
            encrypted_at=metadata.get("encrypted_at"),
            readable=readable,
            data=data,
        )


async def _prepend(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block


def _check_labels(classification: str | None, field: str | None) -> None:
    for name, value, limit in (
        ("classification", classification, MAX_CLASSIFICATION_LENGTH),
        ("field", field, MAX_FIELD_LENGTH),
    ):
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= limit):
            message = f"{name} must be text of 1 to {limit} characters."
            error = FieldError(field=name, error_type="INVALID_LABEL", message=message)
            raise ValidationError(message, errors=[error])
