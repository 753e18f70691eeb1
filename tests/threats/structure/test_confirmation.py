"""A rule's check of structure: asked only where its expression matches, in both matchers; bad rules are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.errors import ConfigurationError
from gatewright.threats import CHECKS, Confirmation, DetectionRule, RuleSet, load_rules, make_matcher

FILE = """
threat_type = 'xss'
references = ['CWE-79']

[[rules]]
id = 'own-rule'
tier = 'certain'
severity = 'high'
explain = 'Our own.'
pattern = '''PATTERN'''
match = ['x']
"""
MATCHERS = ["vectorscan", "re2"]


@pytest.mark.parametrize("pattern", ["(a", "a(?=b)", r"(a)\1", "a{2,1}", "[z-a]"])
def test_a_bad_expression_is_told_with_file_rule_and_remedy(tmp_path: Path, pattern: str) -> None:
    """When the directory is read, whichever matcher would take it."""
    (tmp_path / "own.toml").write_text(FILE.replace("PATTERN", pattern))
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path)
    assert str(tmp_path / "own.toml") in str(caught.value)
    assert "own-rule" in str(caught.value) and "correct it" in str(caught.value)


@pytest.mark.parametrize("engine", MATCHERS)
def test_a_matcher_tells_it_too(engine: str) -> None:
    """Rules that were made by other means than loading."""
    good = DetectionRule(id="good", tier="weak", severity="low", explain="X.", pattern="x", match=["x"])
    bad = DetectionRule(id="bad", tier="weak", severity="low", explain="X.", pattern="(x", match=["x"], file="a.toml")
    with pytest.raises(ConfigurationError, match=r"a\.toml: the rule bad cannot be used"):
        make_matcher(RuleSet(rules=(good, bad), digest="none-of-the-disk"), engine=engine)


def test_a_check_that_does_not_exist_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(FILE.replace("PATTERN", "x") + "confirm = 'nothing'\n")
    with pytest.raises(ConfigurationError, match="there is no check 'nothing'"):
        load_rules(tmp_path)


def test_hits_without_structure_are_dropped() -> None:
    """Of rules with a check; the others stay."""
    name = sorted(CHECKS)[0]
    confirmed = Confirmation(["", name, ""])
    assert confirmed(set(), "plain") == set()
    assert confirmed({0, 2}, "plain") == {0, 2}
    assert confirmed({0, 1}, "plain words") == {0}
