"""select and intake: what bounds the harm of wrong feedback before anything is fitted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from gatewright.errors import ValidationError
from gatewright.storage import StoredFeedback
from gatewright.threats import MAX_ALIKE, MAX_IN_ALL, MAX_PER_ACTOR, contradiction, digest_of, select, shape, text_of
from tests.threats.learning.small import SmallDetector


def statement(number: int, text: str, **changes: Any) -> StoredFeedback:
    made = StoredFeedback(
        feedback_id=f"f{number}",
        actor="ann",
        source="api",
        digest=digest_of(text),
        text=text,
        threat_type="xss",
        is_threat=True,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return replace(made, **changes)


def distinct(number: int) -> str:
    """Texts of different shapes."""
    return "".join("<>(){}[]'\""[int(digit)] for digit in f"{number:06d}")


def test_what_is_said_once_counts() -> None:
    said = [statement(n, distinct(n)) for n in range(10)]
    assert select(said).chosen == said
    assert select(said).left_out == {}


def test_disagreement_counts_for_neither_side() -> None:
    said = [statement(0, "<a>"), statement(1, "<a>", actor="bob", is_threat=False), statement(2, "<b c>")]
    selection = select(said)
    assert [s.feedback_id for s in selection.chosen] == ["f2"]
    assert selection.left_out == {"people disagree about this text": ["f1", "f0"]}


def test_the_same_text_counts_once() -> None:
    said = [statement(0, "<a>"), statement(1, " <A> ", actor="bob")]
    selection = select(said)
    assert [s.feedback_id for s in selection.chosen] == ["f1"]
    assert [s.feedback_id for s in selection.agreeing] == ["f0"]


def test_a_finding_is_called_harmless_by_two_people_or_waits() -> None:
    """One person alone opens no way for attacks, however often they say it; who waits is not in dispute."""
    finding = {"is_threat": False, "confidence": 0.9}
    alone = [statement(0, "<a>", **finding), statement(1, " <A>", **finding)]
    assert select(alone) == ([], [], {})
    selection = select([*alone, statement(2, "<a>", actor="bob", **finding)])
    assert [s.feedback_id for s in selection.chosen] == ["f2"]
    assert len(selection.agreeing) == 2 and not selection.left_out
    for confidence, is_threat in ((0.0, False), (0.9, True), (0.0, True)):
        assert select([statement(0, "<a>", is_threat=is_threat, confidence=confidence)]).chosen


def test_one_actor_is_bounded_and_the_latest_count() -> None:
    said = [statement(n, distinct(n)) for n in range(MAX_PER_ACTOR + 5)]
    assert select(said).chosen == said[5:]


def test_one_shape_is_bounded() -> None:
    said = [statement(n, f"{{{{{n}*{n}}}}}", actor=f"a{n}") for n in range(MAX_ALIKE + 3)]
    assert len(select(said).chosen) == MAX_ALIKE
    assert shape("{{7*7}}") == shape("{{ab * 12}}".replace("ab", "3").replace(" ", ""))


def test_all_together_are_bounded() -> None:
    said = [statement(n, distinct(n), actor=f"a{n}") for n in range(MAX_IN_ALL + 3)]
    assert len(select(said).chosen) == MAX_IN_ALL


def test_the_text_that_a_statement_is_about(small: SmallDetector) -> None:
    """Of a JSON value it is the most suspicious text."""
    assert text_of("plain", small) == "plain"
    data = {"name": "Acme", "note": ["all good", "<script>alert(1)</script>"], "n": 5}
    assert text_of(data, small) == "<script>alert(1)</script>"


@pytest.mark.parametrize("data", ["", "   ", {}, [1, None], "x" * 5_000, ["a"] * 201])
def test_no_text_or_too_much(data: Any, small: SmallDetector) -> None:
    with pytest.raises(ValidationError):
        text_of(data, small)


def test_contradictions(small: SmallDetector) -> None:
    """An attack of words alone, and harmless text in which a rule is certain, go to a person."""
    attack, words = "<script>alert(1)</script>", "We sell wooden toys, since 1970."
    assert contradiction(attack, small.inspect(attack), is_threat=False)
    assert contradiction(words, small.inspect(words), is_threat=True)
    assert not contradiction(attack, small.inspect(attack), is_threat=True)
    assert not contradiction(words, small.inspect(words), is_threat=False)
