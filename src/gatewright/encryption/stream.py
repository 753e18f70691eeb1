"""Streams: files and other data of any length, encrypted in chunks with the memory of one chunk.

``"GWS2" ‖ length of the metadata (4 bytes, big-endian) ‖ metadata (canonical JSON) ‖ header (51) ‖ chunks``, each
chunk 128 KiB of ciphertext with its tag, the last one shorter; the construction is STREAM, as for large
payloads of envelopes.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec

from gatewright.encryption.context import canonical
from gatewright.encryption.envelope import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, Subkey
from gatewright.encryption.secretbox import decryption_failed

MAGIC = b"GWS2"
LARGEST_METADATA = 65_536

_SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def stream_head(metadata: dict[str, Any], subkey: Subkey) -> tuple[bytes, bytes]:
    """What a stream begins with, and the bytes that every chunk is bound to."""
    aad = canonical(metadata)
    return b"".join((MAGIC, len(aad).to_bytes(4, "big"), aad, subkey.header)), aad


async def seal_chunks(source: AsyncIterable[bytes], subkey: Subkey, aad: bytes) -> AsyncIterator[bytes]:
    """The sealed chunks of what ``source`` gives, whatever the size of its pieces."""
    index = 0
    async for chunk, last in _cut(source, CHUNK_BYTES):
        yield subkey.seal_chunk(index, last, chunk, aad)
        index += 1


async def open_chunks(source: AsyncIterable[bytes], subkey: Subkey, aad: bytes) -> AsyncIterator[bytes]:
    """The plaintext of sealed chunks, each verified before it is given out; the end as well, when it comes."""
    index = 0
    async for chunk, last in _cut(source, _SEALED_CHUNK):
        yield subkey.open_chunk(index, last, chunk, aad)
        index += 1


async def read_head(source: AsyncIterator[bytes]) -> tuple[dict[str, Any], bytes, bytes]:
    """The metadata and header of a stream, and what was read beyond them.

    Raises:
        DecryptionError: it does not begin as a stream does.
    """
    read = b""
    wanted = 8
    while len(read) < wanted:
        try:
            read += await anext(source)
        except StopAsyncIteration:
            raise decryption_failed() from None
        if len(read) >= 8:
            length = int.from_bytes(read[4:8], "big")
            if read[:4] != MAGIC or length > LARGEST_METADATA:
                raise decryption_failed()
            wanted = 8 + length + HEADER_BYTES
    text, header, rest = read[8 : wanted - HEADER_BYTES], read[wanted - HEADER_BYTES : wanted], read[wanted:]
    try:
        metadata = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        raise decryption_failed() from None
    if not isinstance(metadata, dict) or canonical(metadata) != text:
        raise decryption_failed()
    return metadata, header, rest


async def _cut(source: AsyncIterable[bytes], size: int) -> AsyncIterator[tuple[bytes, bool]]:
    """Pieces of ``size`` bytes, and whether each is the last (which may be shorter, and empty when it is the only
    one)."""
    held = bytearray()
    async for piece in source:
        held += piece
        while len(held) > size:
            yield bytes(held[:size]), False
            del held[:size]
    yield bytes(held), True
