"""ManufacturerEncryptionManager: how a manufacturer's data rests."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

from gatewright import event_kinds
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
from gatewright.encryption.key_lifecycle import KeyCalls
from gatewright.encryption.records import ComplianceReport, Envelope, ExportedRecord
from gatewright.encryption.reencryption import RecordSource
from gatewright.encryption.sealing import NOT_READY
from gatewright.encryption.secretbox import decryption_failed, derive_key
from gatewright.encryption.stream import open_chunks, read_head, seal_chunks, stream_head
from gatewright.errors import DecryptionError, FieldError, ValidationError
from gatewright.events import Severity


class ManufacturerEncryptionManager(KeyCalls):
    """Encrypts, decrypts, masks, rotates and destroys, with keys of each manufacturer's own.

    Args:
        encryption_key: the root: 32 bytes (raw, hex or base64), or a passphrase, which scrypt stretches; None
            makes one for the process. Or a :class:`~gatewright.encryption.root.KeyWrapper`, with a store.
        key_rotation_enabled: whether data keys rotate by themselves: by age, and before a key has sealed too many
            messages. Rotation by hand always works.
        algorithm: of new envelopes: ``AES-256-GCM`` or ``ChaCha20-Poly1305``.
        store: where wrapped data keys live. Without a durable one, data keys are derived from the root.
        previous_keys: roots that may still open, newest first.
        legacy_fernet_keys: keys of payloads of version 1.0; the root is none of them unless it is named here too.
        compress: compress new envelopes; off, because lengths tell where an attacker writes part of the data.
        rotation_days: age at which data keys rotate, above 0.
        max_messages_per_key: messages under one data key, at most 2^32.
        cache_size: data keys in memory at the most.
        secret_files: files and directories whose permissions the compliance report checks.
        secret_providers: providers that it asks whether they answer.
        require_fips: whether it counts a library without FIPS mode as a failure.
        events: where events go.
        clock: the time.
    """

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
                ``data["manufacturer_id"]`` says, and nobody's without that.
            classification: a word for the data as a whole, kept in the metadata; up to 100 characters.
            field: the path of the field that the envelope belongs to; decryption may insist on it.

        Returns:
            ``{"encrypted_payload": ..., "encryption_metadata": {...}}``, JSON-safe.

        Raises:
            ValidationError: the data holds a type that has no serialised form.
            KeyUnavailableError: the manufacturer's keys were shredded, or the key store's root is not at hand.
        """
        sealer = self._sealer
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
        sealer = sealer or await self.sealer()
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
        sealer = self._sealer
        if sealer is not None and authorized_context is None and field is None and not minimum_key_version:
            data = sealer.open_now(encrypted, manufacturer_id)
            if data is not NOT_READY:
                return data
        opened = await self._opened(encrypted)
        if opened.owner is not None or not opened.legacy:
            self._refuse_foreign(manufacturer_id, opened.owner)
            self._refuse_foreign(authorized_context, opened.owner)
        if field is not None and (opened.legacy or opened.metadata.get("field") != field):
            raise decryption_failed()  # version 1.0 has no fields: what its metadata says of one, anybody can write
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
        sealer = await self.sealer()
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
        sealer = await self.sealer()
        subkey = await sealer.stream_opener(metadata, header)
        opened = open_chunks(_with(rest, pieces), subkey, canonical(metadata))
        async for chunk in opened:
            self._refuse_foreign(manufacturer_id, metadata.get("manufacturer_id"))
            if field is not None and metadata.get("field") != field:
                raise decryption_failed()
            yield chunk

    async def blind_index(self, manufacturer_id: Any, field: str, value: Any) -> str:
        """A keyed hash by which encrypted values can be found: equal values of a field have equal hashes.

        It tells nobody without the key what the value is, but it does tell which records of a manufacturer have
        the same one. It stays as it is when data keys rotate, and is of no use after ``shred``. Text is
        normalised (NFC); fold its case before where case does not matter.

        Returns:
            64 hexadecimal digits.
        """
        owner = owner_of(manufacturer_id)
        sealer = await self.sealer()
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
        """All data of a manufacturer in clear, record by record: the answer to a data subject's request.

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
        self._tell(event_kinds.ENCRYPTION_DATA_EXPORTED, Severity.NOTICE, manufacturer_id=owner, records=count)

    async def validate_encryption_compliance(self) -> ComplianceReport:
        """Check algorithms, keys, counts, files and the cryptographic library; each finding has its remedy."""
        report = await ComplianceChecker(self).run()
        for finding in report.findings:
            if finding.status == "failed":
                self._tell(
                    event_kinds.ENCRYPTION_COMPLIANCE_FAILED,
                    Severity(finding.severity),
                    check=finding.check,
                    detail=finding.detail,
                )
        return report

    def _refuse_foreign(self, asking: Any, owner: str | None) -> None:
        """Raise when a genuine envelope belongs to someone else than who asks."""
        wanted = owner_of(asking)
        if wanted is not None and wanted != owner:
            self._tell(event_kinds.ENCRYPTION_DATA_REFUSED, Severity.WARNING, manufacturer_id=wanted)
            raise foreign(owner, wanted)

    async def _exported(
        self, source: str, record_id: str, envelope: Envelope, metadata: dict[str, Any]
    ) -> ExportedRecord:
        try:
            data, readable = (await self._opened(envelope)).data, True
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
