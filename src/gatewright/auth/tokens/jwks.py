"""JWK Sets of external issuers (RFC 7517), parsed defensively.

These are rejected:

- keys with an unknown or ambiguous algorithm, or not meant for signatures
- weak keys: RSA under 2048 bits, with an exponent under 3 or with ROCA; short secrets; points that are not on the curve
- sets with secret and public keys, or with a duplicate key id
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

from gatewright.auth.tokens.jws import CompactJWS, as_bytes, decode_segment, invalid, parse
from gatewright.auth.tokens.keys import ALGORITHMS, HmacKey, JoseKey, VerifyingKey
from gatewright.errors import ConfigurationError, InvalidTokenError

MAX_KEYS = 64

_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_HMAC_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_SMALL_PRIMES = tuple(n for n in range(3, 168, 2) if all(n % d for d in range(3, n, 2)))


class KeySet:
    """Verification keys by id.

    Args:
        jwks: ``{"keys": [...]}``, or a single JWK.
        algorithms: the algorithms that are accepted.

    Raises:
        ConfigurationError: a key or the set is not secure. The message has the reason.
    """

    def __init__(self, jwks: Mapping[str, Any], *, algorithms: Collection[str] = ALGORITHMS) -> None:
        members = jwks.get("keys", [jwks])
        if not isinstance(members, list) or not 0 < len(members) <= MAX_KEYS:
            raise _refuse(f"it must have 1 to {MAX_KEYS} keys")
        self._keys: dict[str | None, VerifyingKey] = {}
        kinds = set()
        for jwk in members:
            kid = jwk.get("kid")
            if kid in self._keys:
                raise _refuse("a key id is used twice")
            kinds.add(jwk.get("kty") == "oct")
            self._keys[kid] = load_key(jwk, algorithms)
        if len(kinds) > 1:
            raise _refuse("it mixes secret and public keys")

    def verify(self, token: object) -> CompactJWS:
        """Verify the signature of a compact token. Returns its parts.

        ``kid`` selects the key, and is optional if there is only one. ``alg`` must be the algorithm of the key.

        Raises:
            InvalidTokenError: its signature is invalid.
        """
        parts = parse(as_bytes(token))
        key = self._find(parts.header.get("kid"))
        if key is None or parts.header.get("alg") != key.algorithm:
            raise invalid("unknown key id or algorithm")
        if not key.verify(parts.signing_input, parts.signature):
            raise invalid("signature verification failed")
        return parts

    def _find(self, kid: Any) -> VerifyingKey | None:
        if len(self._keys) == 1:
            own, key = next(iter(self._keys.items()))
            return key if kid is None or own is None or kid == own else None
        return self._keys.get(kid) if isinstance(kid, str) else None


def load_key(jwk: Mapping[str, Any], algorithms: Collection[str] = ALGORITHMS) -> VerifyingKey:
    """Load a JWK as a verification key. Raises as :class:`KeySet`."""
    algorithm = str(jwk.get("alg") or _implied_algorithm(jwk))
    if algorithm not in algorithms:
        raise _refuse("its algorithm is not accepted")
    if jwk.get("use", "sig") != "sig" or "verify" not in (jwk.get("key_ops") or ["verify"]):
        raise _refuse("it is not a signature key")
    if algorithm in _HMAC_BYTES:
        return _load_secret(jwk, algorithm)
    public = {k: v for k, v in jwk.items() if k in ("kty", "crv", "x", "y", "n", "e")}
    try:
        return _load_public(public, algorithm, jwk.get("kid"))
    except ConfigurationError:
        raise
    except Exception:  # joserfc and cryptography raise many types; each means that the key is invalid
        raise _refuse("it is not a valid key of its type") from None


def _load_secret(jwk: Mapping[str, Any], algorithm: str) -> VerifyingKey:
    try:
        secret = decode_segment(str(jwk["k"]).encode("ascii"))
    except (KeyError, UnicodeEncodeError, InvalidTokenError):
        raise _refuse("its secret cannot be read") from None
    if jwk.get("kty") != "oct" or len(secret) < _HMAC_BYTES[algorithm]:
        raise _refuse("its secret is too short")
    if algorithm == "HS256":
        return HmacKey(secret, jwk.get("kid"))
    from joserfc.jwk import OctKey

    return JoseKey(OctKey.import_key(secret), algorithm, jwk.get("kid"))


def _load_public(public: dict[str, Any], algorithm: str, kid: str | None) -> VerifyingKey:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    kty = public.get("kty")
    if kty == "EC" and _CURVES.get(public.get("crv", "")) == algorithm:
        return JoseKey(ECKey.import_key(public), algorithm, kid)
    if kty == "OKP" and public.get("crv") == "Ed25519" and algorithm == "EdDSA":
        return JoseKey(OKPKey.import_key(public), algorithm, kid)
    if kty == "RSA" and algorithm[:2] in ("RS", "PS"):
        _check_rsa(*(int.from_bytes(decode_segment(public[name].encode("ascii"))) for name in ("n", "e")))
        return JoseKey(RSAKey.import_key(public), algorithm, kid)
    raise _refuse("type, curve and algorithm do not match")


def _check_rsa(n: int, e: int) -> None:
    if n.bit_length() < 2048:
        raise _refuse("RSA keys need at least 2048 bits")
    if e < 3 or e % 2 == 0:
        raise _refuse("its exponent is not an odd number above 1")
    if _has_roca(n):
        raise _refuse("it was generated by a faulty library (CVE-2017-15361)")


def _has_roca(n: int) -> bool:
    """Whether the modulus is a power of 65537 modulo every small prime, which identifies keys with ROCA."""
    return all(n % prime in _powers_of_65537(prime) for prime in _SMALL_PRIMES)


@functools.cache
def _powers_of_65537(prime: int) -> frozenset[int]:
    return frozenset(pow(65537, exponent, prime) for exponent in range(prime))


def _implied_algorithm(jwk: Mapping[str, Any]) -> str | None:
    """The algorithm of a key without ``alg``, if its type implies one."""
    kty = jwk.get("kty")
    if kty == "EC":
        return _CURVES.get(str(jwk.get("crv")))
    return {"OKP": "EdDSA", "RSA": "RS256"}.get(str(kty))


def _refuse(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"jwks: the key set was rejected because {reason}; ask the issuer for a valid one.", code="KEY_REFUSED"
    )
