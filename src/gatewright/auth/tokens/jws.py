"""Strict parsing of the JWS compact serialization (RFC 7515 §7.1).

Base64url must be canonical (RFC 4648 §3.5), JSON keys must be unique, and sizes and nesting are limited. A header may
neither supply a key nor require an extension.
"""

from __future__ import annotations

import binascii
import json
from typing import Any, NamedTuple

import msgspec

from gatewright.errors import InvalidTokenError

MAX_TOKEN_LENGTH = 8192
"""Maximum length of a token. Those of this service have about 700 characters."""

MAX_HEADER_LENGTH = 1024
"""Maximum length of an encoded header. Those of this service have about 80 characters."""

FORBIDDEN_HEADERS = frozenset({"crit", "b64", "zip", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"})
"""Header parameters that would let a token supply its key, change its meaning or expand its size."""

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


class CompactJWS(NamedTuple):
    """The decoded parts of a compact token. They are not verified."""

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


def invalid(reason: str) -> InvalidTokenError:
    """The error for an invalid token. ``reason`` must not contain any part of the token."""
    return InvalidTokenError(f"The token is invalid: {reason}.")


def as_bytes(token: object) -> bytes:
    """The token as bytes. Raises InvalidTokenError if it is not ASCII text or is too long."""
    if not isinstance(token, str):
        raise invalid("not a string")
    if len(token) > MAX_TOKEN_LENGTH:
        raise invalid("too long")
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise invalid("not ASCII") from None


def encode_segment(data: bytes) -> bytes:
    """Encode as Base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def decode_segment(segment: bytes) -> bytes:
    """Decode Base64url without padding. Only the canonical encoding is accepted.

    Raises:
        InvalidTokenError: it contains other characters, padding or stray bits, or has an impossible length.
    """
    try:
        data = binascii.a2b_base64(segment.translate(_TO_STANDARD) + b"==="[: -len(segment) % 4])
    except binascii.Error:
        raise invalid("not Base64url") from None
    if encode_segment(data) != segment:
        raise invalid("Base64url is not canonical")
    return data


def read_object(raw: bytes) -> dict[str, Any]:
    """Decode a JSON object with unique keys at every depth.

    Raises:
        InvalidTokenError: it is not a JSON object, or has a duplicate key.
    """
    try:
        value = msgspec.json.decode(raw)
        # If encoding the value gives the same bytes, as for tokens of this service, no key can be a duplicate.
        if isinstance(value, dict) and msgspec.json.encode(value) != raw:
            json.loads(raw.decode(), object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise invalid("not a JSON object with unique keys") from None
    if not isinstance(value, dict):
        raise invalid("not a JSON object")
    return value


def parse(token: bytes) -> CompactJWS:
    """Parse a compact token.

    Raises:
        InvalidTokenError: it is not three segments of canonical Base64url, is too long, or its header is not a JSON
            object or has a forbidden parameter.
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


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value
