"""Assertions on security events, with failure messages that name the nearest event."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from gatewright import ListSink, SecurityEvent

_KIND = re.compile(r"[a-z0-9_]+(:[a-z0-9_]+){2}")
_ABSENT = object()
_OWN_FIELDS = frozenset(SecurityEvent.__struct_fields__) - {"data"}


def assert_event(events: ListSink | Iterable[SecurityEvent], kind: str, **fields: Any) -> SecurityEvent:
    """The first event of ``kind`` whose fields have these values; fails the test when there is none.

    Args:
        events: a ``ListSink``, or the events themselves.
        fields: fields of the event (``manufacturer_id``, ``severity``, …) or keys of its ``data``.

    Raises:
        AssertionError: no such event; the message names the nearest one and every kind that was seen.
        ValueError: ``kind`` is not of the form ``source:subject:action``.
    """
    seen = _listed(events)
    of_kind = _of_kind(seen, kind)
    for event in of_kind:
        if not _differences(event, fields):
            return event
    raise AssertionError(f"No event {_described(kind, fields)}.\n{_nearest(of_kind, seen, kind, fields)}{_seen(seen)}")


def assert_no_event(events: ListSink | Iterable[SecurityEvent], kind: str, **fields: Any) -> None:
    """Fail the test when there is an event of ``kind`` whose fields have these values.

    Raises:
        AssertionError: there is one; the message shows it.
        ValueError: ``kind`` is not of the form ``source:subject:action``.
    """
    seen = _listed(events)
    found = [event for event in _of_kind(seen, kind) if not _differences(event, fields)]
    if found:
        raise AssertionError(
            f"Unexpected event {_described(kind, fields)}, {len(found)} of {len(seen)}.\n"
            f"First: {_shown(found[0])}\n{_seen(seen)}"
        )


def _listed(events: ListSink | Iterable[SecurityEvent]) -> list[SecurityEvent]:
    return list(events.events if isinstance(events, ListSink) else events)


def _of_kind(seen: list[SecurityEvent], kind: str) -> list[SecurityEvent]:
    if not _KIND.fullmatch(kind):
        raise ValueError(f"{kind!r} is not an event kind: kinds have the form source:subject:action")
    return [event for event in seen if event.kind == kind]


def _value(event: SecurityEvent, name: str) -> Any:
    return getattr(event, name) if name in _OWN_FIELDS else event.data.get(name, _ABSENT)


def _differences(event: SecurityEvent, fields: dict[str, Any]) -> list[str]:
    found = []
    for name, wanted in fields.items():
        value = _value(event, name)
        if value is _ABSENT:
            found.append(f"{name} is missing, expected {wanted!r}")
        elif value != wanted:
            found.append(f"{name} is {value!r}, expected {wanted!r}")
    return found


def _described(kind: str, fields: dict[str, Any]) -> str:
    return kind + "".join(f", {name}={value!r}" for name, value in fields.items())


def _shown(event: SecurityEvent) -> str:
    own = {name: getattr(event, name) for name in ("severity", "manufacturer_id", "account_id", "ip_address")}
    return _described(event.kind, {k: v for k, v in {**own, **event.data}.items() if v is not None})


def _nearest(of_kind: list[SecurityEvent], seen: list[SecurityEvent], kind: str, fields: dict[str, Any]) -> str:
    if of_kind:
        best = min(of_kind, key=lambda event: len(_differences(event, fields)))
        return f"Nearest: {_shown(best)}\n  {'; '.join(_differences(best, fields))}\n"
    close = difflib.get_close_matches(kind, {event.kind for event in seen}, n=1)
    return f"Nearest kind: {close[0]}\n" if close else ""


def _seen(seen: list[SecurityEvent]) -> str:
    if not seen:
        return "No events were seen."
    kinds = Counter(event.kind for event in seen)
    return "Seen: " + ", ".join(kind if n == 1 else f"{kind} ({n})" for kind, n in kinds.items())
