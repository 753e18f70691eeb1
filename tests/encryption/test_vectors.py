"""Test vectors: all cases of Project Wycheproof, and those of the envelope format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gatewright.encryption import (
    Algorithm,
    ManufacturerEncryptionManager,
    RootKey,
    Subkey,
    deserialize,
    known_subkey,
    to_base64,
)
from gatewright.errors import DecryptionError

VECTORS = Path(__file__).parent.parent / "vectors"


def cases(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    document = json.loads((VECTORS / "wycheproof" / f"{name}.json").read_text())
    found = [(group, case) for group in document["testGroups"] for case in group["tests"]]
    assert len(found) == document["numberOfTests"]
    return found


@pytest.mark.parametrize(("name", "cipher"), [("aes_gcm_test", AESGCM), ("chacha20_poly1305_test", ChaCha20Poly1305)])
def test_ciphers_answer_as_published(name: str, cipher: Any) -> None:
    for group, case in cases(name):
        key, nonce, aad, plain, ciphertext, tag = (
            bytes.fromhex(case[k]) for k in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        comment = f"{name} {case['tcId']} {case['comment']}"
        try:
            opened = cipher(key).decrypt(nonce, ciphertext + tag, aad)
        except (InvalidTag, ValueError):
            # Nonces of 16 bits and the like are valid in the standard and refused by the library: we use 96 bits only.
            assert case["result"] == "invalid" or not 64 <= group["ivSize"] <= 1024, comment
            continue
        assert case["result"] == "valid" and opened == plain, comment
        assert cipher(key).encrypt(nonce, plain, aad) == ciphertext + tag, comment


def test_our_use_of_the_ciphers_refuses_what_the_vectors_say_must_be_refused() -> None:
    """The same cases through a subkey, in the chunks of whose payloads our code sets the nonce."""
    for name, cipher in (("aes_gcm_test", AESGCM), ("chacha20_poly1305_test", ChaCha20Poly1305)):
        for group, case in cases(name):
            if group["keySize"] != 256 or group["ivSize"] != 96:
                continue
            key, nonce, aad, plain, ciphertext, tag = (
                bytes.fromhex(case[k]) for k in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            header = bytes((2, 1, 0)) + bytes(48)
            subkey = Subkey(cipher(key), header)
            payload = subkey.prefix + to_base64(nonce + ciphertext + tag)
            if case["result"] == "valid":
                assert subkey.open(payload, aad) == plain
            else:
                with pytest.raises(DecryptionError):
                    subkey.open(payload, aad)


def test_key_derivation_answers_as_published() -> None:
    for _group, case in cases("hkdf_sha256_test"):
        material, salt, info, expected = (bytes.fromhex(case[k]) for k in ("ikm", "salt", "info", "okm"))
        try:
            derived = HKDF(hashes.SHA256(), case["size"], salt or None, info).derive(material)
        except ValueError:
            assert case["result"] == "invalid", case["comment"]
            continue
        assert case["result"] == "valid" and derived == expected, case["comment"]


FORMAT = json.loads((VECTORS / "envelope-2.0.json").read_text())


@pytest.mark.parametrize("vector", FORMAT["derived"], ids=lambda v: v["name"])
async def test_envelopes_of_our_format_open(vector: dict[str, Any]) -> None:
    manager = ManufacturerEncryptionManager(bytes.fromhex(FORMAT["root"]))
    assert repr(await manager.decrypt_manufacturer_data(vector["envelope"])) == vector["data"]
    metadata = vector["envelope"]["encryption_metadata"]
    secret = RootKey(bytes.fromhex(FORMAT["root"])).data_key(
        metadata.get("manufacturer_id", ""), metadata["key_version"]
    )
    assert secret.hex() == vector["data_key"]
    subkey = known_subkey(secret, metadata["algorithm"], vector["envelope"]["encrypted_payload"][:68])
    plaintext = subkey.open(vector["envelope"]["encrypted_payload"], vector["aad"].encode())
    if not vector["compressed"]:
        assert plaintext.hex() == vector["plaintext"]
        assert repr(deserialize(plaintext)) == vector["data"]


@pytest.mark.parametrize("vector", FORMAT["refused"], ids=lambda v: v["name"])
async def test_envelopes_that_are_not_of_our_format_do_not_open(vector: dict[str, Any]) -> None:
    manager = ManufacturerEncryptionManager(bytes.fromhex(FORMAT["root"]))
    with pytest.raises(DecryptionError):
        await manager.decrypt_manufacturer_data(vector["envelope"])


def test_the_vectors_cover_both_ciphers() -> None:
    used = {v["envelope"]["encryption_metadata"]["algorithm"] for v in FORMAT["derived"]}
    assert used == set(Algorithm)
