"""Fit a capped correction to a frozen linear model.

The base model's scores stand; what is learned is a vector that is added to its weights and is never longer, nor
in any coordinate larger, than a cap. It is fitted from nothing each time, over all statements that count and a
replay of what the base model was trained on, so that the order in which statements came changes nothing and many
small steps reach no further than one large one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

MAX_COLUMNS = 6_000
"""Features that a correction may touch; those that the statements use most."""

STEPS = 200


class Encoded(NamedTuple):
    """One text as the model sees it: feature numbers (sorted, each once), their values, and the base's score."""

    indices: Integers
    values: Floats
    margin: float


class Caps(NamedTuple):
    """How far a correction may go: for one weight, and for all of them together (Euclidean)."""

    weight: float = 6.0
    length: float = 40.0
    ridge: float = 0.002


class Correction(NamedTuple):
    """What is added to the weights at ``indices``."""

    indices: Integers
    values: Floats


def fit_correction(
    statements: list[Encoded],
    statement_labels: list[bool],
    replay: list[Encoded],
    replay_labels: list[bool],
    *,
    caps: Caps,
) -> Correction:
    """The correction under which the statements are judged as labelled and the replay as before.

    A statement weighs one. The replay weighs together as much as the statements, harmless and attacks alike, but
    never less than half a statement a row, for what it protects is certain.

    Args:
        statements: what people said, encoded.
        statement_labels: whether each is an attack.
        replay: rows that the base model was trained on.
        replay_labels: whether each is an attack.
        caps: how far to go at most.
    """
    columns = _columns(statements)
    if columns.size == 0:
        return Correction(columns, np.zeros(0, np.float32))
    rows = statements + replay
    matrix = _matrix(rows, columns)
    margins = np.array([row.margin for row in rows], np.float32)
    signs = np.where(np.array(statement_labels + replay_labels, bool), 1.0, -1.0).astype(np.float32)
    weights = np.ones(len(rows), np.float32)
    if replay:
        weights[len(statements) :] = max(0.5, len(statements) / len(replay))
    return Correction(columns, _descend(matrix, margins, signs, weights, caps))


def _columns(statements: list[Encoded]) -> Integers:
    """The features of the statements, the most used ones where there are too many."""
    if not statements:
        return np.zeros(0, np.int64)
    every = np.concatenate([row.indices for row in statements]).astype(np.int64)
    mass = np.abs(np.concatenate([row.values for row in statements]))
    unique, where = np.unique(every, return_inverse=True)
    if unique.size <= MAX_COLUMNS:
        return unique
    total = np.bincount(where, weights=mass)
    return np.sort(unique[np.argsort(-total, kind="stable")[:MAX_COLUMNS]])


def _matrix(rows: list[Encoded], columns: Integers) -> Floats:
    matrix = np.zeros((len(rows), columns.size), np.float32)
    for number, row in enumerate(rows):
        places = np.searchsorted(columns, row.indices)
        places[places == columns.size] = 0
        known = columns[places] == row.indices
        matrix[number, places[known]] = row.values[known]
    return matrix


def _descend(matrix: Floats, margins: Floats, signs: Floats, weights: Floats, caps: Caps) -> Floats:
    """Accelerated projected gradient descent on the weighted logistic loss, the same to the bit each time."""
    step = 1.0 / (0.25 * _largest_eigenvalue(matrix, weights) + caps.ridge)
    current = np.zeros(matrix.shape[1], np.float32)
    ahead, momentum = current, 1.0
    for _ in range(STEPS):
        agreement = signs * (margins + matrix @ ahead)
        slope = -signs * weights / (1.0 + np.exp(np.clip(agreement, -30.0, 30.0)))
        gradient = matrix.T @ slope + np.float32(caps.ridge) * ahead
        following = _project((ahead - np.float32(step) * gradient).astype(np.float32), caps)
        next_momentum = (1.0 + (1.0 + 4.0 * momentum * momentum) ** 0.5) / 2.0
        ahead = following + np.float32((momentum - 1.0) / next_momentum) * (following - current)
        current, momentum = following, next_momentum
    return current


def _project(vector: Floats, caps: Caps) -> Floats:
    clipped = np.clip(vector, -caps.weight, caps.weight)
    length = float(np.linalg.norm(clipped))
    return clipped if length <= caps.length else (clipped * np.float32(caps.length / length)).astype(np.float32)


def _largest_eigenvalue(matrix: Floats, weights: Floats) -> float:
    """Of the weighted Gram matrix, by power iteration, a little over so that no step is too long."""
    vector = np.ones(matrix.shape[1], np.float32)
    value = 1.0
    for _ in range(12):
        vector = matrix.T @ (weights * (matrix @ vector))
        value = float(np.linalg.norm(vector))
        if value == 0.0:
            return 1.0
        vector /= np.float32(value)
    return value * 1.1
