"""The first look: it cuts as the model does, and lets through whatever may be an attack."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gatewright.threats import (
    CLASSES,
    COLUMNS,
    SLACK,
    Correction,
    DetectionEngine,
    LinearModel,
    Screen,
    load_reference,
    windows,
)
from gatewright.threats.model.cascade import FINENESS
from gatewright_training.screen import fit_screen

EVERYTHING = -1e6
"""A floor that every window reaches."""

PROSE = "Oak shelf (waxed by hand); size 90 x 24 cm. It's sold in pairs, O'Neill & Sons say; see the \"notes\". "


@pytest.fixture(scope="module")
def screen() -> Screen:
    """The one that ships."""
    found = LinearModel.load().screen
    assert found is not None
    return found


@given(st.text(min_size=1, max_size=400))
def test_windows_are_those_of_the_model(text: str) -> None:
    """The same cuts of the same text, whatever signs are in it."""
    neutral = Screen(np.zeros((CLASSES, CLASSES), np.int16), 0.0)
    assert neutral.windows(text, EVERYTHING) == windows(text)
    assert neutral.windows(text, SLACK + 1.0) == []


@pytest.mark.parametrize("size", [1, 120, 121, 144, 145, 49_151, 49_152, 49_176, 49_177, 98_304, 98_330, 200_001])
def test_long_texts_are_cut_alike(screen: Screen, size: int) -> None:
    """At the edges of windows and of what is looked at in one go."""
    text = (PROSE * (size // len(PROSE) + 1))[:size]
    assert screen.windows(text, EVERYTHING) == windows(text)


def test_a_sum_of_pairs_decides() -> None:
    """The weight of each pair, over the root of the length, plus the bias, against the floor less the slack."""
    weights = np.zeros((CLASSES, CLASSES), np.int16)
    weights[3, 2] = 3 * FINENESS  # "ba", as the second and the first letter
    found = Screen(weights, 1.0)
    just = 1.0 + 2 * 3.0 / np.sqrt(5)
    assert found.windows("baxba", just + SLACK - 0.01) == [b"baxba"]
    assert found.windows("baxba", just + SLACK + 0.01) == []
    assert found.windows("abxab", 1.0 + SLACK + 0.01) == []


def test_harmless_text_is_left_out_and_an_attack_within_it_is_not(screen: Screen) -> None:
    """Of a long text only windows around the attack are asked about."""
    floor = 2.2
    quiet = "A table of beech wood for the garden, delivered in two parcels. " * 40
    assert screen.windows(quiet, floor) == []
    asked = screen.windows(quiet + "1' or sleep(5)='1 union select password from users--" + quiet, floor)
    assert asked and all(b"sleep" in window or b"union" in window or b"users" in window for window in asked)


def test_it_leaves_out_what_the_model_finds_harmless(screen: Screen) -> None:
    """Of the learner's reference rows: hardly any attack, most of what is harmless."""
    model, floor = LinearModel.load(), 2.2
    missed = attacks = asked = harmless = 0
    for row in load_reference():
        if not isinstance(row.payload, str):
            continue
        for window, score in zip(cut := windows(row.payload), model.scores(cut), strict=True):
            let_through = window in screen.windows(window.decode("utf-8", "replace"), floor)
            if model.margin(score) >= floor:
                attacks += 1
                missed += not let_through
            elif not row.label:
                harmless += 1
                asked += let_through
    assert attacks > 500 and missed <= attacks * 0.01
    assert harmless > 500 and asked <= harmless * 0.2


def test_what_was_learned_is_not_left_out(engine: DetectionEngine) -> None:
    """A corrected model is asked about every window, since a first look knows nothing of corrections."""
    corrected = LinearModel.load().corrected(np.array([COLUMNS - 1]), np.array([1.0], np.float32))
    assert corrected.screen is None
    text = PROSE * 2
    before = engine.evidence(text, level=1)[0].margin
    taught = engine.encode(text)
    assert taught.margin == engine.evidence(text)[0].margin
    again = engine.with_correction(Correction(taught.indices, (taught.values * np.float32(30.0)).astype(np.float32)))
    assert not engine.inspect(text).threat_detected
    assert before is not None and before <= taught.margin
    assert again.inspect(text).threat_detected


def test_fitting_finds_what_the_margins_say() -> None:
    """Windows with a pair that no harmless one has get higher guesses."""
    harmless = [f"plain words {n}".encode() for n in range(200)]
    attacks = [f"{n}' or '{n}".encode() for n in range(200)]
    cut, margins = harmless + attacks, np.array([-7.0] * 200 + [5.0] * 200)
    screen = Screen(*fit_screen(cut, margins))
    assert all(not screen.windows(text.decode(), 2.2) for text in harmless[:20])
    assert all(screen.windows(text.decode(), 2.2) for text in attacks[:20])
