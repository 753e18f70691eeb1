"""Correlation of events to incidents, by rules that are data, in bounded windows."""

from __future__ import annotations

import asyncio
import fnmatch
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from gatewright import event_kinds
from gatewright.controls import network_of
from gatewright.events import SecurityEvent, Severity, new_event_id
from gatewright.records import Record
from gatewright.storage.attempts import Rate, Throttle
from gatewright.storage.audit import StoredIncident

WINDOWS = 10_000
"""Windows in memory; the one longest without an event goes first."""
_MOST_OF_KEY = 128
_EVIDENCE = 10

EVERYONE = "*"


class CorrelationRule(Record, frozen=True, kw_only=True):
    """``threshold`` events of ``kinds`` (patterns) with the same ``by`` within ``window`` seconds make an incident.

    ``by`` is ``account``, ``manufacturer``, ``network`` (/24, /64) or ``platform`` (all together). With
    ``distinct``, it is not events that count but different values of it: ``account``, ``network``, or a key of
    the event's data. ``where`` names keys of the data and the values that count, for
    events that have the key.
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

RULES = (
    CorrelationRule(
        name="brute_force",
        kinds=(*_FAILED_SIGN_IN, *_FAILED_CODE),
        by="account",
        threshold=10,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in of one account failed again and again.",
    ),
    CorrelationRule(
        name="brute_force",
        kinds=(event_kinds.AUTH_ACCOUNT_LOCKED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in of one account failed again and again.",
    ),
    CorrelationRule(
        name="credential_stuffing",
        kinds=_FAILED_SIGN_IN,
        by="network",
        distinct="account",
        threshold=10,
        window=600,
        severity=Severity.HIGH,
        summary="One network failed to sign in to many accounts.",
    ),
    CorrelationRule(
        name="credential_stuffing",
        kinds=(event_kinds.AUTH_STUFFING_DETECTED,),
        by="network",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="One network failed to sign in to many accounts.",
    ),
    CorrelationRule(
        name="distributed_guessing",
        kinds=(event_kinds.AUTH_STUFFING_DETECTED,),
        by="platform",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="Sign-in failed for many accounts, from many networks.",
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
        summary="Sign-in failed for many accounts, from many networks.",
    ),
    CorrelationRule(
        name="refresh_token_reuse",
        kinds=(event_kinds.AUTH_REFRESH_REUSED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="A refresh token was used a second time; someone else may hold a copy.",
    ),
    CorrelationRule(
        name="session_hijack",
        kinds=(event_kinds.AUTH_SESSION_RISKY,),
        where={"action": ("end", "require_mfa")},
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="A session was used from a place it is not bound to.",
    ),
    CorrelationRule(
        name="repeated_threats",
        kinds=(event_kinds.THREATS_REQUEST_BLOCKED, event_kinds.THREATS_REQUEST_SEEN),
        by="network",
        threshold=5,
        window=600,
        severity=Severity.HIGH,
        summary="One network sent attack after attack.",
    ),
    CorrelationRule(
        name="manufacturer_threats",
        kinds=(event_kinds.THREATS_REQUEST_BLOCKED, event_kinds.THREATS_REQUEST_SEEN),
        by="manufacturer",
        threshold=10,
        window=3600,
        severity=Severity.WARNING,
        summary="Requests of one manufacturer showed attacks again and again.",
    ),
    CorrelationRule(
        name="privilege_probing",
        kinds=(event_kinds.RBAC_PERMISSION_DENIED,),
        by="manufacturer",
        threshold=20,
        window=600,
        severity=Severity.WARNING,
        summary="One manufacturer tried again and again what it may not do.",
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
        summary="One manufacturer went on far beyond its limits.",
        where={"code": ("RATE_LIMIT_EXCEEDED",)},  # a quota is reported by rbac itself
    ),
    CorrelationRule(
        name="foreign_data",
        kinds=(event_kinds.ENCRYPTION_DATA_REFUSED,),
        by="manufacturer",
        threshold=3,
        window=600,
        severity=Severity.HIGH,
        summary="Encrypted data of another manufacturer was asked for again and again.",
    ),
    CorrelationRule(
        name="mfa_bypass",
        kinds=(event_kinds.AUTH_MFA_BYPASS_REFUSED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="Something tried to sign in past the second factor.",
    ),
    CorrelationRule(
        name="passkey_cloned",
        kinds=(event_kinds.AUTH_PASSKEY_CLONED,),
        by="account",
        threshold=1,
        window=600,
        severity=Severity.HIGH,
        summary="The counter of a passkey went backwards: there may be a copy of it.",
    ),
)


class Correlator:
    """Watches events and says when a rule is met.

    Args:
        rules: see :class:`CorrelationRule`.
    """

    def __init__(self, rules: Iterable[CorrelationRule] = RULES) -> None:
        self._rules = tuple(rules)
        self._windows: OrderedDict[tuple[int, str], _Window] = OrderedDict()
        self._fresh: dict[tuple[int, str], int] = {}
        self._matching = lru_cache(maxsize=1024)(self._match)

    def take(self, event: SecurityEvent) -> list[StoredIncident]:
        """The incidents that this event completes; each counts the events since it was last reported."""
        rules = self._matching(event.kind)
        if not rules:
            return []
        found = []
        for number, rule in rules:
            key = _key(rule.by, event)
            if key is None or not _applies(rule, event):
                continue
            incident = self._count(number, rule, key, event)
            if incident is not None:
                found.append(incident)
        return found

    async def take_together(self, throttle: Throttle) -> list[StoredIncident]:
        """The incidents that the events taken since the last call complete together with those that other
        processes saw. They count in ``throttle``, one operation for each rule and key.

        Raises:
            StorageError: it cannot be asked now; what was to be counted is given up, this process counts on.
        """
        fresh, self._fresh = self._fresh, {}
        counted = {
            (number, key): throttle.throttle(_shared_key(self._rules[number], key), _rate(self._rules[number]), cost=n)
            for (number, key), n in fresh.items()
        }
        results = await asyncio.gather(*counted.values())
        full = [where for where, result in zip(counted, results, strict=True) if not result.allowed]
        found = [self._fire(*where) for where in full if self._windows.get(where)]
        await asyncio.gather(*(throttle.clear_throttle(_shared_key(self._rules[n], key)) for n, key in full))
        return found

    def _match(self, kind: str) -> tuple[tuple[int, CorrelationRule], ...]:
        return tuple(
            (number, rule)
            for number, rule in enumerate(self._rules)
            if any(fnmatch.fnmatchcase(kind, pattern) for pattern in rule.kinds)
        )

    def _count(self, number: int, rule: CorrelationRule, key: str, event: SecurityEvent) -> StoredIncident | None:
        window = self._windows.get((number, key))
        if window is None:
            window = self._windows[number, key] = _Window()
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end((number, key))
        window.add(event, _distinct(rule, event), rule.window)
        if len(window) >= rule.threshold:
            self._fresh.pop((number, key), None)
            return self._fire(number, key)
        if rule.distinct is None:
            self._fresh[number, key] = self._fresh.get((number, key), 0) + 1
        return None

    def _fire(self, number: int, key: str) -> StoredIncident:
        window = self._windows[number, key]
        count = window.seen
        return _incident(self._rules[number], key, window.take_all(), count)


class _Window:
    """The newest events of one rule and key: the latest of each distinct value where these count, else all.
    Never more than the rule's threshold, and without their data, which may be large."""

    __slots__ = ("_entries", "seen")

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, SecurityEvent]] = OrderedDict()
        self.seen = 0

    def add(self, event: SecurityEvent, value: str, seconds: float) -> None:
        now = event.timestamp.timestamp()
        self._entries[value] = (now, msgspec.structs.replace(event, data={}))
        self._entries.move_to_end(value)
        self.seen += 1
        while next(iter(self._entries.values()))[0] < now - seconds:
            self._entries.popitem(last=False)
            self.seen = max(self.seen - 1, len(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def take_all(self) -> list[SecurityEvent]:
        events = [event for _, event in self._entries.values()]
        self._entries.clear()
        self.seen = 0
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
            for event in events[-_EVIDENCE:]
        ),
        details={"by": rule.by, "key": key, "addresses": sorted(addresses)[:_EVIDENCE]},
    )


def _shared_key(rule: CorrelationRule, key: str) -> str:
    return f"incident:{rule.name}:{rule.by}:{key}"


def _rate(rule: CorrelationRule) -> Rate:
    """What stays below the threshold."""
    return Rate(limit=max(1, rule.threshold - 1), period=rule.window)


def _applies(rule: CorrelationRule, event: SecurityEvent) -> bool:
    return not rule.where or all(event.data.get(name, values[0]) in values for name, values in rule.where.items())


def _key(by: str, event: SecurityEvent) -> str | None:
    if by == "platform":
        return EVERYONE
    if by == "manufacturer":
        return event.manufacturer_id[:_MOST_OF_KEY] if event.manufacturer_id else None
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
    return str(event.data.get(rule.distinct, ""))[:_MOST_OF_KEY]


def _account(event: SecurityEvent) -> str | None:
    """The account that the event is about; for an unknown address, whatever handle of it the event carries."""
    if event.account_id is not None:
        return event.account_id[:_MOST_OF_KEY]
    for name in ("account", "account_key", "email_hash", "identifier"):
        value = event.data.get(name)
        if value is not None:
            return str(value)[:_MOST_OF_KEY]
    return None
