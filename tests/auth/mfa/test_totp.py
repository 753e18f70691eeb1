"""TOTP: the published vectors, and what a code is at which moment."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from hypothesis import given, strategies as st

from gatewright.auth import (
    STEP_SECONDS,
    code_of,
    match_totp,
    new_totp_secret,
    normalize_totp,
    provisioning_uri,
    qr_code,
    step_of,
)

VECTORS = Path(__file__).parents[2] / "vectors"
TOTP: dict[str, Any] = json.loads((VECTORS / "rfc6238_appendix_b.json").read_text())
HOTP: dict[str, Any] = json.loads((VECTORS / "rfc4226_appendix_d.json").read_text())
DIGESTS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def base32(seed: str) -> str:
    return base64.b32encode(seed.encode()).decode()


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("case", TOTP["cases"], ids=lambda case: str(case["time"]))
def test_rfc_6238_appendix_b(case: dict[str, Any], digest: str) -> None:
    secret = base32(TOTP["seeds"][digest])
    assert code_of(secret, step_of(case["time"]), digits=8, digest=DIGESTS[digest]) == case[digest]


@pytest.mark.parametrize("case", TOTP["cases"], ids=lambda case: str(case["time"]))
def test_the_codes_we_accept_are_the_last_six_digits(case: dict[str, Any]) -> None:
    match = match_totp(base32(TOTP["seeds"]["sha1"]), case["sha1"][-6:], now=case["time"], last_step=-1)
    assert match.step == case["time"] // 30


@pytest.mark.parametrize("case", HOTP["cases"], ids=lambda case: str(case["count"]))
def test_rfc_4226_appendix_d(case: dict[str, Any]) -> None:
    assert code_of(base32(HOTP["secret"]), case["count"]) == case["code"]


@given(step=st.integers(min_value=50, max_value=10**8), offset=st.integers(-25, 25))
def test_one_step_of_tolerance_either_side(step: int, offset: int) -> None:
    match = match_totp(SECRET, code_of(SECRET, step + offset), now=step * STEP_SECONDS + 7, last_step=-1)
    if abs(offset) <= 1:
        assert match.step is not None
    else:
        # Another step's code may be the same by chance; then it is genuine.
        assert match.step is None or match.step in (step - 1, step, step + 1)
        assert match.drift is not None or abs(offset) > 20


def test_a_step_at_or_below_the_last_one_is_a_replay() -> None:
    code = code_of(SECRET, 1_000)
    for last, replayed in ((999, False), (1_000, True), (1_001, True)):
        match = match_totp(SECRET, code, now=30_000, last_step=last)
        assert (match.step is None) is replayed
        assert match.replayed is replayed


@pytest.mark.parametrize(
    "code",
    [
        "",
        "12345",
        "1234567",
        "12345a",
        "١٢٣٤٥٦",
        "①②③④⑤⑥",
        "12 345",
        "123.456",
        "+12345",
        None,
        123456,
        b"123456",
        ["1"],
    ],
)
def test_what_is_no_six_digits_is_no_code(code: object) -> None:
    assert normalize_totp(code) is None


def test_secrets_have_160_bits_and_differ() -> None:
    secrets = {new_totp_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(base64.b32decode(secret)) == 20 for secret in secrets)


def test_the_uri_names_issuer_and_account() -> None:
    parts = urlsplit(provisioning_uri(SECRET, account="owner@acme.example", issuer="Gate & wright"))
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/Gate & wright:owner@acme.example"
    assert query["secret"] == [SECRET]
    assert query["issuer"] == ["Gate & wright"]
    assert pyotp.parse_uri(parts.geturl()).secret == SECRET


def test_the_qr_code_is_an_svg_in_a_data_uri() -> None:
    kind, _, body = qr_code(provisioning_uri(SECRET, account="a@b.example", issuer="G")).partition(",")
    assert kind.startswith("data:image/svg+xml")
    assert unquote(body).startswith("<svg") and "</svg>" in unquote(body)
