"""What the tests of learning share: a small detector and the reference rows, in smaller numbers."""

from __future__ import annotations

import pytest

from gatewright.threats import ReferenceRow, load_reference
from tests.threats.learning.small import SmallDetector, train


@pytest.fixture(scope="session")
def rows() -> tuple[ReferenceRow, ...]:
    """Every twelfth harmless row, every fourth attack, and all of LDAP."""
    harmless = [row for row in load_reference() if not row.label]
    attacks = [row for row in load_reference() if row.label and row.category != "ldap"]
    ldap = [row for row in load_reference() if row.category == "ldap"]
    return (*harmless[::12], *attacks[::4], *ldap)


@pytest.fixture(scope="session")
def small(rows: tuple[ReferenceRow, ...]) -> SmallDetector:
    """Trained on everything but LDAP, as a base model is."""
    return train([row for row in rows if row.category != "ldap"])
