"""doubted: who says much that no candidate can take up is not believed; no one else is."""

from __future__ import annotations

from hypothesis import given, strategies as st

from gatewright.threats import DOUBTED_FROM, LEARNABLE, doubted, score

said = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=60)
"""Statements: by whom, whether the base judges as told, whether the candidate does."""


@given(said)
def test_who_is_doubted(statements: list[tuple[str, bool, bool]]) -> None:
    """Those with enough corrections of which most are not taken up, whatever others say."""
    actors, before, after = zip(*statements, strict=True) if statements else ((), (), ())
    found = doubted(actors, before, after)
    for actor in "abc":
        corrections = [taken for name, known, taken in statements if name == actor and not known]
        assert (actor in found) == (
            len(corrections) >= DOUBTED_FROM and sum(corrections) < LEARNABLE * len(corrections)
        )


@given(said)
def test_what_the_base_says_too_is_no_correction(statements: list[tuple[str, bool, bool]]) -> None:
    before = [known for _, known, _ in statements]
    after = [taken for _, _, taken in statements]
    counted = score(before, after)
    assert counted.total() == before.count(False)
    assert not doubted(["ann"] * 20, [True] * 20, [False] * 20)
    assert score([], []).fits
