"""Serialization of values with their types, and strict Base64.

The wire form is MessagePack. Types that MessagePack lacks are extensions (codes 1 to 11, written down
in ``docs/encryption-format.md``). Data of plain types, the usual case, is recognized at the price of a look at
each value's type and encoded directly.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from gatewright.encryption.secretbox import decryption_failed
from gatewright.errors import FieldError, ValidationError

try:  # works with vector instructions, a few times as fast; what it gives and takes here is the same
    import pybase64 as _fast
except ImportError:
    _fast = None  # type: ignore[assignment]  # only its speed is missed


def _convert(text: Any, _altchars: None, _validate: bool) -> bytes:
    return msgspec.convert(text, bytes)


to_base64: Callable[[bytes], str] = msgspec.to_builtins if _fast is None else _fast.b64encode_as_string
_decode: Callable[[Any, None, bool], bytes] = _convert if _fast is None else _fast.b64decode

_LAST_OF_ONE = frozenset("AQgw")
_LAST_OF_TWO = frozenset("AEIMQUYcgkosw048")
"""What may stand before the padding, where one byte or two are left: characters whose further bits are zero."""


def from_base64(text: str) -> bytes:
    """Decode canonical base64; any other text, even one of the same bytes, raises DecryptionError."""
    if not isinstance(text, str):  # the fast library would take bytes as well
        raise decryption_failed()
    try:
        data = _decode(text, None, True)
    except (ValueError, TypeError):
        raise decryption_failed() from None
    rest = len(data) % 3
    if rest and text[rest - 4] not in (_LAST_OF_ONE if rest == 1 else _LAST_OF_TWO):
        raise decryption_failed()
    return data


MAXIMUM_DEPTH = 64
"""Containers within containers at most."""

DATE, LOCAL_DATETIME, TIME, DECIMAL, UUID, BIG_INTEGER, TUPLE, SET, FROZENSET, DURATION, MAP = range(1, 12)
"""Extension codes."""

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
_PLAIN_OR_CONTAINER = _PLAIN | {dict, list}
_INT64 = range(-(2**63), 2**64)

encode_plain = msgspec.msgpack.Encoder().encode
"""For data of which :func:`is_plain` is true; integers beyond 64 bits overflow."""


def serialise(data: Any) -> bytes:
    """``data`` as bytes, types kept.

    Takes JSON-like values, and dates, times, datetimes, durations, decimals, UUIDs, bytes, integers of any
    size, tuples and sets, nested up to 64 deep. Enum members go as their values, bytearrays as bytes.

    Raises:
        ValidationError: a value of another type (``UNSUPPORTED_TYPE``), nested too deeply, or text that is no
            Unicode (a lone surrogate).
    """
    return serialise_surveyed(data, is_plain(data))


def serialise_surveyed(data: Any, plain: bool) -> bytes:
    """:func:`serialise` of data for which :func:`is_plain` gave ``plain``."""
    try:
        return encode_plain(data if plain else _tagged(data, 0))
    except OverflowError:
        return encode_plain(_tagged(data, 0))
    except UnicodeEncodeError:
        raise _refused("holds text that is not Unicode (a lone surrogate)") from None


def deserialise(payload: bytes) -> Any:
    """The data of :func:`serialise`; raises DecryptionError for bytes that it never made."""
    try:
        return decode_plain(payload)
    except (msgspec.MsgspecError, ValueError, OverflowError, ArithmeticError, RecursionError, TypeError):
        raise decryption_failed() from None


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether MessagePack alone keeps every type in ``value``."""
    kind = type(value)
    if kind is dict:
        members: Any = value.values()
        if not all(type(key) is str for key in value):
            return False
    elif kind is list:
        members = value
    else:
        return kind in _PLAIN
    kinds = set(map(type, members))
    if kinds <= _PLAIN:
        return True
    if not kinds <= _PLAIN_OR_CONTAINER or depth >= MAXIMUM_DEPTH:
        return False
    return all(is_plain(member, depth + 1) for member in members if type(member) in (dict, list))


def _tagged(value: Any, depth: int) -> Any:
    """A copy of ``value`` in which every type that MessagePack lacks is an extension."""
    if depth > MAXIMUM_DEPTH:
        raise _refused(f"is nested more than {MAXIMUM_DEPTH} deep")
    kind = type(value)
    if kind is dict:
        return _tagged_map(value, depth + 1)
    if kind is list:
        return [_tagged(member, depth + 1) for member in value]
    if kind is int:
        return value if value in _INT64 else msgspec.msgpack.Ext(BIG_INTEGER, _integer_bytes(value))
    if kind in _PLAIN:
        return value
    if kind in _CONTAINERS:
        return msgspec.msgpack.Ext(_CONTAINERS[kind], encode_plain([_tagged(member, depth + 1) for member in value]))
    if kind is dt.datetime and value.tzinfo is dt.UTC:
        return value  # MessagePack's own timestamp
    writer = _SCALARS.get(kind)
    if writer is not None:
        code, write = writer
        return msgspec.msgpack.Ext(code, write(value))
    return _tagged(_as_known_type(value), depth)


def _tagged_map(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str for key in value):
        return {key: _tagged(member, depth) for key, member in value.items()}
    pairs = [[_tagged(key, depth), _tagged(member, depth)] for key, member in value.items()]
    return msgspec.msgpack.Ext(MAP, encode_plain(pairs))


def _as_known_type(value: Any) -> Any:
    """The value of an enum member, the plain value of a subclass of a plain type."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    scalar: type[Any]
    for scalar in (str, int, float, bytes):
        if isinstance(value, scalar):
            return scalar(value)
    raise _refused(f"holds a {type(value).__name__}, which has no serialized form")


def _refused(reason: str) -> ValidationError:
    error = FieldError(field="data", error_type="UNSUPPORTED_TYPE", message=f"The data {reason}.")
    return ValidationError(f"The data cannot be encrypted: it {reason}.", errors=[error], code="UNSUPPORTED_TYPE")


# --- extensions -------------------------------------------------------------------------------------------------


def _integer_bytes(value: int) -> bytes:
    """Two's complement, big-endian, in as few bytes as hold it."""
    return value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True)


def _duration_bytes(value: dt.timedelta) -> bytes:
    return encode_plain([value.days, value.seconds, value.microseconds])


def _duration(payload: bytes) -> dt.timedelta:
    days, seconds, microseconds = decode_plain(payload)
    return dt.timedelta(days, seconds, microseconds)


def _iso(value: dt.date | dt.time) -> bytes:
    return value.isoformat().encode()


_CONTAINERS: dict[type, int] = {tuple: TUPLE, set: SET, frozenset: FROZENSET}
_SCALARS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    dt.date: (DATE, _iso),
    dt.datetime: (LOCAL_DATETIME, _iso),
    dt.time: (TIME, _iso),
    dt.timedelta: (DURATION, _duration_bytes),
    decimal.Decimal: (DECIMAL, lambda value: str(value).encode()),
    uuid.UUID: (UUID, lambda value: bytes(value.bytes)),
}
_READERS: dict[int, Callable[[bytes], Any]] = {
    DATE: lambda payload: dt.date.fromisoformat(payload.decode()),
    LOCAL_DATETIME: lambda payload: dt.datetime.fromisoformat(payload.decode()),
    TIME: lambda payload: dt.time.fromisoformat(payload.decode()),
    DECIMAL: lambda payload: decimal.Decimal(payload.decode()),
    UUID: lambda payload: uuid.UUID(bytes=payload),
    BIG_INTEGER: lambda payload: int.from_bytes(payload, "big", signed=True),
    TUPLE: lambda payload: tuple(decode_plain(payload)),
    SET: lambda payload: set(decode_plain(payload)),
    FROZENSET: lambda payload: frozenset(decode_plain(payload)),
    DURATION: _duration,
    MAP: lambda payload: dict(decode_plain(payload)),
}


def _extension(code: int, payload: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise ValueError(f"extension {code} is not of this format")
    return reader(bytes(payload))


decode_plain: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=_extension).decode
