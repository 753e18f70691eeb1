"""Whom not to believe: people whose corrections do not fit what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

LEARNABLE = 0.4
"""Share of corrections that a candidate takes up when they are true: one pattern explains many of them.

Lies have none. Each must be learned by itself, against known text like it, and most are not: of lies 10 to 30 % were
taken up, of corrections of false alarms 42 to 63 %, of missed attacks nearly all. It is a thin line, drawn after those
figures were seen; ``bench.learning`` measures what passes it.
"""

DOUBTED_FROM = 5
"""Corrections from which on one person can be doubted; fewer show nothing."""


class Score(Counter[bool]):
    """How many corrections were taken up (True) and how many were not (False)."""

    @property
    def fits(self) -> bool:
        """Whether enough of them were taken up to believe the rest."""
        return self[True] >= LEARNABLE * self.total()


def score(before: Sequence[bool], after: Sequence[bool]) -> Score:
    """Count the corrections, which are the statements that the base does not judge as told.

    Args:
        before: for each statement, whether the base judges as told.
        after: the same of the candidate.
    """
    return Score(taken for known, taken in zip(before, after, strict=True) if not known)


def doubted(actors: Sequence[str], before: Sequence[bool], after: Sequence[bool]) -> frozenset[str]:
    """The actors (one a statement) whose corrections the candidate does not take up."""
    of_actor: dict[str, Score] = {actor: Score() for actor in actors}
    for actor, known, taken in zip(actors, before, after, strict=True):
        if not known:
            of_actor[actor][taken] += 1
    return frozenset(actor for actor, own in of_actor.items() if own.total() >= DOUBTED_FROM and not own.fits)
