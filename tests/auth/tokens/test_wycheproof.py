"""Every case of Project Wycheproof's JSON Web and signature sets; every invalid one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey

from gatewright.auth import HmacKey, JoseKey, KeySet, encode_segment
from gatewright.errors import ConfigurationError, InvalidTokenError, KeyUnavailableError

VECTORS = Path(__file__).parents[2] / "vectors" / "wycheproof"
EVERY_ALGORITHM = [f"{kind}{bits}" for kind in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]

STRICTER = {
    346: "the key says PS256, the token PS384",
    347: "the key says ES521, which is no algorithm",
    350: "the key says PS256, the token PS384",
    351: "the key says ES521, which is no algorithm",
    372: "a character that is not Base64url stands in the header",
    373: "a character that is not Base64url stands in the payload",
}
"""Cases of the signature set that Wycheproof lets pass and we refuse, and why."""

UNPADDED = {367, 370}
"""Cases said to have bad padding whose padding got lost: byte for byte the valid case 357."""

JWE = {50, 67}
"""Valid cases of the crypto set that are encrypted, not signed: we take no such tokens."""


def cases(name: str) -> list[Any]:
    """The cases of a file, each with its group."""
    groups = json.loads((VECTORS / f"{name}.json").read_text())["testGroups"]
    return [
        pytest.param(group, case, id=f"{number}-{case['tcId']}-{case['comment'] or case['result']}")
        for number, group in enumerate(groups)
        for case in group["tests"]
    ]


def is_accepted(key: dict[str, Any], token: object) -> bool:
    try:
        KeySet(key, algorithms=EVERY_ALGORITHM).verify(token)
    except (InvalidTokenError, ConfigurationError):
        return False
    return True


@pytest.mark.parametrize(("group", "case"), cases("json_web_signature_test"))
def test_json_web_signature(group: dict[str, Any], case: dict[str, Any]) -> None:
    """A signature is taken if and only if it is valid, but for the named cases."""
    accepted = is_accepted(group.get("public", group["private"]), case["jws"])
    if case["tcId"] in UNPADDED:
        assert case["jws"] == next(c["jws"] for c in group["tests"] if c["tcId"] == 357)
        assert accepted
    else:
        assert accepted is (case["result"] == "valid" and case["tcId"] not in STRICTER)


@pytest.mark.parametrize(("group", "case"), cases("json_web_key_test"))
def test_json_web_key(group: dict[str, Any], case: dict[str, Any]) -> None:
    """A weak, ambiguous or misplaced key is refused."""
    assert is_accepted(group.get("public", group["private"]), case["jws"]) is (case["result"] == "valid")


@pytest.mark.parametrize(("group", "case"), cases("json_web_crypto_test"))
def test_json_web_crypto(group: dict[str, Any], case: dict[str, Any]) -> None:
    """Signatures as above; encrypted tokens are not issued by this service, valid or not."""
    token = case["jws"] if "jws" in case else case["jwe"]
    accepted = is_accepted(group.get("public", group["private"]), token)
    assert accepted is (case["result"] == "valid" and case["tcId"] not in JWE)


@pytest.mark.parametrize(("group", "case"), cases("hmac_sha256_test"))
def test_hmac(group: dict[str, Any], case: dict[str, Any]) -> None:
    """Only whole tags under keys of at least 256 bits."""
    secret = bytes.fromhex(case["key"])
    if len(secret) < 32:
        with pytest.raises(KeyUnavailableError):
            HmacKey(secret)
        return
    accepted = HmacKey(secret).verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["tag"]))
    assert accepted is (case["result"] == "valid" and group["tagSize"] == 256)


@pytest.mark.parametrize(("group", "case"), cases("ed25519_test"))
def test_ed25519(group: dict[str, Any], case: dict[str, Any]) -> None:
    """EdDSA over Curve25519 (RFC 8032)."""
    x = encode_segment(bytes.fromhex(group["publicKey"]["pk"])).decode()
    key = JoseKey(OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x}), "EdDSA")
    accepted = key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
    assert accepted is (case["result"] == "valid")


@pytest.mark.parametrize(("group", "case"), cases("ecdsa_secp256r1_sha256_p1363_test"))
def test_es256(group: dict[str, Any], case: dict[str, Any]) -> None:
    """ECDSA with r and s side by side, as JWS has it; zeros and numbers beyond the order among them."""
    point = group["publicKey"]
    x, y = (encode_segment(int(point[name], 16).to_bytes(32)).decode() for name in ("wx", "wy"))
    key = JoseKey(ECKey.import_key({"kty": "EC", "crv": "P-256", "x": x, "y": y}), "ES256")
    accepted = key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
    assert accepted is (case["result"] == "valid")
