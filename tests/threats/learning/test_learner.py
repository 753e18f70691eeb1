"""Learner: feedback is taken, learned from, judged, put in use and taken back; poisoning does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gatewright.errors import RateLimitExceededError, StoreUnavailableError, ValidationError
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from gatewright.threats import DOUBTED, STATEMENTS_A_DAY, Learner, ModelVersion, ReferenceRow, has_attack_syntax
from gatewright.threats.learning import candidate
from tests.threats.learning.small import SmallDetector, as_text


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    async with SqliteStore() as opened:
        yield opened


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def learner(
    store: SqliteStore, sink: ListSink, rows: tuple[ReferenceRow, ...], monkeypatch: pytest.MonkeyPatch
) -> Learner:
    """Its reference knows nothing of LDAP, as the small detector does not."""
    known = tuple(row for row in rows if row.category != "ldap")
    monkeypatch.setattr(candidate, "load_reference", lambda: known)
    return Learner(store, sink=sink, clock=ManualClock(), executor=ThreadPoolExecutor(1))


@pytest.fixture(scope="session")
def ldap(rows: tuple[ReferenceRow, ...]) -> list[str]:
    return [as_text(row.payload) for row in rows if row.category == "ldap"]


@pytest.fixture(scope="session")
def harmless(rows: tuple[ReferenceRow, ...]) -> list[str]:
    return [as_text(row.payload) for row in rows if not row.label and row.part == "guard"]


@pytest.fixture(scope="session")
def attacks(rows: tuple[ReferenceRow, ...]) -> list[str]:
    return [as_text(row.payload) for row in rows if row.label and row.part == "guard" and row.category != "ldap"]


def flagged(detector: SmallDetector, texts: Sequence[str]) -> int:
    return sum(detector.inspect(text).threat_detected for text in texts)


async def tell(learner: Learner, small: SmallDetector, texts: Sequence[str], is_threat: bool, *actors: str) -> None:
    for number, text in enumerate(texts):
        await learner.take(small, text, "xss", is_threat, actor=actors[number % len(actors)])


async def test_twenty_samples_lift_the_rest(
    learner: Learner, small: SmallDetector, ldap: list[str], harmless: list[str], sink: ListSink
) -> None:
    """A category that the base never saw is found far more often after twenty samples; nothing else changes."""
    said, rest = ldap[:20], ldap[20:]
    await tell(learner, small, said, True, "ann")
    version = await learner.learn(small, actor="ann")
    assert version.accepted, version.reason
    better, kept = await learner.detector_in_use(small)
    assert kept is not None
    assert flagged(better, rest) >= flagged(small, rest) + len(rest) // 4
    assert flagged(better, harmless) <= flagged(small, harmless) + len(harmless) // 1000
    assert sink.kinds().count("threats:feedback:given") == 20
    assert sink.kinds()[-1] == "threats:model:accepted"


async def test_a_false_alarm_is_unlearned(
    learner: Learner, small: SmallDetector, attacks: list[str], harmless: list[str]
) -> None:
    """Harmless texts that the base flags pass after feedback, and attacks are found as before."""
    wrong = [text for text in harmless if small.inspect(text).threat_detected][:5]
    other = [f"<b>{word}</b> & <i>more</i> (new!)" for word in ("wood", "steel", "glass")]
    for actor in ("ann", "bob"):
        await tell(learner, small, [*wrong, *other], False, actor)
    version = await learner.learn(small, actor="ann")
    better, _ = await learner.detector_in_use(small)
    assert flagged(better, wrong) <= flagged(small, wrong)
    assert flagged(better, attacks) >= flagged(small, attacks) * 0.98
    assert (await learner.versions())[-1] == version


async def test_one_person_alone_makes_no_finding_harmless(
    learner: Learner, small: SmallDetector, attacks: list[str]
) -> None:
    """It waits for a second voice, and is learned from when that comes."""
    finding = next(text for text in attacks if small.inspect(text).threat_detected)
    given = await learner.take(small, finding, "xss", False, actor="ann")
    assert given.status == "open"
    assert (await learner.learn(small, actor="ann")).reason == "There is no new feedback."
    await learner.take(small, finding, "xss", False, actor="bob")
    assert (await learner.learn(small, actor="ann")).metrics["statements"] == 1.0


async def test_nothing_new(learner: Learner, small: SmallDetector, ldap: list[str]) -> None:
    """Without new feedback no version is made."""
    version = await learner.learn(small, actor="ann")
    assert (version.version, version.accepted) == (0, False)
    await tell(learner, small, ldap[:20], True, "ann")
    first = await learner.learn(small, actor="ann")
    again = await learner.learn(small, actor="ann")
    assert (again.version, again.accepted) == (first.version, False)
    assert len(await learner.versions()) == 1


async def test_roll_back_is_exact(learner: Learner, small: SmallDetector, ldap: list[str], attacks: list[str]) -> None:
    """Scores of an earlier version come back to the bit, and what came later must be settled again."""
    await tell(learner, small, ldap[:10], True, "ann")
    first = await learner.learn(small, actor="ann")
    assert first.accepted, first.reason
    before, _ = await learner.detector_in_use(small)
    await tell(learner, small, ldap[10:25], True, "bob")
    second = await learner.learn(before, actor="bob")
    assert second.accepted, second.reason
    later, _ = await learner.detector_in_use(small)
    texts = [*ldap, *attacks]
    assert [later.score(t) for t in texts] != [before.score(t) for t in texts]
    rolled_back = await learner.roll_back(first.version, actor="ann")
    assert rolled_back.active and rolled_back.version == first.version
    after, _ = await learner.detector_in_use(small)
    assert [after.score(t) for t in texts] == [before.score(t) for t in texts]
    assert (await learner.learn(after, actor="ann")).reason == "There is no new feedback."
    assert (await learner.roll_back(0, actor="ann")).version == 0
    bare, kept = await learner.detector_in_use(small)
    assert kept is None
    assert [bare.score(t) for t in texts] == [small.score(t) for t in texts]
    with pytest.raises(ValidationError):
        await learner.roll_back(99, actor="ann")


async def test_a_version_of_another_base_is_not_used(
    learner: Learner, small: SmallDetector, ldap: list[str], sink: ListSink
) -> None:
    await tell(learner, small, ldap[:20], True, "ann")
    assert (await learner.learn(small, actor="ann")).accepted
    other = SmallDetector(small._weights * 2, 0.0)
    _, kept = await learner.detector_in_use(other)
    assert kept is None
    assert sink.kinds()[-1] == "threats:model:mismatched"


async def test_rules_alone_cannot_learn(learner: Learner, small: SmallDetector, ldap: list[str]) -> None:
    class Bare(SmallDetector):
        base_id = ""

    await tell(learner, small, ldap[:1], True, "ann")
    version = await learner.learn(Bare(small._weights, 0.0), actor="ann")
    assert not version.accepted
    assert "rules alone" in version.reason


async def test_an_actor_is_bounded_by_day(learner: Learner, small: SmallDetector, sink: ListSink) -> None:
    for number in range(STATEMENTS_A_DAY):
        await learner.take(small, f"<{number}>", "xss", True, actor="ann")
    with pytest.raises(RateLimitExceededError):
        await learner.take(small, "<x>", "xss", True, actor="ann")
    assert sink.kinds()[-1] == "threats:feedback:refused"
    assert (await learner.take(small, "<x>", "xss", True, actor="bob")).status == "open"


@pytest.mark.parametrize(("actor", "reason"), [("", ""), ("x" * 201, ""), ("ann", "x" * 1_001)])
async def test_feedback_names_its_actor(learner: Learner, small: SmallDetector, actor: str, reason: str) -> None:
    with pytest.raises(ValidationError):
        await learner.take(small, "<x>", "xss", True, actor=actor, reason=reason)


async def test_no_secret_is_kept(learner: Learner, small: SmallDetector, store: SqliteStore) -> None:
    """What looks like a secret in a statement is replaced before it is stored."""
    await learner.take(small, "<x>&password=hunter2-very-secret&token=eyJhbGciOi.abc", "xss", True, actor="ann")
    (kept,) = await store.list_feedback()
    assert "hunter2" not in kept.text and "eyJhbGciOi" not in kept.text
    assert kept.text.startswith("<x>")


async def test_contradictions_are_kept_and_not_learned(learner: Learner, small: SmallDetector) -> None:
    given = await learner.take(small, "<script>alert(1)</script>", "xss", False, actor="ann")
    assert given.status == "disputed" and given.note
    assert (await learner.learn(small, actor="ann")).reason == "There is no new feedback."


async def test_honest_people_are_heard_beside_a_liar(
    learner: Learner,
    small: SmallDetector,
    rows: tuple[ReferenceRow, ...],
    ldap: list[str],
    harmless: list[str],
    store: SqliteStore,
) -> None:
    """Who says much that contradicts what is known is not believed, and what others say is learned all the same."""
    said, rest = ldap[:20], ldap[20:]
    known = [as_text(row.payload) for row in rows if not row.label and row.part == "replay"]
    lies = sorted(filter(has_attack_syntax, known), key=small.score)[:30]
    await tell(learner, small, said, True, "ann")
    await tell(learner, small, lies, True, "liar")
    version = await learner.learn(small, actor="ann")
    assert version.accepted, version.reason
    better, _ = await learner.detector_in_use(small)
    assert flagged(better, rest) >= flagged(small, rest) + len(rest) // 4
    assert flagged(better, harmless) <= flagged(small, harmless) + len(harmless) // 1000
    status = {(s.actor, s.status, s.note) for s in await store.list_feedback()}
    assert ("liar", "disputed", DOUBTED) in status and ("ann", "used", "version 1") in status
    assert not any(actor == "liar" and kept == "used" for actor, kept, _ in status)


async def test_lies_alone_teach_nothing(learner: Learner, small: SmallDetector, attacks: list[str]) -> None:
    """Nothing explains them together, so that they are not taken up, and no one is left to learn from."""
    await tell(learner, small, attacks[:60:2], False, "liar")
    version = await learner.learn(small, actor="liar")
    assert not version.accepted
    assert (await learner.detector_in_use(small))[1] is None


async def test_the_base_decides_where_what_was_told_does_not_fit(
    learner: Learner, small: SmallDetector, ldap: list[str], store: SqliteStore, sink: ListSink
) -> None:
    """Many people say what no pattern explains: the version in use goes too, and nothing is in the way."""
    await tell(learner, small, ldap[:3], True, "ann")
    assert (await learner.learn(small, actor="ann")).accepted
    signs = ["<i>", "(!)", "[%]", "{;}", "=&=", "#*#", "@~@", "|^|", "+$+", "?/?"]
    read = [(f"oak {sign} it's -- " * 200)[:2_000] for sign in signs]  # of more the detector knows nothing
    alike = [[f"{text}{n}" for text in read] for n in range(4)]
    for n, texts in enumerate(alike):
        await tell(learner, small, texts, n == 0, *(f"{n}: {place}" for place in range(5)))
    current, _ = await learner.detector_in_use(small)
    version = await learner.learn(current, actor="ann")
    assert not version.accepted and "it learned" in version.reason
    assert (await learner.detector_in_use(small))[1] is None
    assert sink.kinds()[-1] == "threats:model:rolled_back"
    assert {said.status for said in await store.list_feedback()} == {"disputed"}
    await tell(learner, small, ldap[3:23], True, "bob")
    assert (await learner.learn(small, actor="bob")).accepted


async def test_two_processes_do_not_learn_over_each_other(
    learner: Learner, small: SmallDetector, ldap: list[str], store: SqliteStore, sink: ListSink
) -> None:
    """The second of two that learned at once is told to try again."""
    other = Learner(store, sink=sink, clock=ManualClock(), executor=ThreadPoolExecutor(1))
    await tell(learner, small, ldap[:20], True, "ann")
    results = await asyncio.gather(
        learner.learn(small, actor="a"), other.learn(small, actor="b"), return_exceptions=True
    )
    assert sorted(type(r).__name__ for r in results) == ["ModelVersion", "StoreUnavailableError"]
    assert isinstance(next(r for r in results if not isinstance(r, ModelVersion)), StoreUnavailableError)


async def test_live_traffic_has_a_say(learner: Learner, small: SmallDetector, ldap: list[str]) -> None:
    """A candidate that would flag what passes today is refused, whatever the guard says."""
    await tell(learner, small, ldap[:20], True, "ann")
    traffic: list[Any] = [text for text in ldap[:20] if not small.inspect(text).threat_detected] * 100
    version = await learner.learn(small, actor="ann", traffic=traffic)
    assert not version.accepted
    assert "live traffic" in version.reason
    assert version.metrics["shadow_newly_flagged"] > 0
    assert (await learner.detector_in_use(small))[1] is None


@pytest.mark.parametrize("kind", ["attacks called harmless", "harmless called attacks"])
@pytest.mark.parametrize("pace", ["fast", "slow"])
@pytest.mark.parametrize("actors", [1, 12])
async def test_poisoning(
    learner: Learner,
    small: SmallDetector,
    attacks: list[str],
    harmless: list[str],
    kind: str,
    pace: str,
    actors: int,
) -> None:
    """Eight poisonings: refused, or without harm: recall and false alarms stay where they were."""
    lies, is_threat = (attacks, False) if kind == "attacks called harmless" else (harmless, True)
    names = [f"actor {n}" for n in range(actors)]
    lies = lies[::4][:30]
    current = small
    for batch in [lies] if pace == "fast" else [lies[n::3] for n in range(3)]:
        await tell(learner, current, batch, is_threat, *names)
        await learner.learn(current, actor="poisoner")
        current, _ = await learner.detector_in_use(small)
    assert flagged(current, attacks) >= 0.98 * flagged(small, attacks)
    assert flagged(current, harmless) <= flagged(small, harmless) + len(harmless) // 500
