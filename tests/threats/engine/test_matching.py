"""Both matchers give the same verdicts, from any thread, and the compiled database is kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.threats import DetectionRule, Re2Matcher, RuleSet, VectorscanMatcher, load_rules, make_matcher
from tests.threats.engine.samples import ATTACKS, HARMLESS

pytest.importorskip("hyperscan")

RULES = load_rules()
FAST, SLOW = VectorscanMatcher(RULES), Re2Matcher(RULES)
FRAGMENTS = st.sampled_from(
    [
        *sorted({text for rule in RULES.rules for text in rule.match + rule.harmless}),
        "'",
        '"',
        " or ",
        "--",
        "<",
        ">",
        "/*",
        "{{",
        "${",
        "../",
        "\r\n",
        "\x00",
        " ",
        "é",
        "％",
        "$ne",
    ]
)


def test_same_hits_on_every_example() -> None:
    texts = [text for rule in RULES.rules for text in rule.match + rule.harmless]
    texts += [str(value) for values in ATTACKS.values() for value in values] + list(map(str, HARMLESS))
    for text in texts:
        assert FAST.match(text) == SLOW.match(text), text
        for end in ("\n", "\r\n", "\n\n", "\nx"):
            assert FAST.match(text + end) == SLOW.match(text + end), text + end


@given(st.lists(FRAGMENTS | st.text(max_size=12), max_size=6).map("".join))
@settings(max_examples=300, deadline=None)
def test_same_hits_on_anything(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert FAST.match(text) == SLOW.match(text)


def test_the_slow_one_can_be_asked_for() -> None:
    assert isinstance(make_matcher(RULES, engine="re2"), Re2Matcher)
    assert isinstance(make_matcher(RULES, engine="vectorscan"), VectorscanMatcher)


def _small(pattern: str) -> RuleSet:
    rule = DetectionRule(id="x", tier="weak", severity="low", explain="X.", pattern=pattern, match=["x"])
    return RuleSet(rules=(rule,), digest=(pattern.encode().hex() + "0" * 32)[:32])


def test_the_database_is_kept_and_a_damaged_copy_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start must not compile again; half a file must not stop it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rules = _small("needle")
    assert VectorscanMatcher(rules).match("a Needle here") == {0}
    (kept,) = (tmp_path / "gatewright").glob("*.hsdb")
    good = kept.read_bytes()
    assert VectorscanMatcher(rules).match("needle") == {0}
    kept.write_bytes(good[: len(good) // 2])
    assert VectorscanMatcher(rules).match("needle") == {0}
    assert kept.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert VectorscanMatcher(_small("thread")).match("thread") == {0}


def test_threads_do_not_disturb_each_other() -> None:
    """Each has a scratch of its own."""
    texts = [text for rule in RULES.rules for text in rule.match]
    alone = [FAST.match(text) for text in texts]
    results: list[list[set[int]]] = []
    threads = [threading.Thread(target=lambda: results.append([FAST.match(t) for t in texts])) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone] * 50
