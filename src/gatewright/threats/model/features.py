"""Features of a text for the linear model: hashed n-grams of its characters and of its shape.

The text is lower case with digits as ``0``; its *shape* has letters as ``a`` as well and runs put together, so
that ``' or 1=1`` and ``' and 23=4`` look alike. All n-grams of all lengths come from one overlapping view of
eight-byte words: three numpy operations, whatever the length.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

BITS = 18
COLUMNS = 1 << BITS
"""Columns of n-grams; the columns of rules and signals come behind them."""

WINDOW = 240
STEP = 160
"""Bytes of one window and between two: long texts are scored in windows, or padding would hide an attack."""

_TEXT_LENGTHS = (1, 2, 3, 4, 5)
_SHAPE_LENGTHS = (2, 3, 4, 5, 6, 8)
_MULTIPLIERS = np.array(
    [
        *(0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F),
        *(0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3, 0x1D8E4E27C47D124F, 0xEB44ACCAB455D165),
        0xF1357AEA2E62A9C5,
    ],
    np.uint64,
)[:, None]
_MASKS = np.array([(1 << (8 * n)) - 1 for n in (*_TEXT_LENGTHS, *_SHAPE_LENGTHS)], np.uint64)[:, None]
_TEXT_MASKS, _SHAPE_MASKS = _MASKS[: len(_TEXT_LENGTHS)], _MASKS[len(_TEXT_LENGTHS) :]
_TEXT_MULTIPLIERS, _SHAPE_MULTIPLIERS = _MULTIPLIERS[: len(_TEXT_LENGTHS)], _MULTIPLIERS[len(_TEXT_LENGTHS) :]
_SHIFT = np.uint64(64 - BITS)
_TAIL = bytes(8)

_DIGITS = bytes(0x30 if 0x30 <= b <= 0x39 else b for b in range(256))
_LETTERS = bytes(0x61 if 0x61 <= b <= 0x7A or b >= 0x80 else 0x20 if b in b"\t\r\n\x0b\x0c" else b for b in range(256))
_RUNS = re.compile(rb"a{2,}|0{2,}| {2,}")


def windows(text: str) -> list[bytes]:
    """The text as the model reads it: lower case, digits as ``0``, cut into overlapping windows."""
    data = text.lower().encode("utf-8", "replace").translate(_DIGITS)
    if len(data) <= WINDOW + STEP // 2:
        return [data]
    return [data[start : start + WINDOW] for start in range(0, len(data) - STEP // 2, STEP)]


def columns(window: bytes) -> npt.NDArray[np.uint64]:
    """The column of every n-gram of a window, repeated as often as it stands there."""
    shape = _RUNS.sub(_first, window.translate(_LETTERS))
    text_words = np.ndarray((len(window) + 1,), "<u8", b"\x02" + window + _TAIL, strides=(1,))
    shape_words = np.ndarray((len(shape) + 1,), "<u8", b"\x03" + shape + _TAIL, strides=(1,))
    return np.concatenate(
        (
            (((text_words & _TEXT_MASKS) * _TEXT_MULTIPLIERS) >> _SHIFT).ravel(),
            (((shape_words & _SHAPE_MASKS) * _SHAPE_MULTIPLIERS) >> _SHIFT).ravel(),
        )
    )


def _first(match: re.Match[bytes]) -> bytes:
    return match.group(0)[:1]
