"""Figures in hand-written pages equal those of the code."""

from __future__ import annotations

import ast
import inspect
import operator
import re
from collections.abc import Callable
from functools import cache

import pytest

from gatewright import ManufacturerEncryptionManager, SecurityMonitor, Settings, load_policy
from tests.docs.pages import DOCS, ROOT
from tests.docs.reference import SOURCE

_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,  # type: ignore[dict-item]
    ast.Div: operator.truediv,
}


def _number(node: ast.expr) -> float | None:
    """The value of a numeric expression such as ``128 * 1024``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _number(node.left), _number(node.right)
        return None if left is None or right is None else _OPERATORS[type(node.op)](left, right)
    return None


@cache
def _constants(package: str) -> dict[str, set[float]]:
    """Numeric constants at module level in a package, wherever in it they are defined."""
    found: dict[str, set[float]] = {}
    for path in (SOURCE / package).rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            for name, value in _assignments(node):
                number = _number(value)
                if number is not None:
                    found.setdefault(name, set()).add(number)
    return found


def _assignments(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [(node.target.id, node.value)]
    if not isinstance(node, ast.Assign):
        return []
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        pairs = zip(target.elts, node.value.elts, strict=True)
        return [(name.id, value) for name, value in pairs if isinstance(name, ast.Name)]
    return [(target.id, node.value)] if isinstance(target, ast.Name) else []


def _constant(package: str, name: str) -> float:
    values = _constants(package).get(name, set())
    assert len(values) == 1, f"{name} is not one number in gatewright.{package}: {values or 'not found'}"
    return next(iter(values))


def _setting(name: str) -> float:
    return float(Settings.model_fields[name].default)


def _limit(action: str) -> float:
    return float(load_policy().actions[action].limit)


def _uploads() -> float:
    return float(load_policy().limits_of_tier("free")["product_uploads"].limit)


def _argument(call: Callable[..., object], name: str) -> float:
    return float(inspect.signature(call).parameters[name].default)


WORDS = {2: "two", 4: "four", 5: "five", 10: "ten"}

FIGURES: list[tuple[str, str, Callable[[], float]]] = [
    ("tutorial.md", "allows {} uploads a month", _uploads),
    (
        "how-to/production.md",
        "| the first byte, and the complete header | {} s |",
        lambda: _setting("header_timeout_seconds"),
    ),
    ("how-to/production.md", "| the body | {} s, plus", lambda: _setting("body_timeout_seconds")),
    ("how-to/production.md", "for every {} KiB received", lambda: _constant("web", "MIN_RATE") / 1024),
    ("how-to/production.md", "| the next request | {} s |", lambda: _setting("keep_alive_seconds")),
    ("how-to/production.md", "| the rest of a refused body | {} s |", lambda: _constant("web", "LINGER")),
    ("how-to/production.md", "at most {} connections", lambda: _setting("max_connections")),
    ("how-to/production.md", "to it every {word} minutes", lambda: _argument(SecurityMonitor, "checkpoint_every") / 60),
    ("how-to/protect-a-fastapi-app.md", "more than {} characters", lambda: _constant("web", "MAX_PATH")),
    ("how-to/rotate-keys.md", "up to {} minutes later by default", lambda: _setting("access_token_minutes")),
    ("how-to/sanitize-and-validate.md", "at most {} bytes", lambda: _constant("threats", "MAX_FILENAME_BYTES")),
    (
        "how-to/sanitize-and-validate.md",
        "`-`; at most {} characters",
        lambda: _constant("threats", "MAX_IDENTIFIER_LENGTH"),
    ),
    (
        "how-to/sanitize-and-validate.md",
        "lookups; at most {} characters",
        lambda: _constant("threats", "MAX_LOG_LENGTH"),
    ),
    ("how-to/tune-detection.md", "detection level is {}:", lambda: load_policy().detection.level),
    ("how-to/tune-detection.md", "At most {} reports by one person", lambda: _constant("threats", "MAX_PER_ACTOR")),
    ("how-to/tune-detection.md", "at most {} of texts with the same shape", lambda: _constant("threats", "MAX_ALIKE")),
    ("how-to/tune-detection.md", "counts once {word} people", lambda: _constant("threats", "VOICES")),
    ("how-to/tune-detection.md", "{word} or more of those corrections", lambda: _constant("threats", "DOUBTED_FROM")),
    (
        "how-to/tune-detection.md",
        "at most {} % more of the harmless",
        lambda: _constant("threats", "NEW_FALSE_ALARMS") * 100,
    ),
    ("key-management.md", "generation is {} days old", lambda: load_policy().rotation.data_key_days),
    (
        "key-management.md",
        "{} days for a manager built on its own",
        lambda: _argument(ManufacturerEncryptionManager, "rotation_days"),
    ),
    ("key-management.md", "cache them for up to {} minutes", lambda: _setting("access_token_minutes")),
    ("encryption-format.md", "chunks of {} bytes", lambda: _constant("encryption", "CHUNK_BYTES")),
    ("explanation/sessions.md", "valid for {} minutes by default", lambda: _setting("access_token_minutes")),
    ("explanation/sessions.md", "For {word} seconds (configurable)", lambda: _setting("refresh_grace_seconds")),
    ("explanation/quotas.md", "at least a {} % chance", lambda: _constant("rbac", "SURE") * 100),
    ("explanation/security-model.md", "{} requests per minute by default", lambda: _limit("anonymous_request")),
    ("explanation/security-model.md", "gets {word} times that", lambda: _constant("web", "SITE_SHARE")),
    (
        "explanation/security-model.md",
        "At most {} permission violations",
        lambda: _constant("rbac", "MAX_VIOLATIONS"),
    ),
    ("explanation/security-model.md", "newest {} are kept", lambda: _constant("storage", "MAX_VIOLATIONS")),
    ("reference/events.md", "beyond the {} that are counted", lambda: _constant("monitoring", "MAX_SOURCES")),
    ("reference/events.md", "The last {word} request ids", lambda: _constant("monitoring", "_MAX_REQUEST_IDS")),
    ("reference/http-api.md", "at most {} lines", lambda: _setting("max_header_count")),
    ("reference/http-api.md", "and {} KB with the request target", lambda: _setting("max_header_bytes") / 1024),
    ("reference/policy.md", "{} and 95 % by default", lambda: load_policy().quotas.warn_at[0] * 100),
    ("reference/policy.md", "80 and {} % by default", lambda: load_policy().quotas.warn_at[1] * 100),
    ("reference/request-inspection.md", "over {} KiB and more", lambda: _constant("web", "RATIO_FREE") / 1024),
    ("reference/request-inspection.md", "more than {} times the compressed", lambda: _constant("web", "MAX_RATIO")),
    ("reference/request-inspection.md", "over {} gzip members", lambda: _constant("web", "MAX_MEMBERS")),
]


@pytest.mark.parametrize(("page", "phrase", "value"), FIGURES, ids=[f"{page}: {phrase}" for page, phrase, _ in FIGURES])
def test_a_figure_is_that_of_the_code(page: str, phrase: str, value: Callable[[], float]) -> None:
    number = round(value(), 6)
    said = phrase.format(f"{number:,.10g}", word=WORDS.get(int(number), str(number)))
    assert said in " ".join((DOCS / page).read_text().split())


def test_the_model_card_and_the_measurements_quote_the_detector_report() -> None:
    report = (DOCS / "detector-report.md").read_text()
    recall, mean, plain, json, hard = _row(report, "the same, thresholds as shipped")
    card = " ".join((DOCS / "model-card.md").read_text().split())
    assert f"{recall:.1f} % of attacks are found (mean of categories {mean:.1f} %)" in card
    assert f"{plain:.2f} % of plain values, {json:.2f} % of JSON and {hard:.1f} % of code" in card
    recall, mean, plain, json, hard = _row(report, "Gatewright")
    measured = (DOCS / "measurements.md").read_text()
    assert f"| {recall:.1f} %; **goal missed**" in measured
    assert f"| {mean:.1f} % |" in measured
    assert f"| {plain:.2f}, {json:.2f}, {hard:.1f} % |" in measured


def _row(report: str, name: str) -> list[float]:
    found = re.search(rf"^\| {re.escape(name)} \|(.+)\|$", report, re.MULTILINE)
    assert found, name
    return [float(cell.strip(" %")) for cell in found[1].split("|")]


def test_rows_of_the_corpus_add_up() -> None:
    card = (DOCS / "model-card.md").read_text()
    dev, benign = (int(n.replace(",", "")) for n in re.findall(r"`(?:dev|benign-rich)`, ([\d,]+)", card))
    assert f"{dev + benign:,} rows of both corpus files" in (DOCS / "detector-report.md").read_text()


def test_the_model_is_as_small_as_the_card_says() -> None:
    weights = next(SOURCE.rglob("detector.safetensors"))
    assert "under 500 KB" in (DOCS / "model-card.md").read_text()
    assert weights.stat().st_size < 500_000


def test_the_number_of_rules_in_the_changelog() -> None:
    found = re.search(r"(\d+) rules", (ROOT / "CHANGELOG.md").read_text())
    rules = sum(path.read_text().count("[[rules]]") for path in SOURCE.rglob("rules/*.toml"))
    assert found is None or int(found[1]) == rules


def test_supported_pythons_are_those_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    versions = re.findall(r'Python :: (3\.\d+)"', project)
    assert f"{', '.join(versions[:-1])} and {versions[-1]}" in (DOCS / "reference" / "stability.md").read_text()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", DOCS / "tutorial.md"):
        assert f"Python {versions[0]} or newer" in page.read_text(), page.name
