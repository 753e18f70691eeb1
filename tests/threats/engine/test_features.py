"""Features do not depend on what else is scored in the same go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gatewright.threats import COLUMNS, STEP, columns, means, windows
from gatewright.threats.model.features import FINENESS, WINDOW

WEIGHTS = (np.random.default_rng(7).integers(-127 * FINENESS, 128 * FINENESS, COLUMNS) / FINENESS).astype(np.float32)


@given(st.lists(st.binary(max_size=WINDOW), min_size=1, max_size=9))
def test_together_and_alone_the_same(cut: list[bytes]) -> None:
    """To the bit: a verdict must not hang on a neighbor."""
    assert means(cut, WEIGHTS) == [means([window], WEIGHTS)[0] for window in cut]


@given(st.binary(max_size=WINDOW))
def test_a_mean_is_that_of_its_columns(window: bytes) -> None:
    found = columns(window)
    assert found.min() >= 0 and found.max() < COLUMNS
    expected = float(WEIGHTS[found].astype(np.float64).sum()) / len(found) ** 0.5
    assert means([window], WEIGHTS)[0] == pytest.approx(expected, abs=1e-3)


def test_digits_and_case_make_no_difference() -> None:
    (first,), (second,) = windows("OR 12=34"), windows("or 98=76")
    assert np.array_equal(columns(first), columns(second))


def test_every_byte_of_a_long_text_is_in_a_window() -> None:
    text = "".join(chr(97 + i % 26) for i in range(5_000))
    cut = windows(text)
    assert all(len(window) <= WINDOW for window in cut) and len(cut) == pytest.approx(5_000 / STEP, abs=2)
    covered = {i for number, window in enumerate(cut) for i in range(number * STEP, number * STEP + len(window))}
    assert covered == set(range(5_000))
