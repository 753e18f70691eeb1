"""User-facing text: every change is seen in review, and none sounds translated."""

from __future__ import annotations

import ast
import difflib
import re
import tokenize
from pathlib import Path

import pytest

from tests.language import catalog

ROOT = catalog.SOURCE.parents[1]

TELLTALE = re.compile(
    r"(?<![-\w])(?:anew|somebody|dear|alike|in vain|left away|in clear|at the most|stands? in for|holds? true of|"
    r"comes with it|for trying|until a day|gone on with|(?<!there )is none|the like|of one's own|let in|"
    r"is of another time|does not hold(?= *[.;])|is not right|is not there|in the place of|not that any more)\b"
)
"""Phrases of a literal translation. Each was in our own text once."""

PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


def test_the_snapshot_of_user_facing_text_is_current() -> None:
    """Renew it with ``python -m tests.language.catalog`` and read the difference as a user would."""
    kept, made = catalog.SNAPSHOT.read_text().splitlines(), catalog.write().splitlines()
    changed = [line for line in difflib.unified_diff(kept, made, lineterm="", n=0) if line[:3] not in ("---", "+++")]
    assert not changed, "\n".join(changed[:40])


@pytest.mark.parametrize("title", catalog.SECTIONS)
def test_no_section_is_empty(title: str) -> None:
    assert list(catalog.SECTIONS[title]())


def test_user_facing_text_has_no_telltale_phrase() -> None:
    found = [line for line in catalog.SNAPSHOT.read_text().splitlines() if TELLTALE.search(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_has_no_telltale_phrase(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), start=1)
    found = [f"{page.relative_to(ROOT)}:{number}: {line}" for number, line in lines if TELLTALE.search(line)]
    assert not found, "\n".join(found)


def test_no_module_of_ours_has_a_telltale_phrase() -> None:
    """In docstrings and comments; the words of a language such as SQL or HTML are in other strings."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {text.strip()}"
        for path in sorted(catalog.SOURCE.rglob("*.py"))
        for number, text in _prose_of(path)
        if TELLTALE.search(text)
    ]
    assert not found, "\n".join(found)


def test_log_keys_are_snake_case() -> None:
    assert not [key for key in catalog.log_keys() if not SNAKE_CASE.fullmatch(key)]


def test_every_module_begins_with_a_noun_phrase() -> None:
    """One line that ends with a full stop; it names what the module contains."""
    wrong = []
    for path in sorted(catalog.SOURCE.rglob("*.py")):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        if not re.fullmatch(r"[A-Z0-9`\"].*[.]", first) and path.stat().st_size:
            wrong.append(f"{path.relative_to(ROOT)}: {first!r}")
    assert not wrong, "\n".join(wrong)


def _prose_of(path: Path) -> list[tuple[int, str]]:
    """Lines of docstrings and comments, with their numbers."""
    found = []
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""')):
                found += list(enumerate(token.string.splitlines(), start=token.start[0]))
    return found
