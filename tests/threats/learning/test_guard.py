"""objection: a candidate may be a little worse in one place if it is better in another, and never much worse."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gatewright.threats import (
    CHANGED,
    NEW_FALSE_ALARMS,
    TAUGHT_ATTACKS,
    TAUGHT_HARMLESS,
    AllowedLoss,
    ReferenceRow,
    Verdicts,
    objection,
)

HARMLESS, OF_CATEGORY, CATEGORIES = 20_000, 400, ("sqli", "xss", "ldap")
ROWS = [ReferenceRow(part="guard", label=0, category="benign", source="s", payload="x")] * HARMLESS + [
    ReferenceRow(part="guard", label=1, category=category, source="s", payload="x")
    for category in CATEGORIES
    for _ in range(OF_CATEGORY)
]
FALSE_ALARMS, MISSED = 100, 40
"""What the base gets wrong: the first harmless rows, and the first attacks of each category."""


def verdicts(raised: int = 0, gone: int = 0, lost: int = 0, found: int = 0, category: str = "sqli") -> Verdicts:
    """Those of the base, but for so many rows."""
    flagged = [n < FALSE_ALARMS - gone or n >= HARMLESS - raised for n in range(HARMLESS)]
    for name in CATEGORIES:
        more, less = (found, lost) if name == category else (0, 0)
        flagged += [n >= MISSED - more and n < OF_CATEGORY - less for n in range(OF_CATEGORY)]
    return Verdicts(tuple(flagged))


BASE = verdicts()


def test_the_same_verdicts_are_no_worse() -> None:
    assert objection(ROWS, BASE, BASE, TAUGHT_HARMLESS) == ""


@given(st.integers(0, 100), st.integers(0, 40))
def test_what_is_only_better_is_accepted(gone: int, found: int) -> None:
    assert objection(ROWS, BASE, verdicts(gone=gone, found=found), TAUGHT_HARMLESS) == ""


@given(st.integers(0, 60), st.integers(0, 60))
def test_false_alarms_are_bounded_on_balance_and_in_all(raised: int, gone: int) -> None:
    allowed = NEW_FALSE_ALARMS * HARMLESS
    refused = objection(ROWS, BASE, verdicts(raised=raised, gone=gone), TAUGHT_ATTACKS)
    assert ("harmless" in refused) == (raised - gone > allowed or raised > CHANGED * allowed)


@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.sampled_from(CATEGORIES),
    st.sampled_from([TAUGHT_ATTACKS, TAUGHT_HARMLESS]),
)
def test_lost_attacks_are_bounded_in_all_and_by_category(
    lost: int, found: int, category: str, bounds: AllowedLoss
) -> None:
    refused = objection(ROWS, BASE, verdicts(lost=lost, found=found, category=category), bounds)
    in_all, of_one = bounds.lost * len(CATEGORIES) * OF_CATEGORY, bounds.lost_in_category * OF_CATEGORY
    too_many = [lost - found > bound or lost > CHANGED * bound for bound in (in_all, of_one)]
    assert bool(refused) == any(too_many)
    assert ("of category" in refused) == (too_many == [False, True])


@pytest.mark.parametrize(("label", "better"), [(0, False), (1, True)])
def test_one_row_of_a_small_guard_is_no_objection(label: int, better: bool) -> None:
    """A share of few rows is less than one of them."""
    rows = [ReferenceRow(part="guard", label=label, category="ldap", source="s", payload="x")] * 20
    base = Verdicts((better,) * 20)
    assert objection(rows, base, Verdicts((not better, *base.flagged[1:])), TAUGHT_HARMLESS) == ""
    assert objection(rows, base, Verdicts((not better, not better, *base.flagged[2:])), TAUGHT_HARMLESS) != ""
