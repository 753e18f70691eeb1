"""Text features of the linear model: hashed n-grams of characters and of their shape.

The text is lower case with digits as ``0``; its *shape* has all letters as one and runs put together, so that ``' or
1=1`` and ``' and 23=4`` get the same features. Many windows are hashed at once: eight bytes from every position are
one word, and a multiplication by a constant that is shifted to the left drops all but the first *n* of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BITS = 18
COLUMNS = 1 << BITS
"""Columns of n-grams; the columns of rules and signals come behind them."""

WINDOW = 96
STEP = 48
"""Bytes of one window and between two: long texts are scored in windows, or padding would hide an attack."""

LENGTHS = (1, 2, 3, 4, 5, 6, 8)
_CONSTANTS = (
    *(0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F),
    *(0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3),
)
_MULTIPLIERS = np.array([(c << (64 - 8 * n)) % (1 << 64) for c, n in zip(_CONSTANTS, LENGTHS, strict=True)], np.uint64)[
    :, None
]
_SHIFT = np.uint64(64 - BITS)

_START = b"\x02"
_END = bytes(8)
_LETTER, _DIGIT, _SPACE = 0xFF, 0xFE, 0xFD
_DIGITS = bytes(0x30 if 0x30 <= b <= 0x39 else b for b in range(256))


def _shape_of(byte: int) -> int:
    """Signs keep their place in the upper half, so that no n-gram of a shape is one of a text.

    But for the last three, whose places mean letters, digits and blanks: they take those of ``A``, ``B`` and ``C``,
    which a text in lower case does not have.
    """
    if 0x61 <= byte <= 0x7A or byte >= 0x80:
        return _LETTER
    if byte == 0x30:
        return _DIGIT
    if byte in b" \t\r\n\x0b\x0c":
        return _SPACE
    if byte >= 0x7D:
        return byte - 0x7D + 0xC1
    return byte | 0x80 if byte else 0


_SHAPES = bytes(map(_shape_of, range(256)))
_PAIRS = [(bytes([sign, sign]), bytes([sign])) for sign in (_LETTER, _DIGIT, _SPACE)]
_LONG_WORD, _LETTERS = bytes([_LETTER]) * 4, bytes([_LETTER])

_LONGEST = WINDOW + STEP // 2
_SUM_OF_LENGTHS = np.ones(len(LENGTHS), np.float32)
_BUT_THE_GAP = np.ones(2 * (_LONGEST + 1) + len(_END), np.float32)
_BUT_THE_GAP[_LONGEST + 1 : _LONGEST + 1 + len(_END)] = 0.0
"""Cut at the right place it keeps the positions of a text and of its shape, and drops the end between the two."""

_ONE_BY_ONE = 2
"""Up to so many windows are quicker scored one by one than at once."""

FINENESS = 64
"""Weights are whole numbers of 1 / FINENESS: then sums in single precision are exact, in whatever order and
company they are added up, up to 2 ** 24 / FINENESS."""

Columns = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Grams(NamedTuple):
    """The columns of all n-grams of some windows: a row a length of n-gram, a column a position.

    ``edges`` holds begin and end of the text of each window, then of the shape of each.
    """

    columns: Columns
    edges: Columns


def windows(text: str) -> list[bytes]:
    """The text in lower case, cut into overlapping windows."""
    data = text.lower().encode("utf-8", "replace")
    if len(data) <= WINDOW + STEP // 2:
        return [data]
    return [data[start : start + WINDOW] for start in range(0, len(data) - STEP // 2, STEP)]


def grams(cut: Sequence[bytes]) -> Grams:
    """The n-grams of windows, at once: the cost of a call into numpy is that of some hundred bytes."""
    text = (_START + (_END + _START).join(cut) + _END).translate(_DIGITS)
    sizes = np.fromiter(map(len, cut), np.int64, len(cut)) + (1 + len(_END))
    begins = np.cumsum(sizes) - sizes
    shapes, short = _collapsed(text.translate(_SHAPES), begins)
    every = np.concatenate((sizes, short))
    ends = np.cumsum(every)
    edges = np.empty(2 * len(every), np.int64)
    edges[::2] = ends - every
    edges[1::2] = ends - len(_END)
    return Grams(_hashed(text + shapes), edges)


def _hashed(data: bytes) -> Columns:
    words = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,)).copy()
    hashed = words * _MULTIPLIERS
    hashed >>= _SHIFT
    return hashed.view(np.int64)


def _collapsed(shapes: bytes, begins: Columns) -> tuple[bytes, Columns]:
    """Runs of letters, digits and blanks put together, and how long each window's shape is then."""
    signs = np.frombuffer(shapes, np.uint8)
    kept = signs < _SPACE
    kept[1:] |= signs[1:] != signs[:-1]
    return signs[kept].tobytes(), np.add.reduceat(kept, begins, dtype=np.int64)


def columns(window: bytes) -> Columns:
    """The column of every n-gram of a window, repeated as often as it is there."""
    found, (_, text_end, shape, shape_end) = grams([window])
    return np.concatenate((found[:, :text_end].ravel(), found[:, shape:shape_end].ravel()))


def means(cut: Sequence[bytes], weights: Floats) -> list[float]:
    """For each window the weights of its n-grams, summed, over the root of their number.

    Args:
        weights: whole numbers of 1 / FINENESS.
    """
    if len(cut) <= _ONE_BY_ONE and max(map(len, cut)) <= _LONGEST:
        return [_mean(window, weights) for window in cut]
    found, edges = grams(cut)
    sums = np.add.reduceat(_SUM_OF_LENGTHS.dot(weights.take(found)), edges)[::2].astype(np.float64)
    sizes = edges[1::2] - edges[::2]
    half = len(cut)
    result: list[float] = ((sums[:half] + sums[half:]) / np.sqrt((sizes[:half] + sizes[half:]) * len(LENGTHS))).tolist()
    return result


def _mean(window: bytes, weights: Floats) -> float:
    """The same for one short window, which is what most values are, in half the time."""
    text = (_START + window + _END).translate(_DIGITS)
    shape = text.translate(_SHAPES).replace(_LONG_WORD, _LETTERS)
    for pair, single in _PAIRS:
        while pair in shape:
            shape = shape.replace(pair, single)
    found = _hashed(text + shape[:-1])
    begin = _LONGEST - len(window)
    kept = _BUT_THE_GAP[begin : begin + found.shape[1]]
    total = float(_SUM_OF_LENGTHS.dot(weights.take(found)).dot(kept))
    return total / math.sqrt((found.shape[1] - len(_END)) * len(LENGTHS))
