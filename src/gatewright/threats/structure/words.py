"""Lists of words, written as lines of words."""

from __future__ import annotations


def words(said: str) -> frozenset[str]:
    """The words between blanks."""
    return frozenset(said.split())
