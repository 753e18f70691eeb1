"""Our own documents are technical prose full of signs: they pass as values, but for attacks that they quote."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.threats import DetectionEngine

ROOT = Path(__file__).parents[3]
QUOTES = re.compile(r"(?i)union\s+select|<script|/etc/passwd|\$\{jndi|onerror=|drop\s+table|OR '1'='1|curl -s")
"""Passages that quote an attack, or that are shell commands to copy: exceptions that the issue names."""


def _blocks(path: Path) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", path.read_text("utf-8")):
        if not QUOTES.search(block):
            yield block


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_documents_pass(engine: DetectionEngine, name: str) -> None:
    found = engine.inspect(list(_blocks(ROOT / name)), level=1)
    assert [(f.evidence[:80], f.detected_patterns) for f in found.findings] == []


def test_the_architecture_passes(engine: DetectionEngine) -> None:
    found = engine.inspect(list(_blocks(ROOT / "docs" / "explanation" / "architecture.md")), level=1)
    assert [(f.evidence[:80], f.detected_patterns) for f in found.findings] == []


def test_the_policy_passes(engine: DetectionEngine) -> None:
    import gatewright

    path = Path(gatewright.__file__).with_name("policy.toml")
    assert engine.inspect(tomllib.loads(path.read_text("utf-8")), level=1).findings == []
    found = engine.inspect(list(_blocks(path)), level=1)
    assert [(f.evidence[:80], f.detected_patterns) for f in found.findings] == []
