"""Feedback intake: bounded statements, trust in their authors, and which statements count.

Nothing here is about right or wrong in general; the guard set decides that. These rules keep single
actors small and plain contradictions out, so that the guard has to catch little.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from gatewright.errors import ValidationError
from gatewright.storage.feedback import StoredFeedback
from gatewright.threats.learning.regression_gate import Learnable
from gatewright.threats.results import Inspection
from gatewright.threats.walk import Walk

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
    """Count the corrections, which are the statements whose label the base gets wrong.

    Args:
        before: for each statement, whether the base gives the stated label.
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


MAX_TEXT_LENGTH = 4_096
"""Characters of a statement's text; what is longer shows no single pattern."""

MAX_TEXTS = 200
MODEL_ALONE = "model"
"""The pattern of a finding behind which no rule is."""

CERTAIN = 0.97
"""From this confidence on, with a rule behind it, "harmless" is a contradiction that a person must settle."""


def text_of(data: Any, detector: Learnable) -> str:
    """The one text that a statement is about: the string, or the most suspicious one of a JSON-like value.

    Raises:
        ValidationError: there is no text in it, or too much.
    """
    texts = [found.text for found in islice(Walk(data), MAX_TEXTS + 1) if found.text.strip()]
    if not texts:
        raise ValidationError("The value contains no text to learn from.", code="EMPTY_FEEDBACK")
    if len(texts) > MAX_TEXTS or max(map(len, texts)) > MAX_TEXT_LENGTH:
        raise ValidationError(
            f"Feedback must be about one value: at most {MAX_TEXTS} texts of {MAX_TEXT_LENGTH} characters each.",
            code="INPUT_TOO_LARGE",
        )
    return texts[0] if len(texts) == 1 else max(texts, key=lambda text: detector.encode(text).margin)


def digest_of(text: str) -> str:
    """Names a text, white space and case aside, so that a text said twice counts once."""
    return hashlib.sha256(" ".join(text.split()).casefold().encode(errors="surrogatepass")).hexdigest()[:32]


def contradiction(text: str, inspection: Inspection, *, is_threat: bool) -> str:
    """Why this statement needs a second look before anything is learned from it; empty when it does not.

    Args:
        text: what it is about.
        inspection: what the base model, without any correction, says.
        is_threat: what the person says.
    """
    if is_threat and not has_attack_syntax(text):
        return "it is called an attack, but there is nothing in it that could leave its context"
    certain = [rule for found in inspection.findings if found.confidence >= CERTAIN for rule in found.detected_patterns]
    rules = [rule for rule in certain if rule != MODEL_ALONE]
    if not is_threat and rules:
        return f"it is called harmless, but {rules[0]} finds an attack in it with certainty"
    return ""


MAX_PER_ACTOR = 40
"""Statements of one actor that a version learns from; the latest ones."""

MAX_ALIKE = 4
"""Statements of the same shape (numbers, letters and spaces aside) that a version learns from."""

VOICES = 2
"""People who must call a text harmless before a version learns that where the base model finds an attack in it.

No single annotator can let attacks through; that an attack was missed counts from one person on.
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
