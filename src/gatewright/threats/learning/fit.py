"""Fitting a capped correction to a frozen linear model, and storing it.

The base model's scores stand; what is learned is a vector that is added to its weights and is never longer, nor
in any coordinate larger, than a cap. It is fitted from nothing each time, over all statements that count and a
replay of what the base model was trained on, so that the order in which statements came changes nothing and many
small steps reach no further than one large one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gatewright.errors import ValidationError


def encode_correction(correction: Correction) -> bytes:
    """The correction as bytes; :func:`decode_correction` gives the same to the bit."""
    return save(
        {"indices": correction.indices.astype(np.int64), "values": correction.values.astype(np.float32)},
    )


def decode_correction(data: bytes) -> Correction:
    """A correction from bytes.

    Raises:
        ValidationError: it is damaged, or not of the shape that fitting gives.
    """
    try:
        tensors = load(data)
        indices, values = tensors["indices"], tensors["values"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValidationError("The stored model version is corrupted.", code="MODEL_DAMAGED") from error
    if (
        indices.dtype != np.int64
        or values.dtype != np.float32
        or indices.shape != values.shape
        or indices.ndim != 1
        or indices.size > MAX_COLUMNS
        or not np.isfinite(values).all()
        or (indices.size and (indices[0] < 0 or (np.diff(indices) <= 0).any()))
    ):
        raise ValidationError("The stored model version is corrupted.", code="MODEL_DAMAGED")
    return Correction(indices, values)


Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

MAX_COLUMNS = 4_000
"""Features that a correction may touch; those that the statements use most."""

STEPS = 80
SAFE = 6.0
"""A known row that the base has beyond this margin may come as near as this for nothing."""

ASSURANCE = 4.0
"""The margin (log odds) at which an attack is learned: texts like it are to be found as well."""

PASSING = 1.5
"""The same for harmless text, which need only pass: the attacks around it are to be found as before."""


ATTACK = 4.0
"""So many times what a known harmless row weighs, a known attack does: there are fewer of them."""


class Encoded(NamedTuple):
    """One text as the model sees it: feature numbers (sorted, each once), their values, and the base's score."""

    indices: Integers
    values: Floats
    margin: float


class Caps(NamedTuple):
    """How far a correction may go.

    ``weight`` bounds one weight, ``length`` all of them together (Euclidean); ``ridge`` pulls towards nothing,
    ``replay`` is how much a known harmless row weighs against a statement; a known attack weighs ATTACK times that,
    and where a statement calls text harmless at least ``attacks``: if that is true it can be learned without moving
    attacks, and a lie cannot.
    """

    weight: float = 8.0
    length: float = 25.0
    ridge: float = 0.002
    replay: float = 0.03
    attacks: float = 1.0


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
    """The correction under which the statements get their labels and the replay set is no worse than before.

    A statement asks for a margin of ASSURANCE, or PASSING where it calls text harmless, and for no more (a hinge,
    rounded off: the Huber loss of what is missing). A known row costs
    only as far as it is moved towards the wrong side of where the base has it, or of SAFE (squared): what the base
    has learned is kept, not learned again.

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
    problem = _Problem(
        said=_matrix(statements, columns),
        margins=np.array([row.margin for row in statements], np.float32),
        said_signs=_signs(statement_labels),
        wanted=np.where(np.array(statement_labels, bool), ASSURANCE, PASSING).astype(np.float32),
        known=_matrix(replay, columns),
        known_signs=_signs(replay_labels),
        room=_room(replay, replay_labels),
        weights=_weights(statement_labels, replay_labels, caps),
        caps=caps,
    )
    return Correction(columns, _descend(problem))


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


def _image(rows: Floats, vector: Floats) -> Floats:
    """``rows @ vector``, by einsum: a BLAS adds up in another order with every number of threads."""
    return np.asarray(np.einsum("ij,j->i", rows, vector), np.float32)


def _pull(rows: Floats, vector: npt.NDArray[np.floating]) -> Floats:
    """``rows.T @ vector``, likewise."""
    return np.asarray(np.einsum("ij,i->j", rows, vector), np.float32)


def _signs(labels: list[bool]) -> Floats:
    return np.where(np.array(labels, bool), 1.0, -1.0).astype(np.float32)


def _room(rows: list[Encoded], labels: list[bool]) -> Floats:
    """How far each known row may move towards the wrong side: to SAFE, and not at all where it is nearer."""
    margins = np.array([row.margin for row in rows], np.float32)
    return np.asarray(np.maximum(0.0, _signs(labels) * margins - SAFE), np.float32)


def _weights(statement_labels: list[bool], replay_labels: list[bool], caps: Caps) -> Floats:
    attacks = ATTACK * caps.replay
    if not all(statement_labels):
        attacks = max(caps.attacks, attacks)
    return np.where(np.array(replay_labels, bool), attacks, caps.replay).astype(np.float32)


class _Problem(NamedTuple):
    said: Floats
    margins: Floats
    said_signs: Floats
    wanted: Floats
    known: Floats
    known_signs: Floats
    room: Floats
    weights: Floats
    caps: Caps

    def gradient(self, delta: Floats) -> Floats:
        missing = self.wanted - self.said_signs * (self.margins + _image(self.said, delta))
        slope = -self.said_signs * np.clip(missing, 0.0, 1.0)
        towards_wrong = np.maximum(0.0, -self.known_signs * (_image(self.known, delta)) - self.room)
        known_slope = self.weights * -self.known_signs * towards_wrong
        gradient = _pull(self.said, slope) + _pull(self.known, known_slope) + np.float32(self.caps.ridge) * delta
        return np.asarray(gradient, np.float32)

    def curvature(self) -> float:
        """An upper bound of the largest eigenvalue of the Hessian, by power iteration."""
        vector: Floats = np.ones(self.said.shape[1], np.float32)
        value = 1.0
        for _ in range(12):
            known = _pull(self.known, self.weights * _image(self.known, vector))
            image = _pull(self.said, _image(self.said, vector)) + known
            value = float(np.linalg.norm(image))
            if value == 0.0:
                return 1.0
            vector = np.asarray(image / value, np.float32)
        return value * 1.1 + self.caps.ridge


def _descend(problem: _Problem) -> Floats:
    """Accelerated projected gradient descent, the same to the bit each time."""
    step = np.float32(1.0 / problem.curvature())
    current: Floats = np.zeros(problem.said.shape[1], np.float32)
    ahead: Floats = current
    momentum = 1.0
    for _ in range(STEPS):
        following = _project(np.asarray(ahead - step * problem.gradient(ahead), np.float32), problem.caps)
        next_momentum = (1.0 + (1.0 + 4.0 * momentum * momentum) ** 0.5) / 2.0
        ahead = np.asarray(following + (momentum - 1.0) / next_momentum * (following - current), np.float32)
        current, momentum = following, next_momentum
    return current


def _project(vector: Floats, caps: Caps) -> Floats:
    clipped: Floats = np.asarray(np.clip(vector, -caps.weight, caps.weight), np.float32)
    length = float(np.linalg.norm(clipped))
    return clipped if length <= caps.length else np.asarray(clipped * (caps.length / length), np.float32)
