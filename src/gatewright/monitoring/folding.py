"""Folding of repeated refusals: one audit event per minute instead of one per request.

The first refusal of a source is kept at once, and so is the first of each further code. The rest of that minute is
counted and kept as one event of the same kind with ``count``, ``first_at``, ``last_at`` and ``codes``. Only the audit
log is folded: correlation, metrics and other sinks get every event.
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
from gatewright.events import SecurityEvent, Severity, event
from gatewright.records import Record

WINDOW = 60.0
"""Seconds that one folded event covers."""
SOURCES = 10_000
"""Sources that are distinguished in one window; further ones are folded together."""
SITE_NETWORKS = 8
"""/64 networks of one IPv6 /48 that are distinguished; further ones count as the /48."""

EVERYWHERE = "*"
_CODES = 8
_OTHER = "other"
_REQUEST_IDS = 5
_MOST_OF_CODE = 64


class FoldRule(Record, frozen=True, kw_only=True):
    """How events of one kind are folded.

    ``code`` is the key of the data that tells them apart. ``whole`` is how many of each code are kept one by one
    before the rest is counted. ``anonymous`` limits the rule to events that name no manufacturer.
    """

    code: str
    whole: int = 1
    anonymous: bool = False


RULES: Mapping[str, FoldRule] = {
    event_kinds.WEB_REQUEST_REFUSED: FoldRule(code="code"),
    event_kinds.WEB_REQUEST_SERVED: FoldRule(
        code="status", anonymous=True
    ),  # an application's 4xx for an unknown caller
    event_kinds.WEB_LIMIT_EXCEEDED: FoldRule(code="limit"),
    event_kinds.AUTH_API_KEY_REFUSED: FoldRule(code="reason"),
    event_kinds.AUTH_ATTEMPT_REFUSED: FoldRule(code="door"),
    event_kinds.AUTH_LOGIN_THROTTLED: FoldRule(code="scope"),
    event_kinds.AUTH_PASSWORD_RESET_REQUESTED: FoldRule(code="mailed", whole=5),
    event_kinds.AUTH_REGISTRATION_REQUESTED: FoldRule(code="known", whole=5),
    event_kinds.RBAC_PERMISSION_DENIED: FoldRule(code="permission"),
    event_kinds.RBAC_QUOTA_EXCEEDED: FoldRule(code="resource"),
    event_kinds.THREATS_RATE_LIMIT_EXCEEDED: FoldRule(code="action"),
    event_kinds.THREATS_REQUEST_BLOCKED: FoldRule(code="truncated", whole=10, anonymous=True),
    event_kinds.THREATS_REQUEST_SEEN: FoldRule(code="truncated", whole=10, anonymous=True),
}
"""Kinds that a caller can bring about at will. Guesses of secrets are not among them: their number is limited."""

_Key = tuple[str, str]


class Folding:
    """Decides which events the audit log keeps one by one.

    Args:
        clock: its monotonic time ends the windows.
        rules: by kind of event.
        sources: how many windows are kept in memory.
    """

    def __init__(self, clock: Clock, rules: Mapping[str, FoldRule] = RULES, *, sources: int = SOURCES) -> None:
        self._clock = clock
        self.rules = rules
        self._sources = sources
        self.windows: OrderedDict[_Key, _Window] = OrderedDict()  # the oldest first
        self._sites: Counter[_Key] = Counter()
        self._lock = threading.Lock()

    def take(self, found: SecurityEvent) -> bool:
        """Whether the log keeps this event by itself; otherwise it is counted. From any thread."""
        rule = self.rules.get(found.kind)
        if rule is None or (rule.anonymous and found.manufacturer_id is not None):
            return True
        if found.severity in (Severity.HIGH, Severity.CRITICAL):
            return True
        with self._lock:
            return self._window_of(found).take(found, rule)

    def due(self, *, closing: bool = False) -> list[SecurityEvent]:
        """The folded events of windows that have ended, or of all when ``closing``."""
        if not self.windows:
            return []
        now, ended = self._clock.monotonic(), []
        with self._lock:
            while self.windows:
                key, window = next(iter(self.windows.items()))
                if not closing and now - window.since < WINDOW:
                    break
                del self.windows[key]
                self._leave_site(key)
                if window.count:
                    ended.append(window.folded())
        return ended

    def _window_of(self, found: SecurityEvent) -> _Window:
        key = (found.kind, _source(found))
        window = self.windows.get(key)
        if window is not None:
            return window
        site = _site(key[1])
        if len(self.windows) >= self._sources:
            key = (found.kind, EVERYWHERE)
        elif site is not None:
            if self._sites[found.kind, site] >= SITE_NETWORKS:
                key = (found.kind, site)
            else:
                self._sites[found.kind, site] += 1
        window = self.windows.get(key)
        if window is None:
            window = self.windows[key] = _Window(key[1], self._clock.monotonic())
        return window

    def _leave_site(self, key: _Key) -> None:
        site = _site(key[1])
        if site is not None:
            self._sites[key[0], site] -= 1
            if self._sites[key[0], site] <= 0:
                del self._sites[key[0], site]


class _Window:
    """One source's events of one kind in one window."""

    __slots__ = ("_codes", "_first_at", "_kept", "_last", "_many", "_request_ids", "_source", "count", "since")

    def __init__(self, source: str, since: float) -> None:
        self._source = source
        self.since = since
        self.count = 0
        self._kept: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._request_ids: deque[str] = deque(maxlen=_REQUEST_IDS)
        self._first_at: datetime | None = None
        self._last: SecurityEvent | None = None
        self._many: set[str] = set()

    def take(self, found: SecurityEvent, rule: FoldRule) -> bool:
        """Whether to keep it by itself; otherwise it is counted here."""
        code = str(found.data.get(rule.code))[:_MOST_OF_CODE]
        if code not in self._kept and len(self._kept) >= _CODES:
            code = _OTHER
        if self._kept[code] < rule.whole:
            self._kept[code] += 1
            return True
        self.count += 1
        self._codes[code] += 1
        self._first_at = self._first_at or found.timestamp
        if self._last is not None:
            self._many |= {
                name for name in ("account_id", "ip_address") if getattr(self._last, name) != getattr(found, name)
            }
        self._last = found
        if found.request_id is not None:
            self._request_ids.append(found.request_id)
        return False

    def folded(self) -> SecurityEvent:
        """One event for all that were counted; what differs among them is left out."""
        last = self._last
        assert last is not None and self._first_at is not None  # noqa: S101 - only called once something was counted
        whose = {"manufacturer_id": last.manufacturer_id} if self._source != EVERYWHERE else {}
        for name in ("account_id", "ip_address"):
            if name not in self._many and self._source != EVERYWHERE:
                whose[name] = getattr(last, name)
        return event(
            last.kind,
            severity=last.severity,
            timestamp=last.timestamp,
            **whose,
            source=self._source,
            count=self.count,
            first_at=self._first_at.isoformat(),
            last_at=last.timestamp.isoformat(),
            codes=[{"code": code, "count": count} for code, count in self._codes.most_common()],
            request_ids=list(self._request_ids),
        )


def _source(found: SecurityEvent) -> str:
    """Who is behind an event: the person or manufacturer where it names one, or else the network."""
    if found.manufacturer_id is not None:
        return f"{found.manufacturer_id}/{found.account_id or ''}"
    if found.account_id is not None:
        return found.account_id
    return (network_of(found.ip_address) if found.ip_address else None) or "unknown"


def _site(source: str) -> str | None:
    """The /48 of a source that is an IPv6 network; None for others."""
    if not source.endswith("::/64"):
        return None
    try:
        return str(ipaddress.IPv6Network(source).supernet(new_prefix=48))
    except ValueError:
        return None
