"""A small detector over a linear model, trained here: learning is tested on it apart from rules and shipped weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self
from zlib import crc32

import msgspec
import numpy as np

from gatewright.threats import CLEAN, Correction, Encoded, Floats, Inspection, ReferenceRow, ThreatDetectionResult

SIZE = 1 << 14
THRESHOLD = 2.0
PRECISE = "<script>alert("
"""The one rule of this detector."""


def as_text(payload: Any) -> str:
    """A payload as one text."""
    return payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()


class SmallDetector:
    """Hashed character 1- to 3-grams, L2-normalized; an attack from a margin of 2 on."""

    def __init__(self, weights: Floats, bias: float, correction: Correction | None = None) -> None:
        self._weights, self._bias = weights, bias
        self._used = weights
        if correction is not None:
            self._used = weights.copy()
            self._used[correction.indices] += correction.values

    @property
    def base_id(self) -> str:
        return hashlib.sha256(self._weights.tobytes()).hexdigest()[:16]

    def encode(self, text: str) -> Encoded:
        indices, values = grams(text)
        return Encoded(indices, values, float(values @ self._weights[indices]) + self._bias)

    def with_correction(self, correction: Correction | None) -> Self:
        return type(self)(self._weights, self._bias, correction)

    def score(self, text: str) -> float:
        indices, values = grams(text)
        return float(values @ self._used[indices]) + self._bias

    def inspect(self, data: Any, *, level: int = 1) -> Inspection:
        text = as_text(data)
        margin = self.score(text)
        rules = [PRECISE] if PRECISE in text else ["model"]
        if margin < THRESHOLD and rules == ["model"]:
            return CLEAN
        confidence = 1.0 if rules == [PRECISE] else 1 / (1 + np.exp(-margin))
        found = ThreatDetectionResult(
            threat_detected=True, threat_type="xss", confidence=confidence, detected_patterns=rules
        )
        return Inspection(threat_detected=True, findings=[found], confidence=confidence)


@lru_cache(maxsize=20_000)
def grams(text: str) -> tuple[Any, Floats]:
    data = text[:2_000].lower().encode()
    numbers = [crc32(data[i : i + n]) % SIZE for n in (1, 2, 3) for i in range(len(data) - n + 1)] or [0]
    indices, counts = np.unique(np.array(numbers, np.int64), return_counts=True)
    values = np.sqrt(counts).astype(np.float32)
    return indices, values / np.float32(np.linalg.norm(values))


def train(rows: Sequence[ReferenceRow]) -> SmallDetector:
    """Logistic regression by plain gradient descent."""
    encoded = [grams(as_text(row.payload)) for row in rows]
    signs = np.array([1.0 if row.label else -1.0 for row in rows], np.float32)
    attacks = max(1, int((signs > 0).sum()))
    weight = np.where(signs > 0, len(rows) / attacks / 2, 1.0).astype(np.float32)
    indices = np.concatenate([i for i, _ in encoded])
    values = np.concatenate([v for _, v in encoded])
    of_row = np.repeat(np.arange(len(rows)), [i.size for i, _ in encoded])
    weights, bias = np.zeros(SIZE, np.float32), 0.0
    for _ in range(400):
        margins = np.bincount(of_row, values * weights[indices], len(rows)) + bias
        slope = -signs * weight / (1 + np.exp(np.clip(signs * margins, -30, 30)))
        weights -= (60.0 / len(rows)) * np.bincount(indices, values * slope[of_row], SIZE).astype(np.float32)
        bias -= float(slope.sum()) / len(rows) * 2.0
    return SmallDetector(weights, bias)
