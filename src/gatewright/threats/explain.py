"""Explanation of findings, for support."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from gatewright.logs import HIDDEN, escape_control, is_secret_name, mask_secrets, redact_text
from gatewright.threats.decision import Verdict, risk, worst_severity
from gatewright.threats.matching import re2_options
from gatewright.threats.model.attribution import heaviest
from gatewright.threats.model.linear import LinearModel
from gatewright.threats.normalize import Normal
from gatewright.threats.results import ThreatDetectionResult
from gatewright.threats.rules import DetectionRule
from gatewright.threats.types import ThreatType
from gatewright.threats.walk import TextNode

EVIDENCE = 200
"""Characters of a value that are shown."""

_SEARCHED = 20_000
_AROUND = 1_500
"""Characters before and behind what is shown that are read, as secrets may reach into it: a long JWT."""

_SECRET = re2.compile(
    r"(?i)((?:\b|_)(?:pass(?:word|wd|phrase)?|pwd|secret|token|(?:api|access|private)[_-]?key|pin|cookie|sid"
    r"|sess(?:ion)?(?:[_-]?id)?|[a-z]{1,12}sessid|jsessionid|ssn|tax[_-]?id|iban|cvv|cvc)"
    r"['\"]?\s*(?:[=:>]|%3[AaDd])\s*['\"]?)([^\s'\"&;,)<]+)"
)
_DENSE = re2.compile(r"[0-9A-Za-z_-]{32,}")
_NUMBER = re2.compile(
    r"\b(?:[0-9][ -]?){12,18}[0-9]\b"  # a payment card
    r"|\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"  # a US social security number
    r"|\b[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}\b"  # an IBAN
    r"|\bA[KS]IA[0-9A-Z]{16}\b"  # an access key of AWS
)


class Explainer:
    """Makes findings of verdicts."""

    def __init__(self, model: LinearModel | None) -> None:
        self._model = model

    def findings(
        self,
        text: TextNode,
        normal: Normal,
        squashed: str,
        verdict: Verdict,
        window: bytes,
        named: list[int],
        types: frozenset[str] | None = None,
        *,
        brief: bool = False,
    ) -> list[ThreatDetectionResult]:
        """One finding a threat type that the rules name, or that the model thinks likeliest.

        Args:
            types: of these only.
            brief: without n-grams, where there are too many findings for anyone to read.
        """
        by_type: dict[str, list[DetectionRule]] = {}
        for rule in verdict.rules:
            by_type.setdefault(rule.threat_type, []).append(rule)
        if not by_type:
            by_type[self._likeliest(window, named)] = []
        kinds = [kind for kind in by_type if types is None or kind in types]
        grams = self._grams(normal.text, window) if kinds and not brief and not _is_secret(text) else []
        return [self._finding(kind, by_type[kind], text, normal, squashed, verdict, grams) for kind in kinds]

    def _likeliest(self, window: bytes, named: list[int]) -> str:
        if self._model is None:
            return ThreatType.CODE_INJECTION.value
        return self._model.kinds(window, named)[0][0]

    def _grams(self, text: str, window: bytes) -> list[dict[str, Any]]:
        """What spoke most for an attack in the window that was scored."""
        if self._model is None or not window:
            return []
        found = heaviest(window, self._model.weights_of, _hidden_in(text, window))
        return [{"text": escape_control(gram.text), "of": gram.of, "weight": gram.weight} for gram in found]

    def _finding(
        self,
        kind: str,
        rules: list[DetectionRule],
        text: TextNode,
        normal: Normal,
        squashed: str,
        verdict: Verdict,
        grams: list[dict[str, Any]],
    ) -> ThreatDetectionResult:
        severity = worst_severity(rules, verdict.confidence)
        spans = [span for rule in rules if (span := _span(rule, text.text, normal.text, squashed))]
        start = spans[0]["start"] if spans and spans[0]["in"] == "value" else 0
        shown = (lambda value, start=0: HIDDEN) if _is_secret(text) else _masked
        return ThreatDetectionResult(
            threat_detected=True,
            threat_type=kind,
            severity=severity,
            confidence=round(verdict.confidence, 4),
            risk_score=risk(severity, verdict.confidence),
            detected_patterns=[rule.id for rule in rules] or ["model"],
            evidence=shown(text.text, max(0, start - 20)),
            threat_details={
                "summary": _sentence(kind, rules, text),
                "explanations": [rule.explain for rule in rules],
                "references": sorted({reference for rule in rules for reference in rule.references}),
            },
            path=text.path,
            metadata={
                "in_key": text.is_key,
                "spans": spans,
                "ngrams": grams,
                "signals": sorted(normal.signals),
                "decoded": None if normal.text == text.text else shown(normal.text),
            },
        )


def _is_secret(text: TextNode) -> bool:
    """Whether the text is a secret by its name: a password that looks like an attack is still a password."""
    return not text.is_key and is_secret_name(text.key)


def _masked(text: str, start: int = 0) -> str:
    """What is shown of a text: known forms of keys and tokens hidden, what is assigned to a telling name, and
    long runs of letters and digits, which may be anyone's token."""
    # A secret may begin before what is shown, or end behind it: hidden first, length kept, and cut afterwards.
    first = max(0, start - _AROUND)
    shown = text[first : start + EVIDENCE + _AROUND].encode("utf-8", "replace").decode()
    return redact_text(_starred(shown)[start - first :][:EVIDENCE])


@lru_cache(maxsize=4)
def _starred(text: str) -> str:
    """The text with a star for each character of a secret; asked several times for one finding."""
    hidden: str = _SECRET.sub(lambda found: found[1] + "*" * len(found[2]), mask_secrets(text))
    hidden = _NUMBER.sub(lambda found: "*" * len(found[0]), hidden)
    hidden = _DENSE.sub(lambda found: "*" * len(found[0]) if any(map(str.isdigit, found[0])) else found[0], hidden)
    return hidden


def _hidden_in(text: str, window: bytes) -> list[bool]:
    """Of each byte of a window of the text, whether it is of a secret; empty where there is none."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter whose small form is longer: places are those of the small form
        text = lowered
    data = lowered.encode("utf-8", "replace")
    begin = max(0, data.find(window))
    start = len(data[:begin].decode("utf-8", "ignore"))
    size = len(data[begin : begin + len(window)].decode("utf-8", "ignore"))
    first = max(0, start - _AROUND)
    around = text[first : start + size + _AROUND].encode("utf-8", "replace").decode()
    starred = _starred(around)
    if starred == around:
        return []
    flags: list[bool] = []
    for small, plain, hidden in zip(lowered[start:], around[start - first :], starred[start - first :], strict=False):
        flags += [plain != hidden] * len(small.encode("utf-8", "replace"))
        if len(flags) >= len(window):
            break
    return flags[: len(window)]


def _sentence(kind: str, rules: list[DetectionRule], text: TextNode) -> str:
    what = kind.replace("_", " ")
    place = f"the key at {text.path}" if text.is_key else f"the value at {text.path}"
    if rules:
        return f"{place[0].upper()}{place[1:]} looks like {what}: {rules[0].explain}"
    return f"{place[0].upper()}{place[1:]} resembles known attacks ({what}), though no single rule names it."


def _span(rule: DetectionRule, value: str, normal: str, squashed: str) -> dict[str, Any] | None:
    """Where a rule matches: ``in`` the value itself or a decoded form of it, and where that is in the ``original``."""
    expression = _compiled(rule.pattern)
    for name, form in (("value", value), ("decoded", normal), ("squashed", squashed)):
        data = form[:_SEARCHED].encode("utf-8", "replace")
        found = expression.search(data)
        if found:
            start, end = (len(data[:place].decode("utf-8", "replace")) for place in found.span())
            first, last = _in_original(value, form, start, end)
            return {"rule": rule.id, "in": name, "start": start, "end": end, "original": {"start": first, "end": last}}
    return None


def _in_original(value: str, form: str, start: int, end: int) -> tuple[int, int]:
    """The part of a value that became a part of a decoded form of it, from the first change to the last at most."""
    if value == form:
        return start, end
    alike_before, alike_behind = _alike(value, form), _alike(value, form, behind=True)
    behind = min(len(form) - end, alike_behind)
    first = min(start, alike_before)
    return first, max(first, len(value) - behind)


def _alike(one: str, other: str, *, behind: bool = False) -> int:
    """How many characters two texts have in common at their begin, or at their end."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if behind:
            same = one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]
        else:
            same = one[low:middle] == other[low:middle]
        low, high = (middle, high) if same else (low, middle - 1)
    return low


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern.encode(), re2_options())
