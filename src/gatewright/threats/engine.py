"""DetectionEngine: walk, normalise, match, score, decide. One instance serves all threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gatewright.errors import ConfigurationError
from gatewright.threats.decision import DEFAULT_THRESHOLDS, LEVELS, Evidence, Verdict, decide
from gatewright.threats.explain import Explainer
from gatewright.threats.findings import CLEAN, Inspection, ThreatDetectionResult
from gatewright.threats.learning.fit import Correction, Encoded
from gatewright.threats.matching import Matcher, make_matcher
from gatewright.threats.model.features import COLUMNS, columns, windows
from gatewright.threats.model.linear import RULE_VALUE, LinearModel
from gatewright.threats.normalise import Normal, normalise, squash
from gatewright.threats.rules import Rule, RuleSet, load_rules
from gatewright.threats.walk import Text, Walk

HARMLESS_KEPT = 16_384
"""Short texts found harmless that are remembered: field names, units and words come again and again."""

SHORT = 96
MAX_FINDINGS = 100


class Seen(NamedTuple):
    """One text as the engine sees it."""

    normal: Normal
    squashed: str
    windows: list[bytes]
    hits: set[int]


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
        self._model = model
        self._explainer = Explainer(model)
        self._correction = correction
        self._delta = _lookup(correction)
        self._thresholds = DEFAULT_THRESHOLDS if model is None else tuple(map(tuple, model.info.thresholds))
        self._columns_of_rules = [] if model is None else [model.numbers_of([r.id]) for r in rules.rules]
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
    def rules(self) -> tuple[Rule, ...]:
        """The rules in use."""
        return self._rules.rules

    @property
    def base_id(self) -> str:
        """Names the base model by its content; empty where rules alone decide."""
        return "" if self._model is None else self._model.base_id

    def with_correction(self, correction: Correction | None) -> DetectionEngine:
        """The same engine under another correction; this one stays as it is."""
        return DetectionEngine(self._rules, self._matcher, self._model, correction=correction)

    def inspect(self, data: Any, *, level: int = 1, types: frozenset[str] | None = None) -> Inspection:
        """Look at every text in ``data``.

        Args:
            level: 1 (block what is certain) to 4 (block what is merely odd).
            types: report these threat types only.
        """
        thresholds = self._thresholds[max(1, min(LEVELS, level)) - 1]
        harmless = self._harmless[max(1, min(LEVELS, level)) - 1]
        walk = Walk(data)
        findings: list[ThreatDetectionResult] = []
        for text in walk:
            if text.text in harmless or _trivial(text.text):
                continue
            found = self._judge(text, thresholds)
            if found is None:
                if len(text.text) <= SHORT:
                    _remember(harmless, text.text)
                continue
            findings.extend(f for f in found if types is None or f.threat_type in types)
            if len(findings) >= MAX_FINDINGS:
                break
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

    def encode(self, text: str) -> Encoded:
        """The window of ``text`` that looks most like an attack, as the model sees it, the correction left out."""
        if self._model is None:
            return Encoded(np.zeros(0, np.int64), np.zeros(0, np.float32), 0.0)
        seen = self._see(text)
        _, window, named = max(self._scored(seen), key=lambda scored: scored[0])
        found = columns(window).astype(np.int64)
        indices, counts = np.unique(found, return_counts=True)
        values = (counts / np.sqrt(len(found))).astype(np.float32)
        extra = np.array(sorted(set(named)), np.int64) + COLUMNS
        margin = self._model.margin(window, named)
        return Encoded(
            np.concatenate((indices, extra)),
            np.concatenate((values, np.full(len(extra), RULE_VALUE, np.float32))),
            margin,
        )

    # --- one text -----------------------------------------------------------------------------------------------

    def _judge(self, text: Text, thresholds: tuple[float, ...]) -> list[ThreatDetectionResult] | None:
        seen = self._see(text.text)
        margin: float | None = None
        window, named = seen.windows[0], list[int]()
        if self._model is not None:
            margin, window, named = max(self._scored(seen), key=lambda scored: scored[0])
        rules = [self._rules.rules[number] for number in sorted(seen.hits)]
        verdict: Verdict = decide(Evidence(rules, margin), thresholds)
        if not verdict.attack:
            return None
        return self._explainer.findings(text, seen.normal, seen.squashed, verdict, window, named)

    def _see(self, text: str) -> Seen:
        normal = normalise(text)
        squashed = squash(normal.text)
        hits = self._matcher.match(text)
        if normal.text != text:
            hits |= self._matcher.match(normal.text)
        if squashed != normal.text:
            hits |= self._matcher.match(squashed)
        return Seen(normal, squashed, windows(normal.text), hits)

    def _scored(self, seen: Seen) -> Iterator[tuple[float, bytes, list[int]]]:
        """Margin, window and named columns of each window."""
        model = self._model
        if model is None:
            return
        signals = model.numbers_of(f"signal:{name}" for name in seen.normal.signals)
        one = len(seen.windows) == 1
        for window in seen.windows:
            hits = seen.hits if one or not seen.hits else self._hits_in(window)
            named = [number for hit in hits for number in self._columns_of_rules[hit]] + signals
            yield model.margin(window, named) + self._corrected(window, named), window, named

    def _hits_in(self, window: bytes) -> set[int]:
        text = window.decode("utf-8", "replace")
        squashed = squash(text)
        hits = self._matcher.match(text)
        return hits if squashed == text else hits | self._matcher.match(squashed)

    def _corrected(self, window: bytes, named: list[int]) -> float:
        """What the correction adds to the margin of a window."""
        if self._delta is None:
            return 0.0
        found = columns(window)
        total = float(self._delta.take(found).sum()) / float(np.sqrt(len(found)))
        return total + RULE_VALUE * sum(
            float(self._delta[COLUMNS + n]) for n in named if COLUMNS + n < len(self._delta)
        )


def _trivial(text: str) -> bool:
    """Whether no attack fits in: one short word or number."""
    return len(text) <= 20 and text.isalnum()


def _remember(harmless: dict[str, None], text: str) -> None:
    if len(harmless) >= HARMLESS_KEPT:
        harmless.clear()
    harmless[text] = None


def _lookup(correction: Correction | None) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    if correction is None or correction.indices.size == 0:
        return None
    size = max(COLUMNS + 1_024, int(correction.indices.max()) + 1)
    delta = np.zeros(size, np.float32)
    delta[correction.indices] = correction.values
    return delta
