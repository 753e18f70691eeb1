"""Taking feedback: one statement is bounded, reduced to the text that it is about, and checked for contradiction."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import Any

from gatewright.errors import ValidationError
from gatewright.threats.findings import Inspection
from gatewright.threats.learning.detector import Learnable
from gatewright.threats.learning.selection import has_attack_syntax
from gatewright.threats.walk import Walk

MAX_TEXT_LENGTH = 4_096
"""Characters of a statement's text; what is longer shows no single pattern."""

MAX_TEXTS = 200
MODEL_ALONE = "model"
"""The pattern of a finding behind which no rule stands."""

CERTAIN = 0.97
"""From this confidence on, with a rule behind it, "harmless" is a contradiction that a person must settle."""


def text_of(data: Any, detector: Learnable) -> str:
    """The one text that a statement is about: the string, or the most suspicious one of a JSON-like value.

    Raises:
        ValidationError: there is no text in it, or too much.
    """
    texts = [found.text for found in islice(Walk(data), MAX_TEXTS + 1) if found.text.strip()]
    if not texts:
        raise ValidationError("There is no text in this value to learn from.", code="EMPTY_FEEDBACK")
    if len(texts) > MAX_TEXTS or max(map(len, texts)) > MAX_TEXT_LENGTH:
        raise ValidationError(
            f"Feedback is about one value: at most {MAX_TEXTS} texts of {MAX_TEXT_LENGTH} characters.",
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
