"""Correlation of events into incidents: declarative rules and bounded windows."""

from __future__ import annotations

import asyncio
import fnmatch
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from gatewright import event_kinds
from gatewright.caching import BoundedCache
from gatewright.controls import network_of
from gatewright.events import SecurityEvent, Severity, new_event_id
from gatewright.records import Record
from gatewright.storage.attempts import Rate, Throttle
from gatewright.storage.audit import StoredIncident

MAX_WINDOWS = 10_000
"""The maximum number of windows in memory. The least recently used one is evicted."""
_MAX_KEY_LENGTH = 128
_MAX_EVIDENCE = 10

PLATFORM_KEY = "*"


class CorrelationRule(Record, frozen=True, kw_only=True):
    """``threshold`` events of ``kinds`` (patterns) with the same ``by`` within ``window`` seconds are an incident.

    ``by`` is ``account``, ``manufacturer``, ``network`` (/24 or /64) or ``platform`` (all events together). With
    ``distinct``, different values are counted instead of events: of ``account``, ``network``, or a key of the event's
    data. ``where`` limits keys of the data to certain values. It does not apply to events without the key.
    """

    name: str
    kinds: tuple[str, ...]
    by: str
    threshold: int
    window: float
    severity: str
    summary: str
    distinct: str | None = None
    where: Mapping[str, tuple[str, ...]] = {}


_FAILED_SIGN_IN = (event_kinds.AUTH_LOGIN_FAILED, event_kinds.AUTH_ATTEMPT_REFUSED)
_FAILED_CODE = (event_kinds.AUTH_MFA_FAILED, event_kinds.AUTH_PASSWORD_CHANGE_FAILED)

CORRELATION_RULES = (
    CorrelationRule(
        name="brute_force",
        kinds=(*_FAILED_SIGN_IN, *_FAILED_CODE),
        by="account",
        threshold=10,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in to one account failed repeatedly.",
    ),
    CorrelationRule(
        name="brute_force",
        kinds=(event_kinds.AUTH_ACCOUNT_LOCKED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in to one account failed repeatedly.",
    ),
    CorrelationRule(
        name="credential_stuffing",
        kinds=_FAILED_SIGN_IN,
        by="network",
        distinct="account",
        threshold=10,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in to many accounts failed from one network.",
    ),
    CorrelationRule(
        name="credential_stuffing",
        kinds=(event_kinds.AUTH_STUFFING_DETECTED,),
        by="network",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in to many accounts failed from one network.",
    ),
    CorrelationRule(
        name="distributed_guessing",
        kinds=(event_kinds.AUTH_STUFFING_DETECTED,),
        by="platform",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in to many accounts failed from many networks.",
        where={"pattern": ("many_networks",)},
    ),
    CorrelationRule(
        name="distributed_guessing",
        kinds=_FAILED_SIGN_IN,
        by="platform",
        distinct="account",
        threshold=200,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in to many accounts failed from many networks.",
    ),
    CorrelationRule(
        name="refresh_token_reuse",
        kinds=(event_kinds.AUTH_REFRESH_REUSED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="A refresh token was reused. It may have been stolen.",
    ),
    CorrelationRule(
        name="session_hijack",
        kinds=(event_kinds.AUTH_SESSION_RISKY,),
        where={"action": ("end", "require_mfa")},
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="A session was used from an unrecognized location.",
    ),
    CorrelationRule(
        name="repeated_threats",
        kinds=(event_kinds.THREATS_REQUEST_BLOCKED, event_kinds.THREATS_REQUEST_SEEN),
        by="network",
        threshold=5,
        window=600,
        severity=Severity.HIGH,
        summary="One network sent repeated attacks.",
    ),
    CorrelationRule(
        name="manufacturer_threats",
        kinds=(event_kinds.THREATS_REQUEST_BLOCKED, event_kinds.THREATS_REQUEST_SEEN),
        by="manufacturer",
        threshold=10,
        window=3600,
        severity=Severity.WARNING,
        summary="Requests of one manufacturer contained repeated attacks.",
    ),
    CorrelationRule(
        name="privilege_probing",
        kinds=(event_kinds.RBAC_PERMISSION_DENIED,),
        by="manufacturer",
        threshold=20,
        window=600,
        severity=Severity.WARNING,
        summary="One manufacturer repeatedly attempted actions without permission.",
    ),
    CorrelationRule(
        name="quota_abuse",
        kinds=(
            event_kinds.RBAC_QUOTA_EXCEEDED,
            event_kinds.THREATS_RATE_LIMIT_EXCEEDED,
            event_kinds.WEB_REQUEST_REFUSED,
        ),
        by="manufacturer",
        threshold=50,
        window=600,
        severity=Severity.WARNING,
        summary="One manufacturer repeatedly exceeded its limits.",
        where={"code": ("RATE_LIMIT_EXCEEDED",)},  # rbac reports quotas itself
    ),
    CorrelationRule(
        name="foreign_data",
        kinds=(event_kinds.ENCRYPTION_DATA_REFUSED,),
        by="manufacturer",
        threshold=3,
        window=600,
        severity=Severity.HIGH,
        summary="Encrypted data of another manufacturer was requested repeatedly.",
    ),
    CorrelationRule(
        name="mfa_bypass",
        kinds=(event_kinds.AUTH_MFA_BYPASS_REFUSED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="A sign-in attempted to bypass the second factor.",
    ),
    CorrelationRule(
        name="passkey_cloned",
        kinds=(event_kinds.AUTH_PASSKEY_CLONED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="The counter of a passkey went backwards. It may have been cloned.",
    ),
)


class Correlator:
    """Matches events against rules.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: Iterable[CorrelationRule] = CORRELATION_RULES) -> None:
        self._rules = tuple(rules)
        self._windows: BoundedCache[tuple[int, str], _EventWindow] = BoundedCache(MAX_WINDOWS, keep_used=True)
        self._uncounted: dict[tuple[int, str], int] = {}
        self._matching = lru_cache(maxsize=1024)(self._match)

    def take(self, event: SecurityEvent) -> list[StoredIncident]:
        """The incidents that this event completes. Each counts the events since its last report."""
        rules = self._matching(event.kind)
        if not rules:
            return []
        incidents = []
        for number, rule in rules:
            key = _key(rule.by, event)
            if key is None or not _applies(rule, event):
                continue
            incident = self._count(number, rule, key, event)
            if incident is not None:
                incidents.append(incident)
        return incidents

    async def take_shared(self, throttle: Throttle) -> list[StoredIncident]:
        """The incidents that events since the last call complete together with events in other processes.

        They are counted in ``throttle``, with one operation for each rule and key.

        Raises:
            StorageError: the throttle is unavailable. These events are counted in this process only.
        """
        uncounted, self._uncounted = self._uncounted, {}
        counted = {
            (number, key): throttle.throttle(_shared_key(self._rules[number], key), _rate(self._rules[number]), cost=n)
            for (number, key), n in uncounted.items()
        }
        results = await asyncio.gather(*counted.values())
        completed = [window for window, result in zip(counted, results, strict=True) if not result.allowed]
        incidents = [self._fire(*window) for window in completed if self._windows.get(window)]
        await asyncio.gather(*(throttle.clear_throttle(_shared_key(self._rules[n], key)) for n, key in completed))
        return incidents

    def _match(self, kind: str) -> tuple[tuple[int, CorrelationRule], ...]:
        return tuple(
            (number, rule)
            for number, rule in enumerate(self._rules)
            if any(fnmatch.fnmatchcase(kind, pattern) for pattern in rule.kinds)
        )

    def _count(self, number: int, rule: CorrelationRule, key: str, event: SecurityEvent) -> StoredIncident | None:
        window = self._windows.use((number, key))
        if window is None:
            window = _EventWindow()
            self._windows.put((number, key), window)
        window.add(event, _distinct(rule, event), rule.window)
        if len(window) >= rule.threshold:
            self._uncounted.pop((number, key), None)
            return self._fire(number, key)
        if rule.distinct is None:
            self._uncounted[number, key] = self._uncounted.get((number, key), 0) + 1
        return None

    def _fire(self, number: int, key: str) -> StoredIncident:
        window = self._windows[number, key]
        count = window.count
        return _incident(self._rules[number], key, window.take_all(), count)


class _EventWindow:
    """The newest events of one rule and key, or the newest event of each distinct value.

    At most as many as the rule's threshold, and without their data, which may be large.
    """

    __slots__ = ("_entries", "count")

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, SecurityEvent]] = OrderedDict()
        self.count = 0

    def add(self, event: SecurityEvent, value: str, seconds: float) -> None:
        now = event.timestamp.timestamp()
        self._entries[value] = (now, msgspec.structs.replace(event, data={}))
        self._entries.move_to_end(value)
        self.count += 1
        while next(iter(self._entries.values()))[0] < now - seconds:
            self._entries.popitem(last=False)
            self.count = max(self.count - 1, len(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def take_all(self) -> list[SecurityEvent]:
        events = [event for _, event in self._entries.values()]
        self._entries.clear()
        self.count = 0
        return events


def _incident(rule: CorrelationRule, key: str, events: list[SecurityEvent], count: int) -> StoredIncident:
    first, last = events[0], events[-1]
    manufacturers = {event.manufacturer_id for event in events if event.manufacturer_id is not None}
    accounts = {event.account_id for event in events if event.account_id is not None}
    networks = {network for event in events if event.ip_address and (network := network_of(event.ip_address))}
    addresses = {event.ip_address for event in events if event.ip_address is not None}
    return StoredIncident(
        incident_id=f"inc_{new_event_id()}",
        dedup_key=f"{rule.name}:{rule.by}:{key}",
        kind=rule.name,
        severity=str(rule.severity),
        summary=rule.summary,
        manufacturer_id=manufacturers.pop() if len(manufacturers) == 1 else None,
        account_id=accounts.pop() if len(accounts) == 1 else None,
        source=networks.pop() if len(networks) == 1 else None,
        event_count=count,
        first_seen=first.timestamp,
        last_seen=last.timestamp,
        timeline=tuple(
            {"at": event.timestamp.isoformat(), "note": event.kind, "event_id": event.event_id}
            for event in events[-_MAX_EVIDENCE:]
        ),
        details={"by": rule.by, "key": key, "addresses": sorted(addresses)[:_MAX_EVIDENCE]},
    )


def _shared_key(rule: CorrelationRule, key: str) -> str:
    return f"incident:{rule.name}:{rule.by}:{key}"


def _rate(rule: CorrelationRule) -> Rate:
    """The rate just below the threshold."""
    return Rate(limit=max(1, rule.threshold - 1), period=rule.window)


def _applies(rule: CorrelationRule, event: SecurityEvent) -> bool:
    return not rule.where or all(event.data.get(name, values[0]) in values for name, values in rule.where.items())


def _key(by: str, event: SecurityEvent) -> str | None:
    if by == "platform":
        return PLATFORM_KEY
    if by == "manufacturer":
        return event.manufacturer_id[:_MAX_KEY_LENGTH] if event.manufacturer_id else None
    if by == "network":
        return network_of(event.ip_address) if event.ip_address else None
    return _account(event) or event.manufacturer_id


def _distinct(rule: CorrelationRule, event: SecurityEvent) -> str:
    if rule.distinct is None:
        return event.event_id
    if rule.distinct == "account":
        return _account(event) or event.manufacturer_id or ""
    if rule.distinct == "network":
        return (network_of(event.ip_address) if event.ip_address else None) or ""
    return str(event.data.get(rule.distinct, ""))[:_MAX_KEY_LENGTH]


def _account(event: SecurityEvent) -> str | None:
    """The account of the event or, for unknown accounts, another identifier in its data."""
    if event.account_id is not None:
        return event.account_id[:_MAX_KEY_LENGTH]
    for name in ("account", "account_key", "email_hash", "identifier"):
        value = event.data.get(name)
        if value is not None:
            return str(value)[:_MAX_KEY_LENGTH]
    return None
