"""A WebAuthn authenticator in software: it makes keys and signs as a phone or security key would."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40


class SoftAuthenticator:
    """One credential on an ES256 key."""

    def __init__(self, *, origin: str = "http://localhost:8000") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential_id = os.urandom(32)
        self.origin = origin
        self.count = 0
        self.verify_user = True
        self.user_handle: str | None = None

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """``navigator.credentials.create``."""
        self.user_handle = options["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        attested = bytes(16) + struct.pack(">H", len(self.credential_id)) + self.credential_id + public
        data = self._data(options["rp"]["id"], ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options["challenge"])
        return self._credential({"clientDataJSON": encode(client), "attestationObject": encode(attestation)})

    def get(self, options: dict[str, Any], *, count: int | None = None) -> dict[str, Any]:
        """``navigator.credentials.get``."""
        self.count = self.count + 1 if count is None else count
        data = self._data(options["rpId"], 0)
        client = self._client("webauthn.get", options["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential(
            {
                "clientDataJSON": encode(client),
                "authenticatorData": encode(data),
                "signature": encode(signature),
                "userHandle": self.user_handle,
            }
        )

    def _data(self, rp_id: str, flags: int) -> bytes:
        flags |= USER_PRESENT | (USER_VERIFIED if self.verify_user else 0)
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + struct.pack(">I", self.count)

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": encode(self.credential_id),
            "rawId": encode(self.credential_id),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        }


def encode(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
