"""Enforcement: how findings are handled by route, threat type and exclusion.

The rule of the route in code says it first; an entry of the policy for that route overrides it, so that an operator
needs no new release. A finding in an excluded field is recorded like one in shadow mode and never acted on.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, get_args

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.events import EventSink, Severity, event
from gatewright.inspection_policy import (
    EVERY_THREAT,
    Exclusion,
    InspectionPolicy,
    RouteInspection,
    Step,
    ThreatName,
    method_and_path,
    steps_of,
)
from gatewright.policy import Policy
from gatewright.threats import Inspection, ThreatDetectionResult
from gatewright.threats.walk import Walk
from gatewright.web.paths import MAX_CACHED_PATH, method_of, path_pattern, route_path, rule_covers
from gatewright.web.rules import RouteRule, Scope

KNOWN_PATHS = 4_096
"""Paths whose treatment is remembered."""

THREATS: frozenset[str] = frozenset(get_args(ThreatName))

_EACH_KEY = r"(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}|\[(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\])"
_EACH_ITEM = r"\[[0-9]+\]"


class Excluded(NamedTuple):
    """An exclusion compiled: ``pattern`` fits the paths of findings in the field and below it."""

    exclusion: Exclusion
    threats: frozenset[str]
    steps: list[Step]
    pattern: re.Pattern[str]


class Treatment(NamedTuple):
    """What is done about findings at one route until ``ends_at``, seconds since 1970."""

    mode: str
    by_type: Mapping[str, str] = {}
    excluded: tuple[Excluded, ...] = ()
    ends_at: float = math.inf

    @property
    def looks(self) -> bool:
        """Whether there is anything to look for."""
        return self.mode != "off" or any(mode != "off" for mode in self.by_type.values())

    @property
    def blocks(self) -> bool:
        """Whether a finding of any type is refused: then so is what is too large to be seen whole."""
        return self.mode == "block" or "block" in self.by_type.values()

    def of(self, finding: ThreatDetectionResult) -> tuple[str, Exclusion | None]:
        """The mode for a finding, and the exclusion that holds back a block."""
        mode = self.by_type.get(finding.threat_type, self.mode)
        for one in self.excluded if mode != "off" else ():
            if finding.threat_type in one.threats and one.pattern.fullmatch(finding.path):
                return "shadow", one.exclusion
        return mode, None

    def refuses(self, found: Inspection) -> bool:
        """Whether a request is refused for what was found in it."""
        return self.blocks and (found.truncated or any(self.of(finding)[0] == "block" for finding in found.findings))

    def shares(self, value: Mapping[str, Any]) -> Iterator[tuple[Any, frozenset[str]]]:
        """The value in pieces, each with the threat types that are refused in it; see :meth:`Inspector.inspect`.

        Where exclusions overlap, a field belongs to the first one that names it.
        """
        refused = frozenset(kind for kind in THREATS if self.by_type.get(kind, self.mode) == "block")
        rest = dict(value)
        for one in self.excluded:
            part = one.exclusion.part
            if part in rest:
                taken: list[Any] = []
                rest[part] = take_out(rest[part], one.steps, taken)
                if taken:
                    yield taken, refused - one.threats
        yield rest, refused


class HasPolicy(Protocol):
    """Something with the policy in force."""

    @property
    def policy(self) -> Policy: ...


class Enforcement:
    """Finds the treatment of a request.

    Args:
        mode: the mode of routes that set none, or None for the one in the policy.
        holder: has the policy in force; a new one is noticed at the next request.
        clock: ends exclusions.
        sink: receives an event when an exclusion expires.
        declared: exclusions that are in code are added here when their route is first used.
    """

    def __init__(
        self,
        mode: str | None,
        holder: HasPolicy,
        clock: Clock,
        sink: EventSink,
        declared: list[Exclusion],
    ) -> None:
        self._mode = mode
        self._holder = holder
        self._clock = clock
        self._sink = sink
        self._declared = declared
        self._plain = {name: Treatment(name) for name in ("off", "shadow", "block")}
        self._reported: set[str] = set()
        self._read(holder.policy.inspection)

    def _read(self, inspection: InspectionPolicy) -> None:
        self._read_from = inspection
        self._routes = [(_fits(entry.route), entry) for entry in inspection.routes]
        self._exclusions = [(_fits(one.route), one) for one in inspection.exclusions]
        self._known: OrderedDict[tuple[str, str], tuple[RouteRule, str, Treatment]] = OrderedDict()

    def of(self, rule: RouteRule, scope: Scope) -> Treatment:
        """The mode and exclusions for a request under the rule of its route."""
        policy = self._holder.policy
        if policy.inspection is not self._read_from:
            self._read(policy.inspection)
        mode = rule.inspection or self._mode or policy.detection.mode
        if not (self._routes or self._exclusions or rule.threats or rule.exclusions):
            return self._plain[mode]
        key = (method_of(scope), route_path(scope))
        known = self._known.get(key)
        if known is not None and known[0] is rule and known[1] == mode and self._clock.timestamp() <= known[2].ends_at:
            return known[2]
        treatment = self._make(rule, mode, *key)
        if len(key[1]) > MAX_CACHED_PATH:
            return treatment
        self._known[key] = (rule, mode, treatment)
        if len(self._known) > KNOWN_PATHS:
            self._known.popitem(last=False)
        return treatment

    def _make(self, rule: RouteRule, mode: str, method: str, path: str) -> Treatment:
        route = next((entry for fits, entry in self._routes if fits(method, path)), RouteInspection(route=path))
        for one in rule.exclusions:
            if one not in self._declared:
                self._declared.append(one)
        given = [*rule.exclusions, *(one for fits, one in self._exclusions if fits(method, path))]
        now = self._clock.timestamp()
        holding = [one for one in given if one.ends_at >= now]
        for one in given:
            if one.ends_at < now:
                self._emit(one)
        by_type = dict(rule.threats)
        for kind, other in route.threats.items():
            by_type[kind] = other
        return Treatment(
            mode=route.mode or mode,
            by_type=by_type,
            excluded=tuple(_ready(one) for one in holding),
            ends_at=min((one.ends_at for one in holding), default=math.inf),
        )

    def _emit(self, ended: Exclusion) -> None:
        line = ended.described()
        if line not in self._reported:
            self._reported.add(line)
            self._sink.emit(event(event_kinds.THREATS_EXCLUSION_EXPIRED, severity=Severity.WARNING, exclusion=line))


def _fits(route: str) -> Callable[[str, str], bool]:
    method, path = method_and_path(route)
    pattern = path_pattern(path)
    return lambda used, at: rule_covers(method, used) and pattern.fullmatch(at) is not None


def _ready(exclusion: Exclusion) -> Excluded:
    steps = steps_of(exclusion.field) or []
    threats = THREATS if exclusion.threats == EVERY_THREAT else frozenset(exclusion.threats)
    path = re.escape(f"$.{exclusion.part}") + "".join(map(_path_of, steps))
    return Excluded(exclusion, threats, steps, re.compile(rf"{path}(?:[.\[].*)?", re.DOTALL))


def _path_of(step: Step) -> str:
    """The expression for a step, in the words of the detector's own paths."""
    if step.which is None:
        return _EACH_KEY if step.kind == "key" else _EACH_ITEM
    if step.kind == "item":
        return rf"\[{step.which}\]"
    return re.escape(next(text.path for text in Walk({step.which: "x"}) if not text.is_key).removeprefix("$"))


def take_out(value: Any, steps: Sequence[Step], taken: list[Any]) -> Any:
    """``value`` without what is at ``steps``, which goes to ``taken``; copied only along the way."""
    if not steps:
        taken.append(value)
        return None
    (kind, which), deeper = steps[0], steps[1:]
    if kind == "key" and isinstance(value, dict):
        names = list(value) if which is None else [which] if which in value else []
        return {**value, **{name: take_out(value[name], deeper, taken) for name in names}} if names else value
    if kind == "item" and isinstance(value, list):
        wanted = range(len(value)) if which is None else [which] if int(which) < len(value) else []
        changed = {int(number): take_out(value[int(number)], deeper, taken) for number in wanted}
        return [changed.get(number, item) for number, item in enumerate(value)] if changed else value
    return value
