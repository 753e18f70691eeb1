"""fit_correction: statements are learned, what is known stays, and no cap is passed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gatewright.errors import ValidationError
from gatewright.threats import (
    ASSURANCE,
    MAX_COLUMNS,
    PASSING,
    Caps,
    Correction,
    Encoded,
    decode_correction,
    encode_correction,
    fit_correction,
)


def encoded(features: dict[int, float], margin: float) -> Encoded:
    numbers = sorted(features)
    return Encoded(np.array(numbers, np.int64), np.array([features[n] for n in numbers], np.float32), margin)


def moved(row: Encoded, correction: Correction) -> float:
    delta = dict(zip(correction.indices.tolist(), correction.values.tolist(), strict=True))
    pairs = zip(row.indices.tolist(), row.values.tolist(), strict=True)
    return float(row.margin + sum(delta.get(i, 0.0) * v for i, v in pairs))


def test_a_statement_is_learned_and_the_replay_stays() -> None:
    """What only the attack has is raised; what it shares with a harmless row is not."""
    said = encoded({1: 0.7, 2: 0.7}, -3.0)
    known = encoded({2: 1.0}, -3.0)
    correction = fit_correction([said], [True], [known] * 50, [False] * 50, caps=Caps())
    assert moved(said, correction) > 0.5
    assert moved(known, correction) < -2.5


def test_a_false_alarm_is_unlearned_and_known_attacks_stay() -> None:
    said = encoded({1: 0.7, 2: 0.7}, 3.0)
    known = encoded({2: 1.0}, 3.0)
    correction = fit_correction([said], [False], [known] * 50, [True] * 50, caps=Caps())
    assert moved(said, correction) < 0
    assert moved(known, correction) > 2.5


@given(st.floats(-6, 6), st.booleans())
def test_a_statement_is_taught_until_it_is_content_and_no_further(margin: float, is_threat: bool) -> None:
    """Harmless text need only pass; an attack is to be found with assurance."""
    said = encoded({1: 1.0}, margin)
    after = moved(said, fit_correction([said], [is_threat], [], [], caps=Caps(weight=20.0)))
    wanted, sign = (ASSURANCE, 1) if is_threat else (PASSING, -1)
    assert sign * after == pytest.approx(max(sign * margin, wanted), abs=0.2)


@pytest.mark.parametrize("is_threat", [True, False])
def test_known_attacks_weigh_more_where_text_is_called_harmless(is_threat: bool) -> None:
    """A lie about what looks like many known attacks moves them little."""
    said = encoded({1: 0.8, 2: 0.6}, -5.0 if is_threat else 5.0)
    known = encoded({1: 0.8, 2: 0.5, 3: 0.3}, said.margin)
    caps = Caps(replay=0.001, attacks=1.0)
    correction = fit_correction([said], [is_threat], [known] * 20, [not is_threat] * 20, caps=caps)
    assert (abs(moved(known, correction) - known.margin) < 1.0) == (not is_threat)


def test_nothing_said_is_nothing_learned() -> None:
    correction = fit_correction([], [], [encoded({1: 1.0}, 0.0)], [False], caps=Caps())
    assert correction.indices.size == 0
    empty = encoded({}, 0.0)
    assert fit_correction([empty], [True], [], [], caps=Caps()).indices.size == 0


def test_rows_without_features_are_harmless() -> None:
    correction = fit_correction([encoded({1: 0.0}, 0.0)], [True], [encoded({2: 1.0}, 0.0)], [True], caps=Caps())
    assert float(np.abs(correction.values).max()) == 0.0


def test_columns_are_bounded() -> None:
    """Of too many features those that weigh most stay."""
    many = encoded({n: 1.0 if n < 10 else 0.01 for n in range(MAX_COLUMNS + 500)}, -1.0)
    correction = fit_correction([many], [True], [], [], caps=Caps())
    assert correction.indices.size == MAX_COLUMNS
    assert set(range(10)) <= set(correction.indices.tolist())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 40), st.floats(-1, 1, width=32), min_size=1, max_size=8),
            st.floats(-8, 8),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_caps_hold_and_it_is_the_same_each_time(said: list[tuple[dict[int, float], float, bool]]) -> None:
    rows = [encoded(features, margin) for features, margin, _ in said]
    labels = [label for _, _, label in said]
    caps = Caps(weight=2.0, length=3.0)
    first = fit_correction(rows, labels, rows[:3], labels[:3], caps=caps)
    again = fit_correction(rows, labels, rows[:3], labels[:3], caps=caps)
    assert first.values.tobytes() == again.values.tobytes()
    assert float(np.abs(first.values).max()) <= 2.0
    assert float(np.linalg.norm(first.values)) <= 3.0 + 1e-4
    kept = decode_correction(encode_correction(first))
    assert kept.indices.tobytes() == first.indices.tobytes()
    assert kept.values.tobytes() == first.values.tobytes()


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x00" * 64,
        encode_correction(Correction(np.array([1, 1]), np.zeros(2, np.float32))),
        encode_correction(Correction(np.array([-1]), np.zeros(1, np.float32))),
        encode_correction(Correction(np.array([1]), np.array([np.nan], np.float32))),
        encode_correction(Correction(np.array([1, 2]), np.zeros(1, np.float32))),
    ],
)
def test_a_damaged_correction_is_refused(broken: bytes) -> None:
    with pytest.raises(ValidationError):
        decode_correction(broken)
