"""Envelopes of records (format 2) and of streams, and legacy payloads of version 1.0.

A record's payload is ``header (51) ‖ body`` with the header ``format ‖ algorithm ‖ flags ‖ salt (16) ‖
commitment (32)``. Key and commitment come from one HKDF-Expand over data key, algorithm, flags and salt, so a payload
can be opened under one data key only. Each process uses its own salt per data key, and seals at most
``MESSAGES_PER_SUBKEY`` messages under it with random nonces. Payloads of more than one chunk have their own salt, and
follow STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, 2015).

A stream is ``"GWS2" ‖ length of the metadata (4 bytes, big-endian) ‖ metadata (canonical JSON) ‖ header (51) ‖
chunks``. Each chunk is 128 KiB of ciphertext with its tag, and the last one is shorter. The construction is STREAM.

The metadata of a version 1.0 envelope is not authenticated. Only the content of its Fernet token counts. See
``docs/encryption-format.md`` for the whole format.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from gatewright.encryption.codec import from_base64, to_base64
from gatewright.encryption.context import canonical
from gatewright.encryption.secretbox import KEY_BYTES, decryption_failed, expand_key_and_commitment
from gatewright.errors import ConfigurationError

ALGORITHM = "Fernet"


class LegacyReader:
    """Opens payloads of version 1.0.

    Args:
        keys: Fernet keys (44 characters of URL-safe base64), the most likely one first.

    Raises:
        ConfigurationError: a key is not a Fernet key.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
        except ValueError:
            raise ConfigurationError(
                "A legacy Fernet key is malformed: it must be 32 bytes in URL-safe base64 (44 characters).",
                recommended_action="Correct GATEWRIGHT_LEGACY_FERNET_KEYS.",
            ) from None
        self._fernet = MultiFernet(fernets) if fernets else None

    def open(self, payload: str) -> Any:
        """Decrypt a payload to its JSON value. Raises DecryptionError if no key matches."""
        if self._fernet is None:
            raise decryption_failed()
        try:
            return json.loads(self._fernet.decrypt(from_base64(payload)))
        except (InvalidToken, ValueError, RecursionError):
            raise decryption_failed() from None


FORMAT = 2
CHUNKED, COMPRESSED = 1, 2
"""Flags."""

SALT_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
HEADER_BYTES = 3 + SALT_BYTES + KEY_BYTES
PREFIX_CHARACTERS = HEADER_BYTES // 3 * 4
"""The header is a multiple of three bytes, so its base64 is a prefix of the payload."""

CHUNK_BYTES = 128 * 1024
"""Plaintext bytes in a chunk. With its tag a chunk is a multiple of three, so base64 chunks can be concatenated."""
_CHUNK_CHARACTERS = (CHUNK_BYTES + TAG_BYTES) // 3 * 4

MESSAGES_PER_SUBKEY = 2**20
"""With random 96-bit nonces, the probability of a repeated nonce under a subkey stays below 2^-57."""

_LABEL = "gatewright envelope 2"


class Algorithm(StrEnum):
    """The ciphers that envelopes may use."""

    AES_256_GCM = "AES-256-GCM"
    CHACHA20_POLY1305 = "ChaCha20-Poly1305"


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


_CODES = {Algorithm.AES_256_GCM: 1, Algorithm.CHACHA20_POLY1305: 2}
_CIPHERS: dict[int, type[AESGCM] | type[ChaCha20Poly1305]] = {1: AESGCM, 2: ChaCha20Poly1305}
_FLAGS = frozenset(range(4))


class Stamp:
    """The metadata of the last message under a subkey, with its inputs."""

    __slots__ = ("aad", "labels", "metadata", "scan", "second")

    def __init__(
        self, second: int, scan: object, labels: tuple[str | None, str | None], metadata: dict[str, Any], aad: bytes
    ) -> None:
        self.second = second
        self.scan = scan
        self.labels = labels
        self.metadata = metadata
        self.aad = aad


class Subkey:
    """Seals and opens the payloads of one header.

    ``remaining`` is the number of messages that it may still seal: 0 if it only opens.
    """

    __slots__ = ("decrypt", "encrypt", "flags", "header", "prefix", "remaining", "stamp")

    def __init__(self, aead: _Aead, header: bytes, *, remaining: int = 0) -> None:
        self.header = header
        self.prefix = to_base64(header)
        self.flags = header[2]
        self.remaining = remaining
        self.stamp: Stamp | None = None
        self.encrypt = aead.encrypt
        self.decrypt = aead.decrypt

    def seal(self, plaintext: bytes, aad: bytes) -> str:
        """Seal one message. ``aad`` is the canonical metadata."""
        nonce = os.urandom(NONCE_BYTES)
        return self.prefix + to_base64(nonce + self.encrypt(nonce, plaintext, aad))

    def open(self, payload: str, aad: bytes) -> bytes:
        """Open a payload of this header.

        Raises:
            DecryptionError: the payload or metadata was changed, or the base64 is not canonical.
        """
        if self.flags & CHUNKED:
            return b"".join(self._open_chunks(payload, aad))
        body = from_base64(payload[PREFIX_CHARACTERS:])
        try:
            return self.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], aad)
        except (InvalidTag, ValueError):
            raise decryption_failed() from None

    def seal_chunks(self, plaintext: bytes, aad: bytes) -> str:
        """Seal a large message chunk by chunk."""
        parts = [self.prefix]
        view, end = memoryview(plaintext), max(1, len(plaintext))
        for index, start in enumerate(range(0, end, CHUNK_BYTES)):
            last = start + CHUNK_BYTES >= end
            parts.append(to_base64(self.seal_chunk(index, last, view[start : start + CHUNK_BYTES], aad)))
        return "".join(parts)

    def seal_chunk(self, index: int, last: bool, plaintext: bytes | memoryview, aad: bytes) -> bytes:
        """Seal the chunk with number ``index`` (from 0)."""
        return self.encrypt(chunk_nonce(index, last), bytes(plaintext), aad)

    def open_chunk(self, index: int, last: bool, ciphertext: bytes, aad: bytes) -> bytes:
        """Open a chunk. Raises DecryptionError if it is another chunk, or was changed."""
        try:
            return self.decrypt(chunk_nonce(index, last), ciphertext, aad)
        except (InvalidTag, ValueError):
            raise decryption_failed() from None

    def _open_chunks(self, payload: str, aad: bytes) -> Iterator[bytes]:
        end = len(payload)
        for index, start in enumerate(range(PREFIX_CHARACTERS, max(end, PREFIX_CHARACTERS + 1), _CHUNK_CHARACTERS)):
            last = start + _CHUNK_CHARACTERS >= end
            ciphertext = from_base64(payload[start : start + _CHUNK_CHARACTERS])
            yield self.open_chunk(index, last, ciphertext, aad)

    def __repr__(self) -> str:
        return "Subkey()"

    def __reduce__(self) -> str:
        raise TypeError("Keys cannot be pickled: the pickle would contain them in plaintext.")


def new_subkey(secret: bytes, algorithm: Algorithm, flags: int, *, remaining: int) -> Subkey:
    """Create a subkey with a new salt, to seal with."""
    return _subkey(secret, _CODES[algorithm], flags, os.urandom(SALT_BYTES), remaining)


def known_subkey(secret: bytes, algorithm: str, prefix: str) -> Subkey:
    """The subkey of the payloads with this prefix.

    Raises:
        DecryptionError: the prefix has another format or algorithm, or belongs to another data key.
    """
    header = from_base64(prefix)
    if len(header) != HEADER_BYTES or header[0] != FORMAT or header[2] not in _FLAGS:
        raise decryption_failed()
    if algorithm not in set(Algorithm) or _CODES[Algorithm(algorithm)] != header[1]:
        raise decryption_failed()
    subkey = _subkey(secret, header[1], header[2], header[3 : 3 + SALT_BYTES], 0)
    if not hmac.compare_digest(subkey.header, header):
        raise decryption_failed()
    return subkey


def _subkey(secret: bytes, code: int, flags: int, salt: bytes, remaining: int) -> Subkey:
    intro = bytes((FORMAT, code, flags))
    key, commitment = expand_key_and_commitment(secret, _LABEL, intro, salt)
    return Subkey(_CIPHERS[code](key), intro + salt + commitment, remaining=remaining)


def chunk_nonce(index: int, last: bool) -> bytes:
    """Seven zero bytes, the chunk number, and a flag for the last chunk."""
    return bytes(7) + index.to_bytes(4, "big") + bytes((last,))


MAGIC = b"GWS2"
MAX_METADATA_BYTES = 65_536

_SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def stream_head(metadata: dict[str, Any], subkey: Subkey) -> tuple[bytes, bytes]:
    """The beginning of a stream, and the AAD of its chunks."""
    aad = canonical(metadata)
    return b"".join((MAGIC, len(aad).to_bytes(4, "big"), aad, subkey.header)), aad


async def seal_chunks(source: AsyncIterable[bytes], subkey: Subkey, aad: bytes) -> AsyncIterator[bytes]:
    """Seal a source, in blocks of any size, as chunks."""
    index = 0
    async for chunk, last in _chunks(source, CHUNK_BYTES):
        yield subkey.seal_chunk(index, last, chunk, aad)
        index += 1


async def open_chunks(source: AsyncIterable[bytes], subkey: Subkey, aad: bytes) -> AsyncIterator[bytes]:
    """Open sealed chunks. Each chunk is verified before it is yielded, and so is the end of the stream."""
    index = 0
    async for chunk, last in _chunks(source, _SEALED_CHUNK):
        yield subkey.open_chunk(index, last, chunk, aad)
        index += 1


async def read_head(source: AsyncIterator[bytes]) -> tuple[dict[str, Any], bytes, bytes]:
    """Read the metadata and header of a stream. Also returns any bytes read after them.

    Raises:
        DecryptionError: the source does not begin with a valid stream head.
    """
    read = b""
    end = 8
    while len(read) < end:
        try:
            read += await anext(source)
        except StopAsyncIteration:
            raise decryption_failed() from None
        if len(read) >= 8:
            length = int.from_bytes(read[4:8], "big")
            if read[:4] != MAGIC or length > MAX_METADATA_BYTES:
                raise decryption_failed()
            end = 8 + length + HEADER_BYTES
    text, header, rest = read[8 : end - HEADER_BYTES], read[end - HEADER_BYTES : end], read[end:]
    try:
        metadata = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        raise decryption_failed() from None
    if not isinstance(metadata, dict) or canonical(metadata) != text:
        raise decryption_failed()
    return metadata, header, rest


async def _chunks(source: AsyncIterable[bytes], size: int) -> AsyncIterator[tuple[bytes, bool]]:
    """Chunks of ``size`` bytes, each with a flag for the last one, which may be shorter or empty."""
    buffer = bytearray()
    async for block in source:
        buffer += block
        while len(buffer) > size:
            yield bytes(buffer[:size]), False
            del buffer[:size]
    yield bytes(buffer), True
