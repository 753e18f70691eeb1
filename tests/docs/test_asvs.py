"""Each claim about the ASVS names a requirement that there is and a test that there is."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.docs.pages import DOCS, ROOT

ROW = re.compile(r"^\| (V[\d.]+) \| (.+?) \| (.+) \|$", re.MULTILINE)
IDS = frozenset((ROOT / "tests" / "docs" / "asvs_ids.txt").read_text().split())
"""The ids of ASVS 5.0.0 (OWASP, CC BY-SA 4.0), without its text."""


def _rows() -> list[tuple[str, str, str]]:
    return ROW.findall((DOCS / "asvs.md").read_text())


@cache
def _tests_in(path: str) -> frozenset[str]:
    file = ROOT / "tests" / path
    if not file.exists():
        return frozenset()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds))


def test_every_claim_names_a_requirement_once_and_in_order() -> None:
    ids = [row[0] for row in _rows()]
    assert len(ids) > 50
    assert set(ids) <= IDS
    numbers = [tuple(map(int, name[1:].split("."))) for name in ids]
    assert numbers == sorted(set(numbers))


def test_every_claim_names_tests_that_exist() -> None:
    missing = []
    for name, _, shown in _rows():
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", shown)
        assert named, name
        missing += [f"{name}: {path}::{test}" for path, test in named if test not in _tests_in(path)]
    assert missing == []
