"""Serialization of values with their types, and strict Base64.

The wire format is MessagePack, with extensions for further types (codes 1 to 11; see ``docs/encryption-format.md``).
Data of plain types only, the common case, is encoded directly.
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

try:  # several times faster, with the same results
    import pybase64 as _fast
except ImportError:
    _fast = None  # type: ignore[assignment]  # optional: only slower without it


def _convert(text: Any, _altchars: None, _validate: bool) -> bytes:
    return msgspec.convert(text, bytes)


to_base64: Callable[[bytes], str] = msgspec.to_builtins if _fast is None else _fast.b64encode_as_string
_decode: Callable[[Any, None, bool], bytes] = _convert if _fast is None else _fast.b64decode

_LAST_OF_ONE = frozenset("AQgw")
_LAST_OF_TWO = frozenset("AEIMQUYcgkosw048")
"""The valid last characters before padding, after one or two bytes: their unused bits are zero."""


def from_base64(text: str) -> bytes:
    """Decode canonical base64. Raises DecryptionError for any other text, even if it encodes the same bytes."""
    if not isinstance(text, str):  # the fast library accepts bytes, too
        raise decryption_failed()
    try:
        data = _decode(text, None, True)
    except (ValueError, TypeError):
        raise decryption_failed() from None
    rest = len(data) % 3
    if rest and text[rest - 4] not in (_LAST_OF_ONE if rest == 1 else _LAST_OF_TWO):
        raise decryption_failed()
    return data


MAX_DEPTH = 64
"""The maximum nesting depth of containers."""

DATE, LOCAL_DATETIME, TIME, DECIMAL, UUID, BIG_INTEGER, TUPLE, SET, FROZENSET, DURATION, MAP = range(1, 12)
"""Extension codes."""

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
_PLAIN_OR_CONTAINER = _PLAIN | {dict, list}
_INT64 = range(-(2**63), 2**64)

encode_plain = msgspec.msgpack.Encoder().encode
"""Encodes data for which :func:`is_plain` is true. Raises OverflowError for integers of more than 64 bits."""


def serialize(data: Any) -> bytes:
    """Serialize ``data`` without losing types.

    Supported are JSON-like values, dates, times, datetimes, durations, decimals, UUIDs, bytes, integers of any size,
    tuples and sets, up to 64 levels deep. Enum members are serialized as their values, and bytearrays as bytes.

    Raises:
        ValidationError: a value has another type (``UNSUPPORTED_TYPE``), is nested too deeply, or is text with a lone
            surrogate.
    """
    return serialize_scanned(data, is_plain(data))


def serialize_scanned(data: Any, plain: bool) -> bytes:
    """:func:`serialize` for data with a known result of :func:`is_plain`."""
    try:
        return encode_plain(data if plain else _tagged(data, 0))
    except OverflowError:
        return encode_plain(_tagged(data, 0))
    except UnicodeEncodeError:
        raise _unsupported("contains text that is not valid Unicode (a lone surrogate)") from None


def deserialize(payload: bytes) -> Any:
    """Restore the data of :func:`serialize`. Raises DecryptionError for any other bytes."""
    try:
        return decode_plain(payload)
    except (msgspec.MsgspecError, ValueError, OverflowError, ArithmeticError, RecursionError, TypeError):
        raise decryption_failed() from None


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether MessagePack preserves every type in ``value`` without extensions."""
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
    if not kinds <= _PLAIN_OR_CONTAINER or depth >= MAX_DEPTH:
        return False
    return all(is_plain(member, depth + 1) for member in members if type(member) in (dict, list))


def _tagged(value: Any, depth: int) -> Any:
    """A copy of ``value`` with extensions for types that MessagePack lacks."""
    if depth > MAX_DEPTH:
        raise _unsupported(f"is nested more than {MAX_DEPTH} levels deep")
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
    """The value of an enum member, or of a subclass of a plain type."""
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
    raise _unsupported(f"contains a {type(value).__name__}, which cannot be serialized")


def _unsupported(reason: str) -> ValidationError:
    error = FieldError(field="data", error_type="UNSUPPORTED_TYPE", message=f"The data {reason}.")
    return ValidationError(f"The data cannot be encrypted: it {reason}.", errors=[error], code="UNSUPPORTED_TYPE")


# --- extensions -------------------------------------------------------------------------------------------------


def _integer_bytes(value: int) -> bytes:
    """Two's complement, big-endian, in as few bytes as possible."""
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
        raise ValueError(f"unknown extension {code}")
    return reader(bytes(payload))


decode_plain: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=_extension).decode
