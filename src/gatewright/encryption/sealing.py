"""Sealing and opening of envelopes with the keys of a ring."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from os import urandom
from time import perf_counter, time
from typing import Any

from cryptography.exceptions import InvalidTag
from msgspec import MsgspecError

from gatewright.clock import Clock, SystemClock
from gatewright.encryption import context as envelope_metadata
from gatewright.encryption.codec import (
    decode_plain,
    deserialize,
    encode_plain,
    from_base64,
    serialize_scanned,
    to_base64,
)
from gatewright.encryption.context import canonical_json
from gatewright.encryption.data_key import DataKey, KeyRing
from gatewright.encryption.envelope import (
    CHUNK_BYTES,
    CHUNKED,
    COMPRESSED,
    NONCE_BYTES,
    PREFIX_CHARACTERS,
    Algorithm,
    Stamp,
    Subkey,
    new_subkey,
)
from gatewright.encryption.field_scan import FieldScan, scan_fields
from gatewright.encryption.records import Envelope
from gatewright.encryption.secretbox import decryption_failed
from gatewright.errors import EncryptionError, ValidationError
from gatewright.performance import Stopwatch, performance_monitor, stopwatches

BUDGET = 0.1
"""Seconds that encryption or decryption of a typical record may take."""

_ENCRYPTION = "ManufacturerEncryptionManager.encrypt_manufacturer_data"
_DECRYPTION = "ManufacturerEncryptionManager.decrypt_manufacturer_data"

THREAD_BYTES = 256 * 1024
"""Payloads of this size or more are processed in a thread, to keep the event loop free."""

MAX_PLAINTEXT_BYTES = 256 * 2**20
"""The maximum size of a serialized record. Larger data needs a stream."""

_MAX_PAYLOAD_LENGTH = MAX_PLAINTEXT_BYTES // 3 * 4 + 2**20

REFUSALS = (InvalidTag, MsgspecError, ValueError, TypeError, ArithmeticError, RecursionError)
"""The exceptions that a damaged envelope can cause."""

_FOLD_AT = 512


Labels = tuple[str | None, str | None]
"""Classification and field."""

NOT_READY: Any = object()
"""Returned by calls that do not wait, if waiting is necessary."""


class Decrypted:
    """The content of an envelope: data, owner and metadata."""

    __slots__ = ("data", "metadata", "owner")

    def __init__(self, data: Any, owner: str | None, metadata: dict[str, Any]) -> None:
        self.data = data
        self.owner = owner
        self.metadata = metadata

    @property
    def legacy(self) -> bool:
        """Whether the envelope is of version 1.0, which does not authenticate metadata."""
        return self.metadata.get("version") != envelope_metadata.VERSION


class Sealer:
    """Seals and opens envelopes.

    Args:
        ring: the source of data keys.
        algorithm: the cipher of new envelopes.
        compress: compress new envelopes. Leave it off if an envelope mixes secrets with text that an attacker
            chooses: the length would leak the secret (CRIME).
        max_messages: the maximum number of messages under one data key.
        exhausted: called when a key has reached this number. Rotates, or raises EncryptionError.
    """

    def __init__(
        self,
        ring: KeyRing,
        *,
        algorithm: Algorithm,
        clock: Clock,
        compress: bool,
        max_messages: int,
        exhausted: Callable[[DataKey], Awaitable[None]],
    ) -> None:
        self.ring = ring
        self.algorithm = algorithm
        self.max_messages = max_messages
        self._exhausted = exhausted
        self._clock = clock
        self._flags = COMPRESSED if compress else 0
        self._newest, self._openers = ring.cache.newest, ring.cache.openers
        self._renewing = asyncio.Lock()
        self._timestamp = time if type(clock) is SystemClock else clock.timestamp
        self._second = -1
        self._second_text = ""

    # --- data to envelope ---------------------------------------------------------------------------------------

    def try_seal(self, data: Any, owner: str | None, labels: Labels = (None, None)) -> Envelope | None:
        """:meth:`seal` without waiting. Returns None if a key must be loaded, or the data is large.

        This is the hot path: metadata that is equal for all records of one shape in one second is cached with the key.
        """
        begin = perf_counter()
        key = self._newest.get(owner or "")
        subkey = key.plain if key is not None else None
        if key is None or subkey is None or subkey.remaining < 1:
            return None
        scan = scan_fields(data)
        try:
            plaintext = encode_plain(data) if scan.plain else serialize_scanned(data, False)
        except (OverflowError, UnicodeEncodeError):
            plaintext = serialize_scanned(data, True)
        if len(plaintext) >= CHUNK_BYTES:
            return None
        subkey.remaining -= 1
        now, stamp = self._timestamp(), subkey.stamp
        if stamp is None or stamp.scan is not scan or not 0 <= now - stamp.second < 1 or stamp.labels != labels:
            metadata = self._metadata(key, scan, owner, *labels)
            stamp = subkey.stamp = Stamp(int(now), scan, labels, metadata, envelope_metadata.canonical(metadata))
        metadata = stamp.metadata.copy()
        metadata["sensitive_fields"] = scan.fields[:]
        if scan.classes:
            metadata["sensitive_classes"] = scan.classes[:]
        nonce = urandom(NONCE_BYTES)
        payload = to_base64(b"".join((subkey.header, nonce, subkey.encrypt(nonce, plaintext, stamp.aad))))
        _record_time(_encryption_watch, perf_counter() - begin)
        return {"encrypted_payload": payload, "encryption_metadata": metadata}

    @performance_monitor(max_time=BUDGET, name=_ENCRYPTION)
    async def seal(self, data: Any, owner: str | None, labels: Labels = (None, None)) -> Envelope:
        """Encrypt ``data`` into an envelope."""
        key, subkey = await self._reserve(owner or "")
        subkey.remaining -= 1
        scan = scan_fields(data)
        metadata = self._metadata(key, scan, owner, *labels)
        aad = envelope_metadata.canonical(metadata)
        plaintext = serialize_scanned(data, scan.plain)
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValidationError(
                f"The data has {len(plaintext):,} bytes, more than {MAX_PLAINTEXT_BYTES:,}. Use encrypt_stream.",
                code="DATA_TOO_LARGE",
            )
        if len(plaintext) < CHUNK_BYTES and not self._flags:
            payload = subkey.seal(plaintext, aad)
        elif len(plaintext) < THREAD_BYTES:
            payload = self._seal_large(key, subkey, plaintext, aad)
        else:
            payload = await asyncio.to_thread(self._seal_large, key, subkey, plaintext, aad)
        return {"encrypted_payload": payload, "encryption_metadata": metadata}

    def _metadata(
        self, key: DataKey, scan: FieldScan, owner: str | None, classification: str | None, field: str | None
    ) -> dict[str, Any]:
        return envelope_metadata.build_metadata(
            algorithm=self.algorithm.value,
            key_id=key.key_id,
            key_version=key.version,
            encrypted_at=self._now(),
            sensitive_fields=scan.fields.copy(),
            sensitive_classes=scan.classes.copy(),
            manufacturer_id=owner,
            classification=classification,
            field=field,
        )

    def _seal_large(self, key: DataKey, subkey: Subkey, plaintext: bytes, aad: bytes) -> str:
        if self._flags & COMPRESSED:
            plaintext = zlib.compress(plaintext, 6)
        if len(plaintext) < CHUNK_BYTES:
            return subkey.seal(plaintext, aad)
        return new_subkey(key.secret, self.algorithm, self._flags | CHUNKED, remaining=0).seal_chunks(plaintext, aad)

    async def _reserve(self, owner: str) -> tuple[DataKey, Subkey]:
        """A key, and a subkey with messages reserved in the ring."""
        async with self._renewing:
            for _ in range(5):  # other processes rotate and reserve at the same time
                key = await self.ring.current(owner)
                subkey = key.sealers.get(self._flags)
                if subkey is not None and subkey.remaining > 0:
                    return key, subkey
                count = key.next_lease(self.max_messages)
                total = await self.ring.reserve(key, count)
                if 0 <= total <= self.max_messages:
                    return key, key.add_sealer(self.algorithm, self._flags, count)
                if total > self.max_messages:
                    await self._exhausted(key)
        raise EncryptionError("No usable data key could be created.", code="KEY_EXHAUSTED")

    def _now(self) -> str:
        second = int(self._clock.timestamp())
        if second != self._second:
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._second = second
        return self._second_text

    # --- envelope to data ---------------------------------------------------------------------------------------

    def try_open(self, encrypted: Envelope, caller: Any) -> Any:
        """Decrypt an envelope of ``caller`` (None: any owner) without waiting.

        Returns ``NOT_READY`` if a key must be loaded, the payload is large, or the envelope needs further checks. This
        is the hot path, hence inline.

        Raises:
            DecryptionError: the key is in memory, and the envelope cannot be decrypted.
        """
        begin = perf_counter()
        try:
            payload, metadata = encrypted["encrypted_payload"], encrypted["encryption_metadata"]
            key, subkey = self._openers[payload[:PREFIX_CHARACTERS]]
            owner = metadata.get("manufacturer_id", "")
            if metadata["key_id"] != key.key_id or owner != key.owner or subkey.flags or len(payload) >= THREAD_BYTES:
                return NOT_READY
        except (KeyError, TypeError, AttributeError):
            return NOT_READY
        if caller is not None and caller != owner:
            return NOT_READY
        body = from_base64(payload[PREFIX_CHARACTERS:])
        try:
            aad = canonical_json(metadata)
            data = decode_plain(subkey.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], aad))
        except REFUSALS:
            raise decryption_failed() from None
        _record_time(_decryption_watch, perf_counter() - begin)
        return data

    @performance_monitor(max_time=BUDGET, name=_DECRYPTION)
    async def open(self, payload: Any, metadata: Any, *, allow_revoked: bool = False) -> Decrypted:
        """Decrypt an envelope.

        Args:
            allow_revoked: also use revoked keys, for re-encryption.

        Raises:
            DecryptionError: the envelope cannot be decrypted.
        """
        try:
            key_id, owner = metadata["key_id"], metadata.get("manufacturer_id")
            prefix = payload[:PREFIX_CHARACTERS]
            cached = self._openers.get(prefix)
        except (KeyError, TypeError, AttributeError):
            raise decryption_failed() from None
        if cached is None or cached[0].key_id != key_id or cached[0].owner != (owner or "") or allow_revoked:
            cached = await self._opener(prefix, metadata, allow_revoked=allow_revoked)
        subkey = cached[1]
        aad = envelope_metadata.canonical(metadata)
        if len(payload) > _MAX_PAYLOAD_LENGTH:
            raise decryption_failed()
        if len(payload) < THREAD_BYTES:
            data = self._open(subkey, payload, aad)
        else:
            data = await asyncio.to_thread(self._open, subkey, payload, aad)
        return Decrypted(data, owner, metadata)

    def _open(self, subkey: Subkey, payload: str, aad: bytes) -> Any:
        plaintext = subkey.open(payload, aad)
        return deserialize(_decompressed(plaintext) if subkey.flags & COMPRESSED else plaintext)

    async def _opener(self, prefix: Any, metadata: Any, *, allow_revoked: bool) -> tuple[DataKey, Subkey]:
        key_id, version = metadata["key_id"], metadata.get("key_version")
        owner, algorithm = metadata.get("manufacturer_id", ""), metadata.get("algorithm")
        texts = (prefix, key_id, owner, algorithm)
        if type(version) is not int or not all(type(text) is str for text in texts):
            raise decryption_failed()
        epoch = self.ring.cache.epoch
        key = await self.ring.find(owner, key_id, version, allow_revoked=allow_revoked)
        subkey = key.opener(algorithm, prefix)
        if not allow_revoked and not subkey.flags & CHUNKED and epoch == self.ring.cache.epoch:
            self._openers.put(prefix, (key, subkey))
        return key, subkey

    # --- streams ------------------------------------------------------------------------------------------------

    async def stream_key(
        self, owner: str | None, classification: str | None, field: str | None
    ) -> tuple[dict[str, Any], Subkey]:
        """The metadata and the subkey of a new stream."""
        key, reserved = await self._reserve(owner or "")
        reserved.remaining -= 1
        metadata = self._metadata(key, FieldScan([], [], True), owner, classification, field)
        return metadata, new_subkey(key.secret, self.algorithm, CHUNKED, remaining=0)

    async def stream_opener(self, metadata: dict[str, Any], header: bytes) -> Subkey:
        """The subkey of an existing stream."""
        if metadata.get("version") != envelope_metadata.VERSION or "key_id" not in metadata or header[2:3] != b"\x01":
            raise decryption_failed()
        return (await self._opener(to_base64(header), metadata, allow_revoked=False))[1]


def _decompressed(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, MAX_PLAINTEXT_BYTES)
    except zlib.error:
        raise decryption_failed() from None
    if not inflater.eof or inflater.unused_data:
        raise decryption_failed()
    return plain


# The hot paths are timed inline: a decorator would add a tenth to their time.
_encryption_watch, _decryption_watch = (
    next(watch for watch in stopwatches() if watch.key == name) for name in (_ENCRYPTION, _DECRYPTION)
)


def _record_time(watch: Stopwatch, seconds: float) -> None:
    fresh = watch.fresh
    fresh.append(seconds)
    if seconds > BUDGET:
        watch.warn(seconds)
    if len(fresh) >= _FOLD_AT:
        watch.fold()
