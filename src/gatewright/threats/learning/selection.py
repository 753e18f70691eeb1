"""Which statements count: what bounds the harm that one person, or many, can do by wrong feedback.

Nothing here is about right or wrong in general; the guard set is the judge of that. These rules keep single
actors small and plain contradictions out, so that the guard has to catch little.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import NamedTuple

from gatewright.storage.feedback import StoredFeedback

MAX_PER_ACTOR = 40
"""Statements of one actor that a version learns from; the latest ones."""

MAX_ALIKE = 4
"""Statements of the same shape (numbers, letters and spaces aside) that a version learns from."""

VOICES = 2
"""People who must call a text harmless before a version learns that where the base model finds an attack in it.

Nobody can open a way for attacks alone; that an attack was missed counts from one person on.
"""

MAX_IN_ALL = 600
"""Statements that a version learns from; the latest ones."""

_LETTERS = re.compile(r"[^\W\d_]+")
_DIGITS = re.compile(r"\d+")
_SPACES = re.compile(r"\s+")


class Selection(NamedTuple):
    """The statements to learn from, one a text; others that say the same of those; and the rest by the reason why not.

    What waits for a second voice is in none of them.
    """

    chosen: list[StoredFeedback]
    agreeing: list[StoredFeedback]
    left_out: dict[str, list[str]]


def select(statements: list[StoredFeedback]) -> Selection:
    """Choose from all statements, in the order in which they came.

    A text on which people disagree counts for neither side; more of one shape or by one actor than the bounds
    allow do not count; a finding is called harmless by VOICES people, or that does not count yet.
    """
    left_out: dict[str, list[str]] = defaultdict(list)
    verdicts: dict[str, set[bool]] = defaultdict(set)
    voices: dict[str, set[str]] = defaultdict(set)
    for statement in statements:
        verdicts[statement.digest].add(statement.is_threat)
        voices[statement.digest].add(statement.actor)
    chosen: list[StoredFeedback] = []
    agreeing: list[StoredFeedback] = []
    of_actor: Counter[str] = Counter()
    of_shape: Counter[str] = Counter()
    seen: set[str] = set()
    for statement in reversed(statements):
        why_not = ""
        form = shape(statement.text)
        if len(verdicts[statement.digest]) > 1:
            why_not = "people disagree about this text"
        elif statement.digest in seen:
            agreeing.append(statement)
            continue
        elif _opens(statement) and len(voices[statement.digest]) < VOICES:
            continue
        elif of_actor[statement.actor] >= MAX_PER_ACTOR:
            why_not = f"more than {MAX_PER_ACTOR} statements of one actor"
        elif of_shape[form] >= MAX_ALIKE:
            why_not = f"more than {MAX_ALIKE} texts of one shape"
        elif len(chosen) >= MAX_IN_ALL:
            why_not = f"more than {MAX_IN_ALL} statements"
        if why_not:
            left_out[why_not].append(statement.feedback_id)
            continue
        chosen.append(statement)
        seen.add(statement.digest)
        of_actor[statement.actor] += 1
        of_shape[form] += 1
    return Selection(chosen[::-1], agreeing[::-1], dict(left_out))


def _opens(statement: StoredFeedback) -> bool:
    """Whether text would pass in which the base model finds an attack."""
    return not statement.is_threat and statement.confidence > 0.0


def shape(text: str) -> str:
    """The text with words, numbers and white space each made one mark."""
    bare = _DIGITS.sub("0", _LETTERS.sub("a", text))
    return _SPACES.sub(" ", bare).strip()


def has_attack_syntax(text: str) -> bool:
    """Whether the text has anything that could leave its context: no attack is made of words alone."""
    return any(not (character.isalnum() or character in " .,!?\n\u2019") for character in text)
