"""Stage one of the cascade: character pairs alone, at a half to a tenth of the model's cost.

The model reads fourteen n-grams at every byte. Nearly all harmless windows are so far from an attack that a rough
guess of their margin will do: one weight a pair of neighbors, fitted to the margins that the model gives. Windows
that it guesses far below a floor are not asked about; the model decides on all others.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gatewright.threats.model.features import STEP, WINDOW

SLACK = 4.0
"""How far (log odds) under a floor a guess must lie for its window to be left out. At level 1, in sources that it was
not fitted to, that leaves out 97 % of harmless windows that the model would be asked about, and 14 of the 358 windows
that only the model, and no rule, knows for attacks."""

FINENESS = 64
"""Weights of pairs are whole numbers of 1 / FINENESS, so that sums are exact."""

CLASSES = 64
"""Kinds of signs: letters, all digits, blanks, control signs and signs beyond ASCII as one each, and the others."""

_OTHER_SIGNS = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def _class_of(byte: int) -> int:
    if 0x61 <= byte <= 0x7A or 0x41 <= byte <= 0x5A:
        return 1 + (byte & 0x1F)
    if 0x30 <= byte <= 0x39:
        return 28
    if byte in b" \t\r\n\x0b\x0c":
        return 29
    if byte >= 0x80:
        return 30
    return 31 + _OTHER_SIGNS.index(byte) if byte in _OTHER_SIGNS else 0


CLASS_OF = bytes(map(_class_of, range(256)))

_LONGEST = WINDOW + STEP // 2
_BLOCK = STEP * 1_024
"""Bytes processed at a time; windows that begin in a block may end behind it."""

_STEPS = np.arange(0, _BLOCK + WINDOW, STEP)


class Screen:
    """Tells which windows of a text the model needs to be asked about.

    Args:
        weights: int16 (CLASSES, CLASSES), by the class of a sign and of the one behind it, in 1 / FINENESS.
        bias: the margin of a window without any pair.
    """

    def __init__(self, weights: npt.NDArray[np.int16], bias: float) -> None:
        # Laid out by the two bytes of a pair as they are in memory: then no index needs to be computed.
        table = np.zeros((CLASSES, 256), np.int32)
        table[:, :CLASSES] = weights.T
        self._table = table.ravel()
        self._bias = bias

    def windows(self, text: str, floor: float) -> list[bytes]:
        """Of the windows of :func:`gatewright.threats.model.features.windows` those whose margin may reach ``floor``.

        Args:
            floor: the margin (log odds) from which a window is an attack by what the model says alone.
        """
        least = (floor - SLACK - self._bias) * FINENESS
        data = text.lower().encode("utf-8", "replace")
        size = len(data)
        if size <= _LONGEST:
            return [data] if self._weighed(data).sum() >= least * math.sqrt(size) else []
        found: list[int] = []
        for begin in range(0, size - STEP // 2, _BLOCK):
            found += [begin + start for start in self._starts(data[begin : begin + _BLOCK + STEP], least)]
        return [data[start : start + WINDOW] for start in found]

    def _starts(self, data: bytes, least: float) -> list[int]:
        """Where windows begin that are to be asked about; a window is two steps, each of which is summed once."""
        size = len(data)
        weighed = self._weighed(data)
        steps = np.add.reduceat(weighed, _STEPS[: -(-len(weighed) // STEP)])
        steps[:-1] += steps[1:]
        count = min(_BLOCK // STEP, -(-(size - STEP // 2) // STEP))
        hot: list[int] = (steps[:count] >= least * math.sqrt(WINDOW)).nonzero()[0].tolist()
        return [number * STEP for number in hot]

    def _weighed(self, data: bytes) -> npt.NDArray[np.int32]:
        """The weight of each pair of neighbors."""
        pairs: npt.NDArray[np.uint16] = np.ndarray((max(0, len(data) - 1),), "<u2", data.translate(CLASS_OF), 0, (1,))
        return self._table.take(pairs)
