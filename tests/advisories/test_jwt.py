"""Named failures of token libraries in the field; each is refused here, by the public call."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import ECKey
from joserfc.jws import serialize_compact

from gatewright.auth import ManufacturerAuthManager, encode_segment
from gatewright.errors import InvalidTokenError, TokenExpiredError
from tests.auth.identity import ACME, SECRET


@pytest.fixture
async def auth() -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET) as manager:
        yield manager


@pytest.fixture
async def es256() -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET, "ES256") as manager:
        yield manager


def b64(data: bytes | str | dict[str, Any]) -> str:
    raw = json.dumps(data).encode() if isinstance(data, dict) else data.encode() if isinstance(data, str) else data
    return encode_segment(raw).decode()


def unpack(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    head, body, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))  # type: ignore[return-value]  # two parts


def signed(auth: ManufacturerAuthManager, head: str, body: str) -> str:
    """A token with these very segments under the key of the manager: the worst case, a valid signature."""
    key = auth.keys.current
    return f"{head}.{body}.{b64(key.sign(f'{head}.{body}'.encode()))}"


async def refused(auth: ManufacturerAuthManager, token: object) -> None:
    with pytest.raises(InvalidTokenError, match="invalid"):
        await auth.validate_token(token)  # type: ignore[arg-type]  # hostile on purpose


async def test_the_tools_of_these_tests_make_valid_tokens(auth: ManufacturerAuthManager) -> None:
    """Otherwise everything below would pass for nothing."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    assert (await auth.validate_token(signed(auth, b64(header), b64(claims))))["manufacturer_id"] == "mfr_acme"
    shuffled = dict(reversed(header.items()))
    assert await auth.validate_token(signed(auth, b64(shuffled), b64(claims)))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "none ", "", None, 0, ["HS256"], "HS512", "hs256"])
@pytest.mark.parametrize("keep", [True, False])
async def test_alg_none_in_every_case(auth: ManufacturerAuthManager, name: object, keep: bool) -> None:
    """CVE-2015-9235 and its many kin: unsigned tokens, with a kid of Gatewright and without."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    header = {**header, "alg": name} if keep else {"alg": name, "typ": "JWT"}
    await refused(auth, f"{b64(header)}.{b64(claims)}.")
    await refused(auth, signed(auth, b64(header), b64(claims)))


async def test_public_key_as_hmac_secret(es256: ManufacturerAuthManager) -> None:
    """CVE-2016-10555, CVE-2022-29217: the public key, in any form, signs no HS256 token."""
    header, claims = unpack(await es256.generate_manufacturer_token(ACME))
    jwk = es256.jwks()["keys"][0]
    key = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
    for secret in (key.as_pem(private=False), key.as_der(private=False), json.dumps(jwk).encode()):
        for kid in ({"kid": header["kid"]}, {}):
            signing_input = f"{b64({'alg': 'HS256', 'typ': 'JWT', **kid})}.{b64(claims)}"
            tag = hmac.digest(secret, signing_input.encode(), "sha256")
            await refused(es256, f"{signing_input}.{b64(tag)}")


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "x' UNION SELECT 'secret' --",
        "'; DROP TABLE signing_keys; --",
        "key|cat /etc/passwd",
        "http://attacker.example/key",
        "\x00",
        "k" * 4000,
        "",
        None,
        1,
        ["a"],
        {"a": 1},
        "__proto__",
    ],
)
async def test_kid_tricks(auth: ManufacturerAuthManager, kid: object) -> None:
    """A kid is a name to look up among ours and nothing else: no path, no query, no address."""
    _, claims = unpack(await auth.generate_manufacturer_token(ACME))
    head, body = b64({"alg": "HS256", "typ": "JWT", "kid": kid}), b64(claims)
    await refused(auth, signed(auth, head, body))
    for guessed in (b"", bytes(32)):  # what /dev/null or an injected row would make the key
        await refused(auth, f"{head}.{body}.{b64(hmac.digest(guessed, f'{head}.{body}'.encode(), 'sha256'))}")


@pytest.mark.parametrize("member", ["jku", "x5u", "jwk", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "cty", "p2c"])
async def test_header_members_that_choose_their_own_key_or_meaning(auth: ManufacturerAuthManager, member: str) -> None:
    """CVE-2018-0114 (embedded jwk), jku and x5u fetched, crit ignored: refused even when truly signed."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    values: dict[str, Any] = {
        "jku": "https://attacker.example/jwks.json",
        "x5u": "https://attacker.example/cert.pem",
        "jwk": {"kty": "oct", "k": "AAAA"},
        "x5c": ["MIIB"],
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "p2c": 2**31,
    }
    head = b64({**header, member: values.get(member, "x")})
    await refused(auth, signed(auth, head, b64(claims)))


async def test_embedded_key_of_the_attacker(auth: ManufacturerAuthManager) -> None:
    """A token that brings its own key and is signed by it."""
    _, claims = unpack(await auth.generate_manufacturer_token(ACME))
    own = ECKey.generate_key("P-256")
    head = {"alg": "ES256", "typ": "JWT", "jwk": own.as_dict(private=False)}
    await refused(auth, serialize_compact(head, json.dumps(claims).encode(), own, ["ES256"]))


@pytest.mark.parametrize(
    "head",
    [
        '{"alg":"HS256","typ":"JWT","kid":"KID","kid":"KID"}',
        '{"alg":"none","alg":"HS256","typ":"JWT","kid":"KID"}',
        '{"alg":"HS256","typ":"JWT","kid":"KID","\\u0061lg":"HS256"}',
    ],
)
async def test_repeated_header_members(auth: ManufacturerAuthManager, head: str) -> None:
    """RFC 7515 §4: names must be unique; two readers must not see two tokens."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    await refused(auth, signed(auth, b64(head.replace("KID", header["kid"])), b64(claims)))


@pytest.mark.parametrize("extra", ['"tier":"enterprise"', '"\\u0074ier":"enterprise"', '"x":{"a":1,"a":2}'])
async def test_repeated_claims(auth: ManufacturerAuthManager, extra: str) -> None:
    """The same for the payload, at any depth and however the name is written."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    body = json.dumps(claims)[:-1] + f",{extra}}}"
    await refused(auth, signed(auth, b64(header), b64(body)))


async def test_huge_and_nested_tokens(auth: ManufacturerAuthManager) -> None:
    """Size and depth cost nothing: refused at once, without a RecursionError."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    for head in (
        b64({**header, "pad": "x" * 100_000}),
        b64("[" * 700 + "]" * 700),
        b64('{"a":' * 150 + "1" + "}" * 150),
        b64(b"\xff\xfe{\x00}\x00"),
        b64("{} {}"),
        b64('{"alg":NaN}'),
    ):
        await refused(auth, signed(auth, head, b64(claims)))
    deep = json.dumps(claims)[:-1] + ',"x":' + "[" * 2500 + "]" * 2500 + "}"
    await refused(auth, signed(auth, b64(header), b64(deep)))
    begin = time.process_time()
    await refused(auth, "a" * 10_000_000)
    await refused(auth, "." * 1_000_000)
    await refused(auth, ("e" * 4000 + ".") * 500)
    assert time.process_time() - begin < 0.5


async def test_truncated_and_padded_signatures(auth: ManufacturerAuthManager) -> None:
    """CVE-2022-21449's neighbors: every prefix, every padding, nothing at all."""
    token = await auth.generate_manufacturer_token(ACME)
    head, body, tail = token.split(".")
    for length in range(len(tail)):
        await refused(auth, f"{head}.{body}.{tail[:length]}")
    for changed in (
        tail + "=",
        tail + "==",
        tail + "A",
        tail + "AAAA",
        tail + ".",
        tail + " ",
        "=" + tail,
        tail + "\n",
    ):
        await refused(auth, f"{head}.{body}.{changed}")
    for changed in (
        f"{head}.{body}",
        f"{head}..{tail}",
        f".{body}.{tail}",
        f"{token}.x",
        f" {token}",
        f"{token} ",
        "..",
    ):
        await refused(auth, changed)


async def test_non_canonical_base64(auth: ManufacturerAuthManager) -> None:
    """A token has one spelling: unused bits, standard alphabet and padding make it another."""
    token = await auth.generate_manufacturer_token(ACME)
    head, body, tail = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = tail[:-1] + alphabet[alphabet.index(tail[-1]) ^ 1]
    assert base64.urlsafe_b64decode(twin + "=") == base64.urlsafe_b64decode(tail + "=")
    await refused(auth, f"{head}.{body}.{twin}")
    header, claims = unpack(token)
    padded = b64(json.dumps(claims) + " " * ((len(json.dumps(claims)) + 1) % 3 or 3)) + "="
    await refused(auth, signed(auth, b64(header), padded))
    spelled = json.dumps({**claims, "company_name": "???>>>~~~"}).encode()
    standard = base64.b64encode(spelled).decode().rstrip("=")
    if "/" in standard or "+" in standard:
        await refused(auth, signed(auth, b64(header), standard))


async def test_ecdsa_of_zeros(es256: ManufacturerAuthManager) -> None:
    """CVE-2022-21449, "psychic signatures": r and s of zero, of the order, and in DER."""
    token = await es256.generate_manufacturer_token(ACME)
    head, body, _ = token.split(".")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    zero, one, n = bytes(32), (1).to_bytes(32), order.to_bytes(32)
    for r, s in ((zero, zero), (zero, one), (one, zero), (n, n), (n, one), (one, one)):
        await refused(es256, f"{head}.{body}.{b64(r + s)}")
    for raw in (b"", b"\x30\x06\x02\x01\x00\x02\x01\x00", bytes(63), bytes(65), bytes(128)):
        await refused(es256, f"{head}.{body}.{b64(raw)}")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"exp": 1}, TokenExpiredError),
        ({"exp": int(time.time()) - 1}, TokenExpiredError),
        ({"exp": None}, InvalidTokenError),
        ({"exp": "9999999999"}, InvalidTokenError),
        ({"exp": True}, InvalidTokenError),
        ({"exp": 1e300}, InvalidTokenError),
        ({"exp": -1}, InvalidTokenError),
        ({"nbf": int(time.time()) + 3600}, InvalidTokenError),
        ({"nbf": None}, InvalidTokenError),
        ({"iat": "x"}, InvalidTokenError),
        ({"iss": "attacker"}, InvalidTokenError),
        ({"iss": None}, InvalidTokenError),
        ({"iss": ["gatewright"]}, InvalidTokenError),
        ({"aud": "another-service"}, InvalidTokenError),
        ({"aud": ["gatewright", "another-service"]}, InvalidTokenError),
        ({"aud": None}, InvalidTokenError),
        ({"sub": None}, InvalidTokenError),
        ({"sub": ""}, InvalidTokenError),
        ({"manufacturer_id": {"$ne": None}}, InvalidTokenError),
        ({"jti": None}, InvalidTokenError),
        ({"jti": "not-one-of-ours"}, InvalidTokenError),
        ({"sid": 7}, InvalidTokenError),
    ],
)
async def test_claims_that_do_not_fit(
    auth: ManufacturerAuthManager, change: dict[str, Any], error: type[Exception]
) -> None:
    """Expired, not yet valid, of others, for others, or of the wrong type, though truly signed."""
    header, claims = unpack(await auth.generate_manufacturer_token(ACME))
    with pytest.raises(error, match=r"expired|invalid"):
        await auth.validate_token(signed(auth, b64(header), b64({**claims, **change})))


@pytest.mark.parametrize("payload", ["", "null", "[]", '"x"', "1", "{", "{}", "\x00", "{'a':1}"])
async def test_payloads_that_are_no_claims(auth: ManufacturerAuthManager, payload: str) -> None:
    """Truly signed, but nothing that could be claims."""
    header, _ = unpack(await auth.generate_manufacturer_token(ACME))
    await refused(auth, signed(auth, b64(header), b64(payload)))


@pytest.mark.parametrize(
    "token", [None, 7, b"a.b.c", ["a.b.c"], {"token": "x"}, object(), "", "a", "ü.ü.ü", "\ud800", "a.b"]
)
async def test_anything_else(auth: ManufacturerAuthManager, token: object) -> None:
    """Whatever the type, the answer is the same error."""
    await refused(auth, token)


async def test_a_key_of_another_installation(auth: ManufacturerAuthManager) -> None:
    """The same claims under another root."""
    async with ManufacturerAuthManager("1f" * 32) as other:
        await refused(auth, await other.generate_manufacturer_token(ACME))
