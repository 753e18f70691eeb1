"""Every rule matches what it says it matches, and both matchers agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.errors import ConfigurationError
from gatewright.threats import (
    Matcher,
    Re2Matcher,
    ThreatType,
    VectorscanMatcher,
    Walk,
    load_reference,
    load_rules,
    make_matcher,
    normalise,
)

RULES = load_rules()

RULE_FILE = """
threat_type = 'xss'
references = ['CWE-79']

[[rules]]
id = 'own-rule'
tier = 'certain'
severity = 'high'
explain = 'Our own.'
pattern = 'forbidden-\\d+'
match = ['forbidden-1']
"""


@pytest.fixture(scope="module", params=[VectorscanMatcher, Re2Matcher], ids=["vectorscan", "re2"])
def matcher(request: pytest.FixtureRequest) -> Matcher:
    made: Matcher = request.param(RULES)
    return made


def test_examples_of_rules(matcher: Matcher) -> None:
    """What must match does, what must not does not."""
    wrong = []
    for number, rule in enumerate(RULES.rules):
        wrong += [(rule.id, text) for text in rule.match if number not in matcher.match(text)]
        wrong += [(rule.id, text) for text in rule.harmless if number in matcher.match(text)]
    assert wrong == []


def test_every_rule_explains_itself() -> None:
    """An id, a sentence, a reference and an example; and every threat type has rules."""
    for rule in RULES.rules:
        assert rule.match and rule.references and rule.explain.endswith("."), rule.id
    assert {rule.threat_type for rule in RULES.rules} == {kind.value for kind in ThreatType}


def test_both_matchers_agree_on_real_rows() -> None:
    """Same rules, same verdicts, on raw and on decoded text."""
    fast, slow = VectorscanMatcher(RULES), Re2Matcher(RULES)
    for row in load_reference()[::6]:
        for text in Walk(row.payload):
            for form in (text.text, normalise(text.text).text):
                assert fast.match(form) == slow.match(form), form


def test_matcher_by_name() -> None:
    """re2 can be asked for."""
    assert isinstance(make_matcher(RULES, engine="re2"), Re2Matcher)


def test_compiled_rules_are_kept_and_a_damaged_copy_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is by content, owner-only, and never trusted when it cannot be read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "rules"
    directory.mkdir()
    (directory / "own.toml").write_text(RULE_FILE)
    rules = load_rules(directory)
    assert VectorscanMatcher(rules).match("forbidden-12") == {0}
    kept = sorted((tmp_path / "cache" / "gatewright").iterdir())
    assert kept
    assert (tmp_path / "cache" / "gatewright").stat().st_mode & 0o077 == 0
    for file in kept:
        file.write_bytes(b"damaged")
    assert VectorscanMatcher(rules).match("forbidden-12") == {0}
    assert all(file.read_bytes() != b"damaged" for file in kept)


def test_no_place_for_the_cache_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, rules are compiled each time."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "own.toml").write_text(RULE_FILE)
    assert VectorscanMatcher(load_rules(tmp_path)).match("forbidden-1") == {0}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"a.toml": "threat_type = 3"},
        {"a.toml": "not toml ["},
        {"a.toml": RULE_FILE, "b.toml": RULE_FILE},
        {"a.toml": RULE_FILE.replace("'certain'", "'sure'")},
    ],
    ids=["none", "no-rules", "no-toml", "twice", "unknown-tier"],
)
def test_wrong_rule_files_are_told(tmp_path: Path, files: dict[str, str]) -> None:
    """With the file's name and what to do."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError):
        load_rules(tmp_path)
