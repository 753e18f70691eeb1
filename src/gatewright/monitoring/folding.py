"""Folding of repeated refusals: one audit event per minute instead of one per request.

The first refusal of a source is kept immediately, and so is the first one of each further code. The rest of that
minute is counted, and kept as one event of the same kind with ``count``, ``first_at``, ``last_at`` and ``codes``. Only
the audit log is folded: correlation, metrics and other sinks get every event.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from datetime import datetime

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.controls import network_of
from gatewright.events import SecurityEvent, Severity, event as new_event
from gatewright.records import Record

WINDOW_SECONDS = 60.0
"""The time that one folded event covers."""
MAX_SOURCES = 10_000
"""The maximum number of sources in one window. Further sources are folded together."""
MAX_SITE_NETWORKS = 8
"""The maximum number of /64 networks of one IPv6 /48. Further ones are counted under the /48."""

ALL_SOURCES = "*"
_MAX_CODES = 8
_OTHER = "other"
_MAX_REQUEST_IDS = 5
_MAX_CODE_LENGTH = 64


class FoldRule(Record, frozen=True, kw_only=True):
    """How events of one kind are folded.

    ``code`` is the key of the event's data that distinguishes them. ``keep_first`` is the number of events of each code
    that are kept individually. ``anonymous`` limits the rule to events without a manufacturer.
    """

    code: str
    keep_first: int = 1
    anonymous: bool = False


FOLD_RULES: Mapping[str, FoldRule] = {
    event_kinds.WEB_REQUEST_REFUSED: FoldRule(code="code"),
    event_kinds.WEB_REQUEST_SERVED: FoldRule(
        code="status", anonymous=True
    ),  # an application's 4xx for an unknown caller
    event_kinds.WEB_LIMIT_EXCEEDED: FoldRule(code="limit"),
    event_kinds.AUTH_API_KEY_REFUSED: FoldRule(code="reason"),
    event_kinds.AUTH_ATTEMPT_REFUSED: FoldRule(code="door"),
    event_kinds.AUTH_LOGIN_THROTTLED: FoldRule(code="scope"),
    event_kinds.AUTH_PASSWORD_RESET_REQUESTED: FoldRule(code="mailed", keep_first=5),
    event_kinds.AUTH_REGISTRATION_REQUESTED: FoldRule(code="known", keep_first=5),
    event_kinds.RBAC_PERMISSION_DENIED: FoldRule(code="permission"),
    event_kinds.RBAC_QUOTA_EXCEEDED: FoldRule(code="resource"),
    event_kinds.THREATS_RATE_LIMIT_EXCEEDED: FoldRule(code="action"),
    event_kinds.THREATS_REQUEST_BLOCKED: FoldRule(code="truncated", keep_first=10, anonymous=True),
    event_kinds.THREATS_REQUEST_SEEN: FoldRule(code="truncated", keep_first=10, anonymous=True),
}
"""Kinds that a caller can trigger at will. Guesses of secrets are not included: their number is limited."""

_Key = tuple[str, str]
"""Kind and source."""


class Folding:
    """Decides which events the audit log keeps individually.

    Args:
        clock: its monotonic time ends the windows.
        rules: the rules by kind of event.
        sources: the maximum number of windows in memory.
    """

    def __init__(self, clock: Clock, rules: Mapping[str, FoldRule] = FOLD_RULES, *, sources: int = MAX_SOURCES) -> None:
        self._clock = clock
        self.rules = rules
        self._sources = sources
        self.windows: OrderedDict[_Key, _FoldWindow] = OrderedDict()  # oldest first
        self._sites: Counter[_Key] = Counter()
        self._lock = threading.Lock()

    def take(self, event: SecurityEvent) -> bool:
        """Whether the log keeps this event individually. Otherwise it is counted here. Thread-safe."""
        rule = self.rules.get(event.kind)
        if rule is None or (rule.anonymous and event.manufacturer_id is not None):
            return True
        if event.severity in (Severity.HIGH, Severity.CRITICAL):
            return True
        with self._lock:
            return self._window_of(event).take(event, rule)

    def due(self, *, closing: bool = False) -> list[SecurityEvent]:
        """The folded events of windows that have ended, or of all windows when closing."""
        if not self.windows:
            return []
        now, ended = self._clock.monotonic(), []
        with self._lock:
            while self.windows:
                key, window = next(iter(self.windows.items()))
                if not closing and now - window.since < WINDOW_SECONDS:
                    break
                del self.windows[key]
                self._release_site(key)
                if window.count:
                    ended.append(window.folded())
        return ended

    def _window_of(self, event: SecurityEvent) -> _FoldWindow:
        key = (event.kind, _source_of(event))
        window = self.windows.get(key)
        if window is not None:
            return window
        site = _site_of(key[1])
        if len(self.windows) >= self._sources:
            key = (event.kind, ALL_SOURCES)
        elif site is not None:
            if self._sites[event.kind, site] >= MAX_SITE_NETWORKS:
                key = (event.kind, site)
            else:
                self._sites[event.kind, site] += 1
        window = self.windows.get(key)
        if window is None:
            window = self.windows[key] = _FoldWindow(key[1], self._clock.monotonic())
        return window

    def _release_site(self, key: _Key) -> None:
        site = _site_of(key[1])
        if site is not None:
            self._sites[key[0], site] -= 1
            if self._sites[key[0], site] <= 0:
                del self._sites[key[0], site]


class _FoldWindow:
    """The events of one kind and source in one window."""

    __slots__ = ("_codes", "_differing", "_first_at", "_kept", "_last", "_request_ids", "_source", "count", "since")

    def __init__(self, source: str, since: float) -> None:
        self._source = source
        self.since = since
        self.count = 0
        self._kept: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._request_ids: deque[str] = deque(maxlen=_MAX_REQUEST_IDS)
        self._first_at: datetime | None = None
        self._last: SecurityEvent | None = None
        self._differing: set[str] = set()

    def take(self, event: SecurityEvent, rule: FoldRule) -> bool:
        """Whether the event is kept individually. Otherwise it is counted here."""
        code = str(event.data.get(rule.code))[:_MAX_CODE_LENGTH]
        if code not in self._kept and len(self._kept) >= _MAX_CODES:
            code = _OTHER
        if self._kept[code] < rule.keep_first:
            self._kept[code] += 1
            return True
        self.count += 1
        self._codes[code] += 1
        self._first_at = self._first_at or event.timestamp
        if self._last is not None:
            self._differing |= {
                name for name in ("account_id", "ip_address") if getattr(self._last, name) != getattr(event, name)
            }
        self._last = event
        if event.request_id is not None:
            self._request_ids.append(event.request_id)
        return False

    def folded(self) -> SecurityEvent:
        """One event for all counted events. Fields that differ among them are omitted."""
        last = self._last
        assert last is not None and self._first_at is not None  # noqa: S101 - called only after something was counted
        identity = {"manufacturer_id": last.manufacturer_id} if self._source != ALL_SOURCES else {}
        for name in ("account_id", "ip_address"):
            if name not in self._differing and self._source != ALL_SOURCES:
                identity[name] = getattr(last, name)
        return new_event(
            last.kind,
            severity=last.severity,
            timestamp=last.timestamp,
            **identity,
            source=self._source,
            count=self.count,
            first_at=self._first_at.isoformat(),
            last_at=last.timestamp.isoformat(),
            codes=[{"code": code, "count": count} for code, count in self._codes.most_common()],
            request_ids=list(self._request_ids),
        )


def _source_of(event: SecurityEvent) -> str:
    """The source of an event: its account or manufacturer if it has one, otherwise the network."""
    if event.manufacturer_id is not None:
        return f"{event.manufacturer_id}/{event.account_id or ''}"
    if event.account_id is not None:
        return event.account_id
    return (network_of(event.ip_address) if event.ip_address else None) or "unknown"


def _site_of(source: str) -> str | None:
    """The /48 of a source that is an IPv6 network. None for other sources."""
    if not source.endswith("::/64"):
        return None
    try:
        return str(ipaddress.IPv6Network(source).supernet(new_prefix=48))
    except ValueError:
        return None
