"""Train the linear model: the same rows, rules and seed give the same file, to the bit.

Each window of each text is a row of a sparse matrix. Harmless rows teach with all their windows, attacks with
those that a rule points at. The score is fitted by averaged stochastic gradient descent, the kind of threat by
the class means of a naive Bayes; both are rounded to eight bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewright.errors import ConfigurationError
from gatewright.threats.decision import DEFAULT_THRESHOLDS
from gatewright.threats.matching import Matcher, make_matcher
from gatewright.threats.model.features import BITS, COLUMNS, columns, windows
from gatewright.threats.model.linear import FORMAT, RULE_VALUE, TYPE_BITS, LinearModel, ModelInfo, dump, with_screen
from gatewright.threats.normalize import SIGNALS, normalise, squash
from gatewright.threats.rules import RuleSet
from gatewright.threats.types import CORPUS_CATEGORIES, ThreatType
from gatewright.threats.walk import Walk
from gatewright_training.augmentation import diluted_rows
from gatewright_training.corpus import GRAMMAR_ROWS, Row, carries_attack, grammar_rows, weights_of
from gatewright_training.screen import fit_screen

_BLOCK = 4_000
"""Windows that are made a matrix at once."""

GRID = 1_024
"""Weights of names, and the bias, are whole numbers of 1 / GRID: other processors round the last bit otherwise."""

PASSES = 6
ALPHA = 1e-6
_RANK = {"weak": 0, "strong": 1, "certain": 2}

Progress = Callable[[int, int], None]


class Windows(NamedTuple):
    """All windows of all rows: a sparse matrix, the row of each, the rank of its best rule (-1: none), and its text."""

    matrix: Any
    row: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    text: list[bytes]


def names_of(rules: RuleSet) -> list[str]:
    """The named columns: rules by id, then signals."""
    return [rule.id for rule in rules.rules] + [f"signal:{name}" for name in SIGNALS]


def encode(rows: Sequence[Row], rules: RuleSet, matcher: Matcher, progress: Progress | None = None) -> Windows:
    """Every window of every row as the model reads it."""
    from scipy import sparse

    rank = [_RANK[rule.tier] for rule in rules.rules]
    first_signal = COLUMNS + len(rules.rules)
    width = COLUMNS + len(rules.rules) + len(SIGNALS)
    blocks: list[Any] = []
    waiting: list[tuple[Any, Any]] = []
    of_row, best, texts = [], [], list[bytes]()
    for number, row in enumerate(rows):
        for text in Walk(row.payload):
            normal = normalise(text.text)
            cut = windows(normal.text)
            signals = [first_signal + SIGNALS.index(name) for name in sorted(normal.signals)]
            whole = _hits(matcher, text.text, normal.text)
            for window in cut:
                hits = whole if len(cut) == 1 else _hits_in(matcher, window)
                found = columns(window)
                extra = [COLUMNS + hit for hit in sorted(hits)] + signals
                values = np.full(len(found) + len(extra), len(found) ** -0.5, np.float32)
                values[len(found) :] = RULE_VALUE
                waiting.append((np.append(found.astype(np.int32), np.array(extra, np.int32)), values))
                of_row.append(number)
                best.append(max((rank[hit] for hit in hits), default=-1))
                texts.append(window)
        if len(waiting) >= _BLOCK:
            blocks.append(_block(waiting, width))
            waiting = []
        if progress is not None and number % 1_000 == 0:
            progress(number, len(rows))
    blocks.append(_block(waiting, width))
    return Windows(sparse.vstack(blocks, format="csr"), np.array(of_row), np.array(best), texts)


def _block(waiting: Sequence[tuple[Any, Any]], width: int) -> Any:
    """Some windows as a sparse matrix; n-grams that are there several times are added up."""
    from scipy import sparse

    if not waiting:
        return sparse.csr_matrix((0, width), dtype=np.float32)
    indices = np.concatenate([found for found, _ in waiting])
    values = np.concatenate([value for _, value in waiting])
    ends = np.cumsum([0, *(len(found) for found, _ in waiting)])
    matrix = sparse.csr_matrix((values, indices, ends), shape=(len(waiting), width))
    matrix.sum_duplicates()
    return matrix


def _hits(matcher: Matcher, raw: str, normal: str) -> set[int]:
    hits = matcher.match(raw)
    if normal != raw:
        hits |= matcher.match(normal)
    squashed = squash(normal)
    return hits if squashed == normal else hits | matcher.match(squashed)


def _hits_in(matcher: Matcher, window: bytes) -> set[int]:
    text = window.decode("utf-8", "replace")
    return _hits(matcher, text, text)


def teaching(cut: Windows, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which windows teach: all of harmless rows; of an attack of several windows those with its best rule."""
    own = labels[cut.row]
    count = np.bincount(cut.row, minlength=len(labels))
    best = np.full(len(labels), -1)
    np.maximum.at(best, cut.row, cut.rank)
    led = best[cut.row]
    chosen: npt.NDArray[np.bool_] = ~((own == 1) & (count[cut.row] > 1) & (led >= 0) & (cut.rank < led))
    return chosen


def fit(cut: Windows, labels: Any, weights: Any, chosen: Any, *, seed: int) -> tuple[npt.NDArray[np.float64], float]:
    """Weights and bias of the score, from the chosen windows."""
    from sklearn.linear_model import SGDClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

    count = np.bincount(cut.row, minlength=len(labels))
    own = labels[cut.row]
    spread = np.where(own == 0, np.sqrt(count[cut.row]), 1.0)
    model = SGDClassifier(
        loss="log_loss",
        alpha=ALPHA,
        average=True,
        max_iter=PASSES,
        tol=None,
        random_state=seed,
        learning_rate="optimal",
    )
    # How many threads share a sum of vectors decides how its last elements are rounded.
    with threadpool_limits(1, user_api="blas"):
        model.fit(cut.matrix[chosen], own[chosen], sample_weight=(weights[cut.row] / spread)[chosen])
    return model.coef_.ravel(), float(model.intercept_[0])


def train(
    rows: Sequence[Row],
    rules: RuleSet,
    *,
    seed: int = 7,
    grammar: int = GRAMMAR_ROWS,
    progress: Progress | None = None,
) -> bytes:
    """A model file trained on ``rows``, and on up to ``grammar`` attacks of each category made from grammars.

    Raises:
        ConfigurationError: the ``train`` extra is not installed.
    """
    try:
        import sklearn  # noqa: F401 - only to tell early what is missing
    except ImportError:
        raise ConfigurationError("Training needs scikit-learn: pip install 'gatewright[train]'.") from None
    kept = [row for row in rows if not row.label or carries_attack(row)] + grammar_rows(grammar, seed=seed)
    matcher = make_matcher(rules)
    kept += diluted_rows(kept, rules, matcher, seed=seed)
    cut = encode(kept, rules, matcher, progress)
    labels = np.array([row.label for row in kept])
    weights = np.array(weights_of(kept))
    chosen = teaching(cut, labels)
    coefficients, bias = fit(cut, labels, weights, chosen, seed=seed)
    model = pack(coefficients, bias, kind_heads(cut, kept, labels, chosen), rules, rows=len(kept), seed=seed)
    return screened(model, cut)


def screened(model: bytes, cut: Windows, kept: npt.NDArray[np.bool_] | None = None) -> bytes:
    """A model file with a screen that is fitted to what the model says of the windows, or of those ``kept``."""
    ours = LinearModel.from_bytes(model)
    texts = cut.text if kept is None else [cut.text[number] for number in np.flatnonzero(kept)]
    scores = (score for at in range(0, len(texts), _BLOCK) for score in ours.scores(texts[at : at + _BLOCK]))
    margins = np.fromiter(map(ours.margin, scores), np.float64, len(texts))
    return with_screen(model, *fit_screen(texts, margins))


def kind_heads(cut: Windows, rows: Sequence[Row], labels: Any, chosen: Any) -> npt.NDArray[np.float64]:
    """(types, columns folded to 2 ** TYPE_BITS, then named): log of how much likelier each is in a type."""
    types = list(ThreatType)
    folded = np.zeros((len(types), (1 << TYPE_BITS) + cut.matrix.shape[1] - COLUMNS))
    of_type = np.array(
        [types.index(CORPUS_CATEGORIES[r.category]) if r.category in CORPUS_CATEGORIES else -1 for r in rows]
    )
    for number in range(len(types)):
        picked = chosen & (labels[cut.row] == 1) & (of_type[cut.row] == number)
        if not picked.any():
            continue
        mean = np.asarray(cut.matrix[picked].mean(axis=0)).ravel()
        folded[number, : 1 << TYPE_BITS] = mean[:COLUMNS].reshape(1 << TYPE_BITS, -1).sum(axis=1)
        folded[number, 1 << TYPE_BITS :] = mean[COLUMNS:]
    logs = np.log(folded + 1e-4)
    centred: npt.NDArray[np.float64] = logs - logs.mean(axis=0)
    return centred


def pack(
    coefficients: npt.NDArray[np.float64],
    bias: float,
    heads: npt.NDArray[np.float64],
    rules: RuleSet,
    *,
    rows: int,
    seed: int,
) -> bytes:
    """The model file: eight-bit weights, clipped where a handful of columns would coarsen all the others."""
    ngrams = coefficients[:COLUMNS]
    scale = float(np.quantile(np.abs(ngrams), 0.9999)) / 127.0 or 1.0
    type_scale = float(np.abs(heads[:, : 1 << TYPE_BITS]).max()) / 127.0 or 1.0
    info = ModelInfo(
        format=FORMAT,
        bits=BITS,
        bias=float(_on_grid(np.array(bias))),
        scale=scale,
        type_scale=type_scale,
        named=names_of(rules),
        types=[kind.value for kind in ThreatType],
        thresholds=[list(level) for level in DEFAULT_THRESHOLDS],
        rows=rows,
        seed=seed,
    )
    return dump(
        info,
        np.clip(np.rint(ngrams / scale), -127, 127).astype(np.int8),
        _on_grid(coefficients[COLUMNS:]).astype(np.float32),
        np.clip(np.rint(heads[:, : 1 << TYPE_BITS] / type_scale), -127, 127).astype(np.int8),
        _on_grid(heads[:, 1 << TYPE_BITS :]).astype(np.float32),
    )


def _on_grid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.rint(values * GRID) / GRID
