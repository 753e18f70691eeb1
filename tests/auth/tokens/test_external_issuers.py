"""External issuers: only those that are configured, and only for the manufacturers that they are allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gatewright.auth import ExternalIssuer, KeySet, ManufacturerAuthManager, load_key
from gatewright.errors import ConfigurationError, InvalidTokenError, TokenExpiredError, TokenRevokedError
from gatewright.testing import ManualClock
from tests.auth.identity import ACME, SECRET, START

PRIVATE = ec.generate_private_key(ec.SECP256R1())
NOW = int(START.timestamp())
CLAIMS: dict[str, Any] = {
    "iss": "https://partner.example",
    "aud": "marketplace",
    "sub": "robot-7",
    "manufacturer_id": "mfr_acme",
    "iat": NOW,
    "exp": NOW + 600,
    "jti": "abc",
    "sid": "not a session of ours",
}


def jwks() -> dict[str, Any]:
    public = jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
    return {"keys": [{**public, "kid": "p1", "alg": "ES256", "use": "sig"}]}


def foreign(**changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, PRIVATE, "ES256", headers={"kid": "p1"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def auth(clock: ManualClock) -> AsyncIterator[ManufacturerAuthManager]:
    partner = ExternalIssuer("https://partner.example", "marketplace", jwks(), manufacturers=["mfr_acme"], leeway=60)
    async with ManufacturerAuthManager(SECRET, clock=clock, external_issuers=[partner]) as manager:
        yield manager


async def test_a_trusted_issuer_is_taken(auth: ManufacturerAuthManager) -> None:
    """Its claims come through, but never a session id, and it can be revoked."""
    token = foreign(aud=["marketplace", "other"])
    claims = await auth.validate_token(token)
    assert claims["sub"] == "robot-7" and "sid" not in claims
    assert await auth.validate_token(token) == claims
    assert (await auth.validate_token(await auth.generate_manufacturer_token(ACME)))["iss"] == "gatewright"
    await auth.revoke_token(token)
    with pytest.raises(TokenRevokedError):
        await auth.validate_token(token)


async def test_leeway_is_for_their_clocks(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """A minute either side, and not more."""
    await auth.validate_token(foreign(iat=NOW + 50, nbf=NOW + 55))
    for changes in ({"iat": NOW + 70}, {"nbf": NOW + 70}):
        with pytest.raises(InvalidTokenError, match="not valid yet"):
            await auth.validate_token(foreign(**changes))
    token = foreign()
    clock.advance(600 + 59)
    await auth.validate_token(token)
    clock.advance(2)
    for presented in (token, foreign(jti="unseen")):
        with pytest.raises(TokenExpiredError):
            await auth.validate_token(presented)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://stranger.example"},
        {"iss": "gatewright"},
        {"iss": None},
        {"aud": "elsewhere"},
        {"aud": ["elsewhere"]},
        {"aud": None},
        {"manufacturer_id": "mfr_other"},
        {"manufacturer_id": None},
        {"sub": None},
        {"exp": None},
        {"iat": None},
        {"exp": "soon"},
        {"nbf": "soon"},
    ],
)
async def test_what_it_may_not_say(auth: ManufacturerAuthManager, changes: dict[str, Any]) -> None:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    token = jwt.api_jws.encode(msgspec_json(claims), PRIVATE, "ES256", headers={"kid": "p1", "typ": "JWT"})
    with pytest.raises(InvalidTokenError):
        await auth.validate_token(token)


def msgspec_json(claims: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.json.encode(claims)


async def test_another_key_is_refused(auth: ManufacturerAuthManager) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    for headers in ({"kid": "p1"}, {"kid": "p2"}, {}):
        with pytest.raises(InvalidTokenError):
            await auth.validate_token(jwt.encode(CLAIMS, other, "ES256", headers=headers))


def test_keys_are_read_with_distrust() -> None:
    """A public key set holds no secrets, and every key has one meaning."""
    [good] = jwks()["keys"]
    secret = {"kty": "oct", "k": "A" * 43, "alg": "HS256"}
    with pytest.raises(ConfigurationError):
        ExternalIssuer("i", "a", {"keys": [secret]}, manufacturers=[])
    with pytest.raises(ConfigurationError, match="leeway"):
        ExternalIssuer("i", "a", jwks(), manufacturers=[], leeway=3600)
    for bad in (
        {"keys": []},
        {"keys": "x"},
        {"keys": [good] * 2},
        {"keys": [{**good, "kid": f"k{number}"} for number in range(65)]},
        {**good, "alg": "ES384"},
        {**good, "use": "enc"},
        {**good, "key_ops": ["sign"]},
        {**good, "x": "AAAA"},
        {**good, "y": good["x"]},
        {"kty": "EC"},
        {"kty": "oct", "alg": "HS256"},
        {"kty": "oct", "alg": "HS256", "k": "ü"},
        {"kty": "RSA", "alg": "RS256", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "alg": "RS256", "n": "A" * 342 + "B", "e": "AA"},
        {},
    ):
        with pytest.raises(ConfigurationError, match="rejected because"):
            KeySet(bad)
    assert load_key({name: good[name] for name in ("kty", "crv", "x", "y")}).algorithm == "ES256"
    assert KeySet(good).verify(foreign()).payload
