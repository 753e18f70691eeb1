"""Attribution of a score to the n-grams that caused it.

Only findings need them, so nothing here runs for a value that passes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewright.threats.model.features import LENGTHS, Columns, Floats, grams

SHOWN = 8
_CANDIDATES = 48
_FIRST_TOLD = 2
"""Of :data:`LENGTHS`: n-grams of one or two characters carry weight too, but explain nothing."""

_BEGIN, _END = "⟨", "⟩"
"""How the begin and the end of what was scored are written."""

_WORDS = re.compile(rb"[a-z\x80-\xff]+")
_NUMBERS = re.compile(rb"[0-9]+")
_BLANKS = re.compile(rb"[ \t\r\n\x0b\x0c]+")
_DIGITS = bytes(0x30 if 0x30 <= b <= 0x39 else b for b in range(256))


class Gram(NamedTuple):
    """An n-gram: of the ``text`` (digits as 0), or of its ``shape`` (words as a, numbers as 0), and what it added
    to the log odds of an attack."""

    text: str
    of: str
    weight: float


def heaviest(
    window: bytes, weigh: Callable[[Columns], Floats], hidden: Sequence[bool] = (), count: int = SHOWN
) -> list[Gram]:
    """The n-grams that spoke most for an attack, the heaviest first, none of them a part of another.

    Args:
        window: what was scored.
        weigh: what each of some columns adds to the score of a window with a single n-gram.
        hidden: of each byte of the window, whether it is of a secret; no n-gram with such a byte is reported.
        count: how many at most.
    """
    found, (_, text_end, begin, end) = grams([window])
    long_ones = found[_FIRST_TOLD:]
    columns = np.concatenate((long_ones[:, :text_end], long_ones[:, begin:end]), axis=1)
    width = columns.shape[1]
    flat = columns.ravel()
    order = flat.argsort(kind="stable")
    ordered = flat[order]
    fresh = np.empty(len(flat) + 1, bool)
    fresh[0] = fresh[-1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:-1])
    edges = fresh.nonzero()[0]
    starts = edges[:-1]
    weights = weigh(ordered[starts]) * (edges[1:] - starts) / math.sqrt(width * len(LENGTHS))
    if any(hidden):
        secret = _touched(hidden, width, int(text_end)).ravel()
        weights[np.logical_or.reduceat(secret[order], starts)] = 0.0
    heavy = (-weights).argsort(kind="stable")[:_CANDIDATES]
    spellings = _spelling(window, "text"), _spelling(window, "shape")
    chosen: list[Gram] = []
    for number, weight in zip(heavy.tolist(), weights[heavy].tolist(), strict=True):
        if len(chosen) == count or weight <= 0.0:
            break
        row, place = divmod(int(order[starts[number]]), width)
        of = "text" if place < text_end else "shape"
        place -= 0 if of == "text" else int(text_end)
        piece = _readable(spellings[of == "shape"][place : place + LENGTHS[_FIRST_TOLD + row]])
        if not any(of == other.of and (piece in other.text or other.text in piece) for other in chosen):
            chosen.append(Gram(piece, of, round(weight, 3)))
    return chosen


def _touched(hidden: Sequence[bool], width: int, text_end: int) -> npt.NDArray[np.bool_]:
    """Of each n-gram, whether it has a byte of a secret; in a shape nothing of one can be read."""
    flags = np.zeros(width + max(LENGTHS), bool)
    flags[1 : 1 + len(hidden)] = hidden
    lengths = LENGTHS[_FIRST_TOLD:]
    touched = np.zeros((len(lengths), width), bool)
    for row, length in enumerate(lengths):
        for shift in range(length):
            touched[row, :text_end] |= flags[shift : shift + text_end]
    return touched


def _spelling(window: bytes, of: str) -> bytes:
    if of == "text":
        body = window.translate(_DIGITS)
    else:
        body = _BLANKS.sub(b" ", _NUMBERS.sub(b"0", _WORDS.sub(b"a", window)))
    return b"\x02" + body + bytes(max(LENGTHS))


def _readable(piece: bytes) -> str:
    begins, ends = piece.startswith(b"\x02"), piece.endswith(b"\x00")
    middle = piece.removeprefix(b"\x02").rstrip(b"\x00").decode("utf-8", "replace")
    return f"{_BEGIN if begins else ''}{middle}{_END if ends else ''}"
