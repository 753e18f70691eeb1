"""Strict parsing of the JWS compact serialization (RFC 7515 §7.1).

Base64url must be canonical (RFC 4648 §3.5), JSON members must not repeat, sizes and nesting are bounded, and a
header may name neither its own key nor an extension.
"""

from __future__ import annotations

import binascii
import json
from typing import Any, NamedTuple

import msgspec

from gatewright.errors import InvalidTokenError

MAX_TOKEN_LENGTH = 8192
"""Characters of a token at most; ours are about 700."""

MAX_HEADER_LENGTH = 1024
"""Characters of the encoded header at most; ours are about 80."""

FORBIDDEN_HEADERS = frozenset({"crit", "b64", "zip", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"})
"""Members that would let a token choose its key, its meaning or its size."""

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


class CompactJWS(NamedTuple):
    """The parts of a compact token, decoded; nothing of it is verified yet."""

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


def invalid(reason: str) -> InvalidTokenError:
    """The error for a token that is not one of this service; ``reason`` is a clause without the token's content."""
    return InvalidTokenError(f"The token is invalid: {reason}.")


def as_bytes(token: object) -> bytes:
    """A token as bytes; raises InvalidTokenError for what is not ASCII text of a bounded length."""
    if not isinstance(token, str):
        raise invalid("not a string")
    if len(token) > MAX_TOKEN_LENGTH:
        raise invalid("too long")
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise invalid("not ASCII") from None


def encode_segment(data: bytes) -> bytes:
    """Base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def decode_segment(segment: bytes) -> bytes:
    """Base64url without padding, canonical: what would encode to something else is refused.

    Raises:
        InvalidTokenError: a foreign character, padding, a bad length, or stray bits at the end.
    """
    try:
        data = binascii.a2b_base64(segment.translate(_TO_STANDARD) + b"==="[: -len(segment) % 4])
    except binascii.Error:
        raise invalid("not Base64url") from None
    if encode_segment(data) != segment:
        raise invalid("Base64url is not canonical")
    return data


def read_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in which no member repeats, at any depth.

    Raises:
        InvalidTokenError: it is not that.
    """
    try:
        value = msgspec.json.decode(raw)
        # What our own encoder wrote comes out the same again, and then no member can have repeated.
        if isinstance(value, dict) and msgspec.json.encode(value) != raw:
            json.loads(raw.decode(), object_pairs_hook=_refuse_repeated)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise invalid("not a JSON object with unique keys") from None
    if not isinstance(value, dict):
        raise invalid("not a JSON object")
    return value


def parse(token: bytes) -> CompactJWS:
    """Take a compact token apart.

    Raises:
        InvalidTokenError: it is not three segments of canonical Base64url within bounds, or its header is not
            a plain object or names a forbidden member.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise invalid("too long")
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise invalid("not three parts")
    if len(segments[0]) > MAX_HEADER_LENGTH:
        raise invalid("header too long")
    header = read_object(decode_segment(segments[0]))
    if not FORBIDDEN_HEADERS.isdisjoint(header):
        raise invalid("unsupported header parameter")
    return CompactJWS(
        header=header,
        payload=decode_segment(segments[1]),
        signing_input=token[: len(segments[0]) + 1 + len(segments[1])],
        signature=decode_segment(segments[2]),
    )


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated member")
    return members
