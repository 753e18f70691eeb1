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
from gatewright.encryption.codec import serialise
from gatewright.encryption.compliance import ComplianceChecker
from gatewright.encryption.context import (
    LONGEST_CLASSIFICATION,
    LONGEST_FIELD,
    LONGEST_OWNER,
    canonical,
    foreign,
    owner_of,
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
from gatewright.storage.keys import KeyStore


class ManufacturerEncryptionManager:
    """Encrypts, decrypts, masks, rotates and destroys, with keys of each manufacturer's own.

    Args:
        encryption_key: the root: 32 bytes (raw, hex or base64), or a passphrase, which scrypt stretches; None
            makes one for the process. Or a :class:`~gatewright.encryption.root.KeyWrapper`, with a store.
        key_rotation_enabled: whether data keys rotate by themselves: by age, and before a key has sealed too many
            messages. Rotation manually always works.
        algorithm: of new envelopes: ``AES-256-GCM`` or ``ChaCha20-Poly1305``.
        store: where wrapped data keys live. Without a durable one, data keys are derived from the root.
        previous_keys: roots that may still open, newest first.
        legacy_fernet_keys: keys of payloads of version 1.0; the root is not one of them unless listed here too.
        compress: compress new envelopes; off, because lengths tell where an attacker writes part of the data.
        rotation_days: age at which data keys rotate, above 0.
        max_messages_per_key: messages under one data key, at most 2^32.
        cache_size: data keys in memory at most.
        secret_files: files and directories whose permissions the compliance report checks.
        require_fips: whether it counts a library without FIPS mode as a failure.
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
        """Load the root key and open the key ring. Calling twice is harmless.

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
        manufacturer_id: Any = None,
        classification: str | None = None,
        field: str | None = None,
    ) -> Envelope:
        """Encrypt any JSON-like data; dates, decimals, bytes and integers of any size keep their types.

        Args:
            data: what to encrypt.
            manufacturer_id: whose data it is (an id, or any object with ``manufacturer_id``); when missing, what
                ``data["manufacturer_id"]`` says, and no one's without that.
            classification: a word for the data as a whole, kept in the metadata; up to 100 characters.
            field: the path of the field that the envelope belongs to; decryption may insist on it.

        Returns:
            ``{"encrypted_payload": ..., "encryption_metadata": {...}}``, JSON-safe.

        Raises:
            ValidationError: the data holds a type that has no serialized form.
            KeyUnavailableError: the manufacturer's keys were shredded, or the key store's root is not at hand.
        """
        sealer = self.vault.opened
        if sealer is not None and type(manufacturer_id) is str and manufacturer_id and not (classification or field):
            envelope = sealer.try_seal(data, manufacturer_id)
            if envelope is not None:
                return envelope
        if manufacturer_id is None and type(data) is dict:
            manufacturer_id = data.get("manufacturer_id")
            if type(manufacturer_id) is not str or not 0 < len(manufacturer_id) <= LONGEST_OWNER:
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
        manufacturer_id: Any = None,
        authorized_context: Any = None,
        field: str | None = None,
        minimum_key_version: int = 0,
    ) -> Any:
        """The data of an envelope.

        Args:
            encrypted: what :meth:`encrypt_manufacturer_data` gave, or an envelope of version 1.0.
            manufacturer_id: who asks: an id, or any object with ``manufacturer_id``.
            authorized_context: the same, under the name that older callers use.
            field: the field that the envelope must belong to; version 1.0 envelopes belong to none.
            minimum_key_version: the oldest key version that is taken (version 1.0 counts as 0).

        Raises:
            InsufficientPermissionsError: the envelope is genuine, and another manufacturer's.
            DecryptionError: for every other reason, and it says no more than that.
        """
        sealer = self.vault.opened
        if sealer is not None and authorized_context is None and field is None and not minimum_key_version:
            data = sealer.open_now(encrypted, manufacturer_id)
            if data is not NOT_READY:
                return data
        opened = await self.vault.decrypt(encrypted)
        if opened.owner is not None or not opened.legacy:
            self._refuse_foreign(manufacturer_id, opened.owner)
            self._refuse_foreign(authorized_context, opened.owner)
        if field is not None and (opened.legacy or opened.metadata.get("field") != field):
            raise decryption_failed()  # version 1.0 has no fields: what its metadata says of one, anyone can write
        if minimum_key_version and (opened.legacy or opened.metadata["key_version"] < minimum_key_version):
            raise decryption_failed()
        return opened.data

    async def encrypt_stream(
        self,
        source: AsyncIterable[bytes],
        *,
        manufacturer_id: Any = None,
        classification: str | None = None,
        field: str | None = None,
    ) -> AsyncIterator[bytes]:
        """Encrypt bytes of any length, piece by piece, with the memory of one chunk (128 KiB).

        Args:
            source: the bytes, in pieces of any size.
            manufacturer_id: whose they are; ``classification`` and ``field`` as for records.

        Yields:
            What to write, in order.
        """
        _check_labels(classification, field)
        sealer = await self.vault.sealer()
        metadata, subkey = await sealer.stream_key(owner_of(manufacturer_id), classification, field)
        head, aad = stream_head(metadata, subkey)
        yield head
        async for chunk in seal_chunks(source, subkey, aad):
            yield chunk

    async def decrypt_stream(
        self, source: AsyncIterable[bytes], *, manufacturer_id: Any = None, field: str | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes of :meth:`encrypt_stream`. Each piece is genuine when it is yielded; that nothing is missing
        is known only when the iteration ends without an error.

        Raises:
            InsufficientPermissionsError: the stream begins with another manufacturer's metadata.
            DecryptionError: a changed, moved, missing or added byte.
        """
        pieces = aiter(source)
        metadata, header, rest = await read_head(pieces)
        sealer = await self.vault.sealer()
        subkey = await sealer.stream_opener(metadata, header)
        opened = open_chunks(_with(rest, pieces), subkey, canonical(metadata))
        async for chunk in opened:
            self._refuse_foreign(manufacturer_id, metadata.get("manufacturer_id"))
            if field is not None and metadata.get("field") != field:
                raise decryption_failed()
            yield chunk

    async def blind_index(self, manufacturer_id: Any, field: str, value: Any) -> str:
        """A keyed hash by which encrypted values can be found: equal values of a field have equal hashes.

        Without the key it does not reveal the value, but it does reveal which records of a manufacturer have
        the same one. It stays as it is when data keys rotate, and is of no use after ``shred``. Text is
        normalized (NFC); fold its case before where case does not matter.

        Returns:
            64 hexadecimal digits.
        """
        owner = owner_of(manufacturer_id)
        sealer = await self.vault.sealer()
        key = derive_key(await sealer.ring.index_key(owner or ""), "gatewright blind index", field)
        plain = unicodedata.normalize("NFC", value) if isinstance(value, str) else value
        return hmac.digest(key, serialise(plain), "sha256").hex()

    def mask(self, data: Any) -> Any:
        """A copy of ``data`` with everything sensitive masked, for logs and pages; see
        :func:`~gatewright.encryption.masking.mask`."""
        return masking.mask(data)

    async def export_manufacturer_data(
        self, manufacturer: Any, sources: Sequence[RecordSource], *, batch_size: int = 200
    ) -> AsyncIterator[ExportedRecord]:
        """All data of a manufacturer in plaintext, record by record: the answer to a data subject's request.

        Records that do not open are named with ``readable=False``, so that an export never hides a gap.
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
                        yield await self._exported(source.name, record.record_id, record.envelope, metadata)
        self.vault.emit(event_kinds.ENCRYPTION_DATA_EXPORTED, Severity.NOTICE, manufacturer_id=owner, records=count)

    async def validate_encryption_compliance(self) -> ComplianceReport:
        """Check algorithms, keys, counts, files and the cryptographic library; each finding has its remedy."""
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
        """Use data keys of a new, higher version from now on; what was sealed before still opens.

        Args:
            reason: why, for the event.
        """
        return await self.keys.rotate(reason=reason)

    async def rotate_if_due(self) -> KeyRotationResult | None:
        """Rotate if rotation is enabled and the newest keys are older than ``rotation_days``; call it now and then."""
        return await self.keys.rotate_if_due()

    async def rotate_root_key(self, new: RootKeyInput) -> RootRotationResult:
        """Replace the root key. Data keys are wrapped again, envelopes stay as they are.

        May be called again after a fault: what was done already is skipped, and nothing is lost on the way.
        Without a key store there is nothing to wrap: new data keys come from the new root, and those of the old
        one open in this process, and later where it is given among ``previous_keys``.

        Raises:
            KeyUnavailableError: the new key is too short, or a data key is under a root that is not at hand.
        """
        return await self.keys.rotate_root(new)

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
        return await self.keys.revoke(key_id, reason=reason, destroy=destroy)

    async def shred(self, manufacturer: Any, *, reason: str = "requested") -> ShredResult:
        """Destroy a manufacturer's keys, so that its data can be read nowhere: crypto-shredding.

        For good: nothing is encrypted for that manufacturer afterwards either. In a backup the data stays
        readable as far as the key store is in it (``docs/key-management.md``).
        """
        return await self.keys.shred(manufacturer, reason=reason)

    async def is_shredded(self, manufacturer: Any) -> bool:
        """Whether a manufacturer's keys were destroyed permanently."""
        owner = owner_of(manufacturer)
        return owner is not None and await self.vault.is_shredded(owner)

    async def reencrypt_manufacturer_data(self, encrypted: Envelope) -> Envelope:
        """The same data under the newest key; what the envelope says of owner, classification and field stays.

        Version 1.0 authenticates no labels, so they are dropped: seal the value again to bind it to a field.

        Raises:
            DecryptionError: it does not open.
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
        """Bring all records of the sources under the newest keys, while reads and writes continue.

        Run it as a task. It may be ended at any moment and called again: with a key store it continues where it
        was. Writes are compare-and-set, so what someone else wrote meanwhile is never lost.

        Args:
            sources: where records are.
            batch_size: records in a page, 1 to 10,000.
            records_per_second: the most that are read in a second; None for no limit.
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
        return await self.keys.emergency_rotation(
            sources,
            reason=reason,
            key_id=key_id,
            batch_size=batch_size,
            settle=settle,
            destroy=destroy,
            progress=progress,
        )

    def _refuse_foreign(self, asking: Any, owner: str | None) -> None:
        """Raise when a genuine envelope belongs to someone else than who asks."""
        wanted = owner_of(asking)
        if wanted is not None and wanted != owner:
            self.vault.emit(event_kinds.ENCRYPTION_DATA_REFUSED, Severity.WARNING, manufacturer_id=wanted)
            raise foreign(owner, wanted)

    async def _exported(
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


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _check_labels(classification: str | None, field: str | None) -> None:
    for name, value, longest in (
        ("classification", classification, LONGEST_CLASSIFICATION),
        ("field", field, LONGEST_FIELD),
    ):
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= longest):
            message = f"{name} must be a text of 1 to {longest} characters."
            error = FieldError(field=name, error_type="INVALID_LABEL", message=message)
            raise ValidationError(message, errors=[error])
