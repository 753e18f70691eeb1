"""Assertions on events, and what they say when they fail."""

from __future__ import annotations

import pytest

from gatewright import ListSink
from gatewright.events import event
from gatewright.testing import assert_event, assert_no_event


@pytest.fixture
def sink() -> ListSink:
    kept = ListSink()
    kept.emit(event("auth:login:failed", severity="warning", manufacturer_id="mfr_a", reason="password"))
    kept.emit(event("auth:login:failed", manufacturer_id="mfr_b", reason="locked"))
    kept.emit(event("auth:login:succeeded", manufacturer_id="mfr_a"))
    return kept


def message(call: object, *arguments: object, **fields: object) -> str:
    with pytest.raises(AssertionError) as failed:
        call(*arguments, **fields)  # type: ignore[operator]
    return str(failed.value)


def test_the_first_event_that_matches_is_returned(sink: ListSink) -> None:
    assert assert_event(sink, "auth:login:failed") is sink.events[0]
    assert assert_event(sink, "auth:login:failed", reason="locked") is sink.events[1]
    assert assert_event(sink.events, "auth:login:failed", manufacturer_id="mfr_b", reason="locked") is sink.events[1]
    assert assert_event(iter(sink.events), "auth:login:succeeded", severity="info") is sink.events[2]


def test_a_failure_shows_the_nearest_event_and_every_kind(sink: ListSink) -> None:
    assert message(assert_event, sink, "auth:login:failed", manufacturer_id="mfr_b", reason="password", tries=3) == (
        "No event auth:login:failed, manufacturer_id='mfr_b', reason='password', tries=3.\n"
        "Nearest: auth:login:failed, severity='warning', manufacturer_id='mfr_a', reason='password'\n"
        "  manufacturer_id is 'mfr_a', expected 'mfr_b'; tries is missing, expected 3\n"
        "Seen: auth:login:failed (2), auth:login:succeeded"
    )


def test_a_failure_names_the_nearest_kind(sink: ListSink) -> None:
    assert message(assert_event, sink, "auth:login:suceeded") == (
        "No event auth:login:suceeded.\n"
        "Nearest kind: auth:login:succeeded\n"
        "Seen: auth:login:failed (2), auth:login:succeeded"
    )


def test_a_failure_without_events_says_so() -> None:
    assert message(assert_event, ListSink(), "auth:login:failed") == (
        "No event auth:login:failed.\nNo events were seen."
    )


def test_a_missing_field_is_not_the_same_as_none(sink: ListSink) -> None:
    assert "detail is missing, expected None" in message(assert_event, sink, "auth:login:failed", detail=None)
    assert assert_event(sink, "auth:login:failed", session_id=None)


def test_no_event_passes_where_none_matches(sink: ListSink) -> None:
    assert_no_event(sink, "auth:account:locked")
    assert_no_event(sink, "auth:login:failed", manufacturer_id="mfr_c")
    assert_no_event([], "auth:login:failed")


def test_an_unexpected_event_is_shown(sink: ListSink) -> None:
    assert message(assert_no_event, sink, "auth:login:failed", reason="locked") == (
        "Unexpected event auth:login:failed, reason='locked', 1 of 3.\n"
        "First: auth:login:failed, severity='info', manufacturer_id='mfr_b', reason='locked'\n"
        "Seen: auth:login:failed (2), auth:login:succeeded"
    )


@pytest.mark.parametrize("kind", ["login_failed", "auth:login", "auth:login:*", "Auth:Login:Failed", ""])
def test_what_can_never_be_a_kind_is_refused(sink: ListSink, kind: str) -> None:
    for call in (assert_event, assert_no_event):
        with pytest.raises(ValueError, match="source:subject:action"):
            call(sink, kind)
