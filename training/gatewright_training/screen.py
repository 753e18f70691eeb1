"""Fit of the screen: the first stage of the model's cascade, as weights of pairs of neighboring characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from gatewright.threats.model.cascade import CLASS_OF, CLASSES, FINENESS

_FITTED = (-8.0, 6.0)
"""Margins beyond these are all the same to the fit: what counts is what lies between."""

_RIDGE = 1.0
"""What the square of a weight costs, so that rare pairs weigh little."""

_NEAR, _WEIGHT = -2.0, 10.0
"""Windows with a margin above weigh so much more than the many far below, about which a mistake costs nothing."""


def _pairs(window: bytes) -> npt.NDArray[np.int64]:
    signs = np.frombuffer(window.translate(CLASS_OF), np.uint8).astype(np.int64)
    return signs[:-1] * CLASSES + signs[1:]


def fit_screen(cut: Sequence[bytes], margins: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int16], float]:
    """Weights and bias for :class:`Screen`: ridge regression of the model's margins on the pairs of windows.

    Solved and not approached step by step: then the rounded weights are the same wherever it is done.

    Args:
        cut: windows, harmless ones and attacks.
        margins: what the model says of each, without rules and signals.
    """
    pairs = [_pairs(window) for window in cut]
    sizes = np.array([len(window) for window in cut])
    counts = np.array(list(map(len, pairs)))
    matrix = sparse.csr_matrix(
        (np.repeat(1.0 / np.sqrt(sizes), counts), np.concatenate(pairs), np.concatenate(([0], np.cumsum(counts)))),
        shape=(len(cut), CLASSES * CLASSES),
    )
    matrix.sum_duplicates()
    weights = np.where(margins > _NEAR, _WEIGHT, 1.0)
    wanted = np.clip(margins, *_FITTED)
    middle = matrix.T @ weights / weights.sum()
    height = float(wanted @ weights / weights.sum())
    moments = (matrix.T @ matrix.multiply(weights[:, None]).tocsr()).toarray()
    moments -= np.outer(middle, middle * weights.sum())
    moments[np.diag_indices_from(moments)] += _RIDGE
    found = linalg.solve(moments, matrix.T @ ((wanted - height) * weights), assume_a="pos", overwrite_a=True)
    bias = round(height - float(middle @ found), 3)
    return np.rint(found * FINENESS).astype(np.int16).reshape(CLASSES, CLASSES), bias
