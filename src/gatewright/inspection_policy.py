"""Inspection policy: what is inspected, and how findings are handled.

Modes are set by route and by threat type. An exclusion exempts one field of a route. It has a reason, an author and
an end date, after which it no longer applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple

from gatewright.records import Record

Mode = Literal["off", "shadow", "block"]
ThreatName = Literal[
    "sql_injection",
    "nosql_injection",
    "xss",
    "script_injection",
    "command_injection",
    "path_traversal",
    "ldap_injection",
    "xml_injection",
    "template_injection",
    "ssrf",
    "jndi_injection",
    "header_injection",
    "prototype_pollution",
    "code_injection",
]
Part = Literal["body", "query", "headers", "path"]
"""The part of a request that contains a field."""

EVERY_THREAT = "all"
EXPIRES_SOON = timedelta(days=14)
"""How long before its end an exclusion is reported as expiring."""

Fault = tuple[tuple[str, ...], str, str]
"""The path of an invalid key below the record, the rule, and the fix."""

_ROUTE = re.compile(r"(?:([A-Z]{1,20}) )?(/[!-~]{0,500})")
_STEP = re.compile(r"\.(?:(\*)|([^.\[\]'\"*\s]{1,64}))|\[(?:(\*)|([0-9]{1,6})|'([^'\\]{1,64})')\]")
_LONGEST_FIELD = 400


class WatchPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the detector reports on itself.

    ``drift`` is a population stability index: 0.1 is a slight change, 0.25 a different kind of traffic.
    ``false_share`` is the share of findings of one rule or threat type that were marked as false positives, once
    there are ``false_findings`` of them.
    """

    drift: float = 0.25
    false_share: float = 0.2
    false_findings: int = 5


class DetectionPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Detection ``level``, 1 to 4, and the default ``mode`` where the settings have none."""

    level: int = 1
    mode: Mode = "block"
    watch: WatchPolicy = WatchPolicy()


class Exclusion(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Findings of some threat types in one field, and below it, are recorded but not blocked.

    ``route`` is a path pattern with an optional method, ``POST /products/{id}``; empty for an exclusion that is
    declared at its route in code. ``field`` is a path from the root ``$`` of the ``part``: ``$.description``,
    ``$.products[*].html`` (each item), ``$.texts.*`` (each name), ``$['odd.name']``. ``threats`` are threat types,
    or ``all``. ``until`` is the last day, in UTC.
    """

    field: str
    threats: Literal["all"] | tuple[ThreatName, ...]
    reason: str
    author: str
    until: date
    route: str = ""
    part: Part = "body"

    @property
    def ends_at(self) -> float:
        """When the exclusion ends, in seconds since the epoch."""
        return datetime.combine(self.until, time.max, UTC).timestamp()

    def described(self) -> str:
        """A one-line summary: location, threats, author, end date and reason."""
        threats = self.threats if isinstance(self.threats, str) else ", ".join(self.threats)
        where = f"{self.route or 'a route in code'} {self.part} {self.field}"
        return f"{where} ({threats}), by {self.author} until {self.until.isoformat()}: {self.reason}"[:400]


class RouteInspection(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How findings at a route are handled: all of them, and those of some threat types."""

    route: str
    mode: Mode | None = None
    threats: dict[ThreatName, Mode] = {}


class InspectionPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Routes with their own modes (the first match applies), and exclusions (all of them apply)."""

    routes: tuple[RouteInspection, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    def faults(self) -> Iterator[Fault]:
        """Faults that the schema cannot catch."""
        for number, entry in enumerate(self.routes):
            at = ("routes", str(number))
            yield from _route_faults((*at, "route"), entry.route)
            if entry.mode is None and not entry.threats:
                yield (*at, "mode"), "has no effect", "set mode or threats"
        for number, exclusion in enumerate(self.exclusions):
            at = ("exclusions", str(number))
            yield from _route_faults((*at, "route"), exclusion.route)
            yield from (((*at, *key), rule, remedy) for key, rule, remedy in exclusion_faults(exclusion))


class Step(NamedTuple):
    """A step into a value: a ``key`` of a mapping or an ``item`` of a list. ``which`` is None for all of them."""

    kind: Literal["key", "item"]
    which: str | int | None


def steps_of(field: str) -> list[Step] | None:
    """Parse the path of a field. Returns None for an invalid path."""
    if not field.startswith("$") or len(field) > _LONGEST_FIELD:
        return None
    steps, place = [], 1
    while place < len(field):
        found = _STEP.match(field, place)
        if found is None:
            return None
        each_key, plain, each_item, item, quoted = found.groups()
        if each_key or each_item:
            steps.append(Step("key" if each_key else "item", None))
        else:
            steps.append(Step("item", int(item)) if item else Step("key", plain or quoted))
        place = found.end()
    return steps


def exclusion_faults(exclusion: Exclusion) -> Iterator[Fault]:
    """Faults of an exclusion that the schema cannot catch, except those of its route."""
    if steps_of(exclusion.field) is None:
        yield (("field",), "must be a path such as $.description or $.products[*].html", "start with $, the root")
    if not exclusion.threats:
        yield ("threats",), "is empty", f'list threat types, or write "{EVERY_THREAT}"'
    for name, text in (("reason", exclusion.reason), ("author", exclusion.author)):
        if not text.strip() or len(text) > 300:
            yield (name,), "must be 1 to 300 characters", "state the reason and who is responsible"


def _route_faults(key: tuple[str, ...], route: str) -> Iterator[Fault]:
    if _ROUTE.fullmatch(route) is None:
        yield key, "must be a path pattern with an optional method", 'write "POST /products/{id}" or "/products/*"'
    elif route.count("*") - route.endswith("*") > 1:
        yield key, "may contain one * at the end and one before it", "use {name} for a single segment"


def method_and_path(route: str) -> tuple[str, str]:
    """Split ``POST /products`` into method and path. The method defaults to ``*``."""
    method, _, path = route.rpartition(" ")
    return method or "*", path


def expired(exclusions: Iterable[Exclusion], now: datetime) -> list[Exclusion]:
    """The exclusions that have ended."""
    return [one for one in exclusions if one.ends_at < now.timestamp()]


def expiring(exclusions: Iterable[Exclusion], now: datetime) -> list[Exclusion]:
    """The exclusions that end soon."""
    soon = (now + EXPIRES_SOON).timestamp()
    return [one for one in exclusions if now.timestamp() <= one.ends_at < soon]
