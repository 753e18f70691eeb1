"""A decoder written only from ``docs/encryption-format.md`` can open envelopes, so the document is complete."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from gatewright.encryption import CHUNK_BYTES, ManufacturerEncryptionManager, serialize

FORMAT = json.loads((Path(__file__).parent.parent / "vectors" / "envelope-2.0.json").read_text())
CIPHERS: dict[int, tuple[str, Any]] = {1: ("AES-256-GCM", AESGCM), 2: ("ChaCha20-Poly1305", ChaCha20Poly1305)}


def joined(*parts: str | bytes) -> bytes:
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in raw)


def expand(key: bytes, info: bytes, length: int, digest: str) -> bytes:
    """HKDF-Expand, RFC 5869 §2.3."""
    out, block, counter = b"", b"", 0
    while len(out) < length:
        counter += 1
        block = hmac.digest(key, block + info + bytes([counter]), digest)
        out += block
    return out[:length]


def hkdf(root: bytes, info: bytes, length: int) -> bytes:
    return expand(hmac.digest(bytes(hashlib.sha256().digest_size), root, "sha256"), info, length, "sha256")


def read(envelope: dict[str, Any], root: bytes) -> bytes:
    """The plaintext of an envelope made without a key store, by the document."""
    metadata = envelope["encryption_metadata"]
    version, owner = str(metadata["key_version"]), metadata.get("manufacturer_id", "")
    assert metadata["key_id"] == "key_" + hkdf(root, joined("gatewright key id", version), 8).hex()
    data_key = hkdf(root, joined("gatewright data key", version, owner), 32)
    raw = base64.b64decode(envelope["encrypted_payload"], validate=True)
    intro, salt, commitment, body = raw[:3], raw[3:19], raw[19:51], raw[51:]
    both = expand(data_key, joined("gatewright envelope 2", intro, salt), 64, "sha512")
    name, cipher = CIPHERS[intro[1]]
    assert intro[0] == 2 and name == metadata["algorithm"] and hmac.compare_digest(both[32:], commitment)
    aad = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if intro[2] & 1:
        cut = 131_072 + 16
        chunks = [body[start : start + cut] for start in range(0, len(body), cut)]
        plain = b"".join(
            cipher(both[:32]).decrypt(bytes(7) + n.to_bytes(4, "big") + bytes([n == len(chunks) - 1]), chunk, aad)
            for n, chunk in enumerate(chunks)
        )
    else:
        plain = cipher(both[:32]).decrypt(body[:12], body[12:], aad)
    return zlib.decompress(plain) if intro[2] & 2 else plain


@pytest.mark.parametrize("vector", FORMAT["derived"], ids=lambda v: v["name"])
def test_the_vectors_open_by_the_document(vector: dict[str, Any]) -> None:
    plain = read(vector["envelope"], bytes.fromhex(FORMAT["root"]))
    assert vector["compressed"] or plain.hex() == vector["plaintext"]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("algorithm", ["AES-256-GCM", "ChaCha20-Poly1305"])
async def test_new_envelopes_open_by_the_document(algorithm: str, compress: bool) -> None:
    manager = ManufacturerEncryptionManager(bytes(32), algorithm=algorithm, compress=compress)
    for data in ({"name": 'Größe\n\u0007"\\/'}, b"\x00\x01\x02" * CHUNK_BYTES, hashlib.sha512().digest() * 8000):
        envelope = await manager.encrypt_manufacturer_data(
            data, manufacturer_id="mfr_\U0001f600\n", classification="financial", field='a."b"'
        )
        assert read(envelope, bytes(32)) == serialize(data)
