"""The part of the policy that says what is inspected, and what is done about what is found.

Modes go by route and by threat type. An exclusion takes one field of a route out of them, for a reason, by
somebody's name, and until a day: after it the exclusion is void.
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
"""Where in a request a field stands."""

EVERY_THREAT = "all"
EXPIRES_SOON = timedelta(days=14)
"""How long before its end an exclusion is named, so that somebody can decide in time."""

Fault = tuple[tuple[str, ...], str, str]
"""Where something is wrong (keys below the record), the rule that it breaks, and what to do."""

_ROUTE = re.compile(r"(?:([A-Z]{1,20}) )?(/[!-~]{0,500})")
_STEP = re.compile(r"\.(?:(\*)|([^.\[\]'\"*\s]{1,64}))|\[(?:(\*)|([0-9]{1,6})|'([^'\\]{1,64})')\]")
_LONGEST_FIELD = 400


class WatchPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the detector's own work is worth an event.

    ``drift`` is a population stability index (0.1 is a little, 0.25 other traffic). ``false_share`` is the share
    of a rule's or threat type's findings that people corrected, from ``false_findings`` corrections on.
    """

    drift: float = 0.25
    false_share: float = 0.2
    false_findings: int = 5


class DetectionPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``level`` 1 to 4; ``mode`` is what is done about a finding where the settings do not say."""

    level: int = 1
    mode: Mode = "block"
    watch: WatchPolicy = WatchPolicy()


class Exclusion(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Findings of some threat types in one field, and in all that lies in it, are recorded and not acted on.

    ``route`` is a path pattern with or without a method, ``POST /products/{id}``; empty where the exclusion stands
    at its route in code. ``field`` is a path from the root ``$`` of the ``part``: ``$.description``,
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
        """The last moment, in seconds since 1970."""
        return datetime.combine(self.until, time.max, UTC).timestamp()

    def described(self) -> str:
        """One line for people: where it holds, for what, by whom and until when."""
        threats = self.threats if isinstance(self.threats, str) else ", ".join(self.threats)
        where = f"{self.route or 'a route in code'} {self.part} {self.field}"
        return f"{where} ({threats}), by {self.author} until {self.until.isoformat()}: {self.reason}"[:400]


class RouteInspection(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done about findings at a route: about all of them, and about those of some threat types."""

    route: str
    mode: Mode | None = None
    threats: dict[ThreatName, Mode] = {}


class InspectionPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Routes that differ from the rest, the first that fits decides; and exclusions, of which each holds."""

    routes: tuple[RouteInspection, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    def faults(self) -> Iterator[Fault]:
        """What is wrong beyond the shape."""
        for number, entry in enumerate(self.routes):
            at = ("routes", str(number))
            yield from _route_faults((*at, "route"), entry.route)
            if entry.mode is None and not entry.threats:
                yield (*at, "mode"), "the entry changes nothing", "give a mode, or modes by threats"
        for number, exclusion in enumerate(self.exclusions):
            at = ("exclusions", str(number))
            yield from _route_faults((*at, "route"), exclusion.route)
            yield from (((*at, *key), rule, remedy) for key, rule, remedy in exclusion_faults(exclusion))


class Step(NamedTuple):
    """One step into a value: to a ``key`` of a mapping or an ``item`` of a list; ``which`` None stands for each."""

    kind: Literal["key", "item"]
    which: str | int | None


def steps_of(field: str) -> list[Step] | None:
    """The steps of a field's path; None where it is none."""
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
    """What is wrong with an exclusion beyond the shape, the route aside."""
    if steps_of(exclusion.field) is None:
        yield (("field",), "must be a path such as $.description or $.products[*].html", "begin with $, the whole part")
    if not exclusion.threats:
        yield ("threats",), "names no threat type", f'name some, or write "{EVERY_THREAT}"'
    for name, text in (("reason", exclusion.reason), ("author", exclusion.author)):
        if not text.strip() or len(text) > 300:
            yield (name,), "must be 1 to 300 characters", "say why, and who answers for it"


def _route_faults(key: tuple[str, ...], route: str) -> Iterator[Fault]:
    if _ROUTE.fullmatch(route) is None:
        yield key, "must be a path pattern, with or without a method", 'write "POST /products/{id}" or "/products/*"'
    elif route.count("*") - route.endswith("*") > 1:
        yield key, "may have one * at its end and one before", "use {name} for one segment; more * take long to match"


def method_and_path(route: str) -> tuple[str, str]:
    """``POST /products`` as method and path; ``*`` where no method is named."""
    method, _, path = route.rpartition(" ")
    return method or "*", path


def expired(exclusions: Iterable[Exclusion], now: datetime) -> list[Exclusion]:
    """Those that are void."""
    return [one for one in exclusions if one.ends_at < now.timestamp()]


def expiring(exclusions: Iterable[Exclusion], now: datetime) -> list[Exclusion]:
    """Those that hold and soon will not."""
    soon = (now + EXPIRES_SOON).timestamp()
    return [one for one in exclusions if now.timestamp() <= one.ends_at < soon]
