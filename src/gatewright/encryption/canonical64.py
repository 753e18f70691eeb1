"""Canonical base64 (RFC 4648 §4, padded): bytes have one text, and every other text is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gatewright.encryption.failure import decryption_failed

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
    """The bytes of canonical base64; raises DecryptionError for any other text, also one that decodes alike."""
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
