"""The detection engine: prefilter, rules, structure checks and the model in one pass."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gatewright.errors import ConfigurationError
from gatewright.threats.decision import DEFAULT_THRESHOLDS, LEVELS, Evidence, decide, log_odds
from gatewright.threats.explain import Explainer
from gatewright.threats.learning.fit import Correction, Encoded
from gatewright.threats.matching import Matcher, make_matcher
from gatewright.threats.model.features import COLUMNS, columns, windows
from gatewright.threats.model.linear import RULE_VALUE, LinearModel
from gatewright.threats.normalize import Normal, normalise, squash
from gatewright.threats.results import CLEAN, Inspection, ThreatDetectionResult
from gatewright.threats.rules import DetectionRule, RuleSet, load_rules
from gatewright.threats.walk import TextNode, Walk

ODD = 2
"""Of these and fewer others than this no attack is made, unless a rule knows it: of known attacks 1 in 1,500 is."""

_LONGEST = 64

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_HARMLESS_SIGNS = _LETTERS + b" .,-:_@?!+#/&()" + bytes(range(128, 256))

_WORD = r"[^\W\d_]{1,30}(?:[ -][^\W\d_]{1,30})?"
_NUMBER = r"[A-Za-z0-9]{1,20}|[A-Z0-9]{1,16}(?:[-/:][A-Z0-9]{1,16}){0,5}(?:\.[0-9]{1,6}Z?)?"
_MAIL = r"[a-z0-9]+(?:[._+-][a-z0-9]+)*@[a-z0-9-]+(?:\.[a-z0-9-]+)+"
_trivial = re.compile(f"{_WORD}|{_NUMBER}|{_MAIL}").fullmatch


def is_trivial(text: str) -> bool:
    """Whether the text is too simple for an attack: a word or two, a number, a date, an email address."""
    return len(text) <= _LONGEST and _trivial(text) is not None


def odd_signs(data: bytes) -> int:
    """How many signs are in a text that ordinary text hardly has."""
    return len(data.translate(None, _HARMLESS_SIGNS))


HARMLESS_KEPT = 16_384
"""Short texts found harmless that are remembered: field names, units and words come again and again."""

SHORT = 160
MAX_FINDINGS = 100
EXPLAINED = 20
"""Findings among some texts whose n-grams are spelled out."""

AT_ONCE = 64
"""Windows that are scored in one go."""

SEARCHED = 256
"""Windows of one text, those with the highest scores, in which rules are looked for again."""

SURE = 8.0
"""A margin beyond which no worse window is looked for."""


class Seen(NamedTuple):
    """One text as the engine sees it: without windows where no model needs to be asked."""

    text: TextNode
    normal: Normal
    squashed: str
    hits: set[int]
    windows: list[bytes]


class Scored(NamedTuple):
    """The window of a text that looks most like an attack."""

    margin: float
    window: bytes
    named: list[int]


class DetectionEngine:
    """Detects injections in any JSON-like value.

    Args:
        rules: the rules and, in ``matcher``, all of them compiled.
        model: the learned model; None: rules alone decide.
        correction: what feedback taught, added to the model's weights.
    """

    def __init__(
        self, rules: RuleSet, matcher: Matcher, model: LinearModel | None, *, correction: Correction | None = None
    ) -> None:
        self._rules = rules
        self._matcher = matcher
        self._base = model
        self._model = model if model is None or correction is None else model.corrected(*correction)
        self._explainer = Explainer(self._model)
        self._thresholds = DEFAULT_THRESHOLDS if model is None else tuple(map(tuple, model.info.thresholds))
        self._floors = [log_odds(level[3]) for level in self._thresholds]
        self._columns_of_rules = [] if model is None else [model.numbers_of([r.id]) for r in rules.rules]
        self._unasked = None if model is None else -40.0
        self._harmless: list[dict[str, None]] = [{} for _ in range(LEVELS)]

    @classmethod
    def load(
        cls,
        model_path: str | Path | None = None,
        rules_dir: str | Path | None = None,
        *,
        matcher: str | None = None,
    ) -> DetectionEngine:
        """Load rules and model; a model that is missing or damaged leaves the rules alone (``degraded``).

        Args:
            model_path: a model file; the one that ships when missing.
            rules_dir: a directory of rules; those that ship when missing.
            matcher: ``vectorscan`` or ``re2``; the fastest there is when missing.

        Raises:
            ConfigurationError: the rules cannot be read.
        """
        rules = load_rules(rules_dir)
        try:
            model = LinearModel.load(model_path)
        except ConfigurationError:
            model = None
        return cls(rules, make_matcher(rules, engine=matcher), model)

    @property
    def degraded(self) -> bool:
        """Whether rules alone decide."""
        return self._model is None

    @property
    def rule_count(self) -> int:
        """How many rules are in use."""
        return len(self._rules.rules)

    @property
    def rules(self) -> tuple[DetectionRule, ...]:
        """The rules in use."""
        return self._rules.rules

    @property
    def base_id(self) -> str:
        """Names the base model by its content; empty where rules alone decide."""
        return "" if self._base is None else self._base.base_id

    def with_correction(self, correction: Correction | None) -> DetectionEngine:
        """The same engine under another correction; this one stays as it is."""
        return DetectionEngine(self._rules, self._matcher, self._base, correction=correction)

    def inspect(self, data: Any, *, level: int = 1, types: frozenset[str] | None = None) -> Inspection:
        """Inspect every text in ``data``.

        Args:
            level: 1 (block what is certain) to 4 (block what is merely odd).
            types: report these threat types only.
        """
        number = max(1, min(LEVELS, level)) - 1
        harmless, floor = self._harmless[number], self._floors[number]
        walk = Walk(data)
        findings: list[ThreatDetectionResult] = []
        pending: list[Seen] = []
        waiting = 0
        for text in walk:
            if text.text in harmless or is_trivial(text.text):
                continue
            seen = self._see(text, floor)
            if self._model is not None and not seen.hits and not seen.windows:
                _remember(harmless, text.text)
                continue
            pending.append(seen)
            waiting += len(seen.windows)
            if waiting >= AT_ONCE:
                findings += self._judged(pending, number, types)
                pending, waiting = [], 0
                if len(findings) >= MAX_FINDINGS:
                    break
        if pending:
            findings += self._judged(pending, number, types)
        if not findings:
            return Inspection(threat_detected=False, truncated=True) if walk.truncated else CLEAN
        findings.sort(key=lambda f: (-f.risk_score, -f.confidence, f.threat_type))
        return Inspection(
            threat_detected=True,
            findings=findings,
            risk_score=findings[0].risk_score,
            confidence=max(f.confidence for f in findings),
            truncated=walk.truncated,
        )

    def evidence(self, data: Any, *, level: int | None = None) -> list[Evidence]:
        """What is known of each text in ``data`` before thresholds are applied; for reports and calibration.

        Args:
            level: leave out, as :meth:`inspect` does, what looks harmless enough for this level at a first look.
        """
        floor = None if level is None else self._floors[level - 1]
        seen = [self._see(text, floor) for text in Walk(data) if not is_trivial(text.text)]
        return [
            Evidence(self._rules_of(one), scored.margin if scored else self._unasked)
            for one, scored in zip(seen, self._scored(seen, self._model), strict=True)
        ]

    def encode(self, text: str) -> Encoded:
        """The window of ``text`` that looks most like an attack, as the model sees it, the correction left out."""
        seen = self._see(TextNode(text, "$", False, ""))
        scored = self._scored([seen._replace(windows=windows(seen.normal.text))], self._base)[0]
        if scored is None:
            return Encoded(np.zeros(0, np.int64), np.zeros(0, np.float32), 0.0)
        found = columns(scored.window)
        indices, counts = np.unique(found, return_counts=True)
        values = (counts / np.sqrt(len(found))).astype(np.float32)
        extra = np.array(sorted(set(scored.named)), np.int64) + COLUMNS
        return Encoded(
            np.concatenate((indices, extra)),
            np.concatenate((values, np.full(len(extra), RULE_VALUE, np.float32))),
            scored.margin,
        )

    # --- the steps ----------------------------------------------------------------------------------------------

    def _see(self, text: TextNode, floor: float | None = None) -> Seen:
        """Look at one text; with a ``floor``, only windows whose margin may reach it are left where no rule hits."""
        raw = text.text
        odd = odd_signs(raw.encode("utf-8", "replace"))
        normal = normalise(raw)
        plain = normal.text
        # What is put together or cut out begins with an odd sign, but for blanks, and blanks beyond ASCII.
        squashed = plain if not odd and plain is raw and "  " not in raw and raw.isascii() else squash(plain)
        hits = self._matcher.match(raw)
        if plain != raw:
            hits |= self._matcher.match(plain)
        if squashed != plain:
            hits |= self._matcher.match(squashed)
        if hits or normal.signals:
            return Seen(text, normal, squashed, hits, windows(plain))
        return Seen(text, normal, squashed, hits, self._suspicious(plain, floor) if odd >= ODD else [])

    def _suspicious(self, text: str, floor: float | None) -> list[bytes]:
        """The windows of a text that the model is asked about though no rule points at any."""
        screen = None if self._model is None else self._model.screen
        cut = windows(text) if screen is None or floor is None else screen.windows(text, floor)
        return [window for window in cut if odd_signs(window) >= ODD]

    def _judged(self, seen: list[Seen], level: int, types: frozenset[str] | None) -> list[ThreatDetectionResult]:
        """The findings in some texts; those without any are remembered as harmless."""
        model, scores = self._model, self._scores(seen, self._model)
        thresholds, harmless = self._thresholds[level], self._harmless[level]
        findings: list[ThreatDetectionResult] = []
        begin = 0
        for one in seen:
            own = scores[begin : begin + len(one.windows)]
            begin += len(one.windows)
            scored = None
            if model is not None and own:
                if not one.hits and not one.normal.signals and model.margin(max(own)) < self._floors[level]:
                    if len(one.text.text) <= SHORT:
                        _remember(harmless, one.text.text)
                    continue
                scored = self._worst(one, own, model)
            verdict = decide(Evidence(self._rules_of(one), scored.margin if scored else None), thresholds)
            if verdict.attack:
                window, named = scored[1:] if scored else (b"", list[int]())
                brief = len(findings) >= EXPLAINED
                findings += self._explainer.findings(
                    one.text, one.normal, one.squashed, verdict, window, named, types, brief=brief
                )
            elif len(one.text.text) <= SHORT:
                _remember(harmless, one.text.text)
        return findings

    def _rules_of(self, seen: Seen) -> list[DetectionRule]:
        return [self._rules.rules[number] for number in sorted(seen.hits)]

    def _scores(self, seen: Sequence[Seen], model: LinearModel | None) -> list[float]:
        """What the n-grams of all windows say, one text after the other."""
        if model is None:
            return []
        cut = [window for one in seen for window in one.windows]
        if len(cut) <= AT_ONCE:
            return model.scores(cut) if cut else []
        return [score for at in range(0, len(cut), AT_ONCE) for score in model.scores(cut[at : at + AT_ONCE])]

    def _scored(self, seen: Sequence[Seen], model: LinearModel | None) -> list[Scored | None]:
        """For each text its worst window; None where there is none."""
        if model is None:
            return [None] * len(seen)
        scores = iter(self._scores(seen, model))
        own = [(one, list(islice(scores, len(one.windows)))) for one in seen]
        return [self._worst(one, found, model) if found else None for one, found in own]

    def _worst(self, seen: Seen, scores: list[float], model: LinearModel) -> Scored:
        of_text = [number for hit in seen.hits for number in self._columns_of_rules[hit]]
        signals = model.numbers_of(f"signal:{name}" for name in seen.normal.signals) if seen.normal.signals else []
        if len(scores) == 1 or not seen.hits:
            score = max(scores)
            named = of_text + signals
            return Scored(model.margin(score, named), seen.windows[scores.index(score)], named)
        order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
        room = model.most(of_text + signals)
        worst = Scored(-math.inf, seen.windows[order[0]], [])
        for number in order[:SEARCHED]:
            if worst.margin >= SURE or scores[number] + room <= worst.margin:
                break
            hits = self._hits_in(seen.windows[number])
            named = [number for hit in hits for number in self._columns_of_rules[hit]] + signals
            margin = model.margin(scores[number], named)
            if margin > worst.margin:
                worst = Scored(margin, seen.windows[number], named)
        return worst

    def _hits_in(self, window: bytes) -> set[int]:
        text = window.decode("utf-8", "replace")
        squashed = squash(text)
        hits = self._matcher.match(text)
        return hits if squashed == text else hits | self._matcher.match(squashed)


def _remember(harmless: dict[str, None], text: str) -> None:
    if len(harmless) >= HARMLESS_KEPT:
        harmless.clear()
    harmless[text] = None
