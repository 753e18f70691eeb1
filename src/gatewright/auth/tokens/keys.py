"""Signing and verification keys: HMAC, and asymmetric keys through joserfc.

A key belongs to exactly one algorithm, so a token cannot make a public key into a shared secret.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Protocol

import msgspec

from gatewright.errors import ConfigurationError, KeyUnavailableError

ALGORITHMS = ("HS256", "ES256", "EdDSA", "RS256")
"""Algorithms for tokens of this service."""

_RSA_BITS = 3072
_HMAC_BYTES = 32


class VerifyingKey(Protocol):
    """Verifies signatures with one algorithm."""

    @property
    def algorithm(self) -> str: ...

    def verify(self, signing_input: bytes, signature: bytes) -> bool: ...


class SigningKey(VerifyingKey, Protocol):
    """Also signs. ``slow``: signing takes long enough to need a thread."""

    @property
    def kid(self) -> str: ...

    @property
    def slow(self) -> bool: ...

    def sign(self, signing_input: bytes) -> bytes: ...

    def public_jwk(self) -> dict[str, Any] | None: ...

    def export(self) -> bytes: ...


class HmacKey:
    """HS256 (RFC 7518 §3.2).

    Args:
        secret: at least 32 bytes.
        kid: the key id. Defaults to one derived from the secret, so that it is the same after a restart.

    Raises:
        KeyUnavailableError: the secret is too short.
    """

    algorithm = "HS256"
    slow = False

    def __init__(self, secret: bytes, kid: str | None = None) -> None:
        if len(secret) < _HMAC_BYTES:
            raise KeyUnavailableError("The HS256 key is too short. Use at least 32 bytes.", code="KEY_TOO_SHORT")
        self._secret = secret
        self.kid = kid or hmac.digest(secret, b"gatewright kid", hashlib.sha256)[:12].hex()

    def __repr__(self) -> str:
        return f"HmacKey(kid={self.kid!r})"

    def sign(self, signing_input: bytes) -> bytes:
        return hmac.digest(self._secret, signing_input, "sha256")

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self._secret, signing_input, "sha256"), signature)

    def public_jwk(self) -> None:
        return None

    def export(self) -> bytes:
        return self._secret


class JoseKey:
    """An asymmetric key for one algorithm.

    Args:
        key: a joserfc key. Signing needs a private key.
        algorithm: a name from RFC 7518 or RFC 8037.
        kid: the key id. Defaults to the thumbprint (RFC 7638).
    """

    def __init__(self, key: Any, algorithm: str, kid: str | None = None) -> None:
        from joserfc.jws import JWSRegistry

        self._key = key
        self._model: Any = JWSRegistry.algorithms[algorithm]
        self._model.check_key(key)
        self.algorithm = algorithm
        self.kid: str = kid or key.thumbprint()
        self.slow = key.key_type == "RSA"

    def __repr__(self) -> str:
        return f"JoseKey(kid={self.kid!r}, algorithm={self.algorithm!r})"

    def sign(self, signing_input: bytes) -> bytes:
        signature: bytes = self._model.sign(signing_input, self._key)
        return signature

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return bool(self._model.verify(signing_input, signature, self._key))

    def public_jwk(self) -> dict[str, Any]:
        """The public key as a JWK (RFC 7517), with ``kid``, ``alg`` and ``use``."""
        return {**self._key.as_dict(private=False), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def export(self) -> bytes:
        return msgspec.json.encode(self._key.as_dict(private=True))


def check_algorithm(algorithm: str) -> str:
    """Return the algorithm if tokens of this service may use it.

    Raises:
        ConfigurationError: they may not, as for ``none``.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigurationError(f"algorithm={algorithm!r}: must be one of {', '.join(ALGORITHMS)}; choose one.")
    return algorithm


def generate(algorithm: str, random_secret: bytes) -> SigningKey:
    """Generate a key. ``random_secret`` (32 bytes) becomes an HS256 key. RSA takes up to a second."""
    if algorithm == "HS256":
        return HmacKey(random_secret)
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    if algorithm == "ES256":
        return JoseKey(ECKey.generate_key("P-256"), algorithm)
    if algorithm == "EdDSA":
        return JoseKey(OKPKey.generate_key("Ed25519"), algorithm)
    return JoseKey(RSAKey.generate_key(_RSA_BITS), algorithm)


def restore(algorithm: str, kid: str, exported: bytes) -> SigningKey:
    """Restore a key from the result of ``export``."""
    if algorithm == "HS256":
        return HmacKey(exported, kid)
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    kinds: dict[str, Any] = {"ES256": ECKey, "EdDSA": OKPKey, "RS256": RSAKey}
    return JoseKey(kinds[algorithm].import_key(msgspec.json.decode(exported)), algorithm, kid)
