"""Controls: the measures in force, which domains read on every request.

Monitoring decides on a measure (``posture``), keeps it in the store and applies it here; the domains only
read. A read costs an attribute look-up or two while nothing is in force, never waits, and may come from any
thread: each change builds a new index and swaps it in.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from gatewright.clock import Clock, SystemClock, to_utc
from gatewright.errors import FieldError, ValidationError
from gatewright.records import Record

EVERYWHERE = "*"
"""The scope of a measure that holds for everyone, and the target that means every limit or route."""

HIGHEST_LEVEL = 4
LOOPBACK: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


class MeasureKind(StrEnum):
    """What a measure does."""

    REQUIRE_MFA = "require_mfa"
    TIGHTEN_LIMIT = "tighten_limit"
    DETECTION_LEVEL = "detection_level"
    BLOCK = "block"


class Measure(Record, frozen=True, kw_only=True):
    """One measure in force.

    ``scope`` is ``*``, ``manufacturer:<id>`` or ``network:<CIDR>`` (blocks only). ``target`` narrows it: the
    name of a limit for ``tighten_limit``, a route for ``detection_level``; ``*`` is all of them. ``value`` is
    the factor for a limit (above 0, at most 1), the level (1 to 4) for detection, and 1 otherwise. ``until``
    is when it ends by itself; None: when it is removed. ``evidence`` holds the ids of the events behind it.
    """

    measure_id: str
    kind: str
    scope: str = EVERYWHERE
    target: str = EVERYWHERE
    value: float = 1.0
    reason: str = ""
    until: datetime | None = None
    created_at: datetime
    created_by: str = "operator"
    evidence: tuple[str, ...] = ()


class Controls:
    """The measures in force, and the questions that domains ask of them.

    Args:
        clock: tells when a measure has ended.
        default_level: the detection level where no measure raises it, 1 to 4.
        protected: networks that no measure blocks; addresses or CIDR.
    """

    def __init__(self, *, clock: Clock | None = None, default_level: int = 1, protected: Iterable[str] = ()) -> None:
        self._clock = clock or SystemClock()
        self._protected = [ipaddress.ip_network(text.strip(), strict=False) for text in protected]
        self.default_level = default_level
        self._lock = threading.Lock()
        self._measures: dict[str, Measure] = {}
        self._index = _Index(())

    # --- what domains ask ---------------------------------------------------------------------------------------

    def mfa_required(self, manufacturer_id: str | None = None) -> bool:
        """Whether sign-in of this manufacturer must take a second factor."""
        index = self._current()
        return index.mfa_everywhere or manufacturer_id in index.mfa

    def limit_factor(self, name: str, manufacturer_id: str | None = None, *, exact: bool = False) -> float:
        """The factor for the limit ``name``: above 0, at most 1 (no measure).

        Args:
            exact: leave out measures on all limits, which are meant for rates: a quota that was paid for is
                tightened by its own name only.
        """
        index = self._index
        limits = (index if index.ends_at == math.inf else self._current()).limits
        if not limits:
            return 1.0
        scopes = (EVERYWHERE,) if manufacturer_id is None else (EVERYWHERE, manufacturer_id)
        targets = (name,) if exact else (EVERYWHERE, name)
        return min(limits.get((scope, target), 1.0) for scope in scopes for target in targets)

    def detection_level(self, manufacturer_id: str | None = None, route: str | None = None) -> int:
        """The level of inspection, 1 to 4: the highest of the default and what is in force for these."""
        index = self._index
        levels = (index if index.ends_at == math.inf else self._current()).levels
        if not levels:
            return self.default_level
        scopes = (EVERYWHERE,) if manufacturer_id is None else (EVERYWHERE, manufacturer_id)
        targets = (EVERYWHERE,) if route is None else (EVERYWHERE, route)
        return max(self.default_level, *(levels.get((s, t), 0) for s in scopes for t in targets))

    def is_blocked(self, ip_address: str | None = None, *, manufacturer_id: str | None = None) -> bool:
        """Whether requests from this address or of this manufacturer are refused now."""
        return self.blocked_by(ip_address, manufacturer_id=manufacturer_id) is not None

    def blocked_by(self, ip_address: str | None = None, *, manufacturer_id: str | None = None) -> Measure | None:
        """The block that refuses them, if any; its ``until`` is what ``Retry-After`` tells."""
        index = self._index if self._index.ends_at == math.inf else self._current()
        if not index.blocks:
            return None
        if manufacturer_id is not None and (found := index.blocked.get(manufacturer_id)) is not None:
            return found
        if ip_address is not None and index.networks:
            found = index.network_block(ip_address)
            return None if found is not None and self.overlaps_protected(ip_address) else found
        return None

    def overlaps_protected(self, network: str) -> bool:
        """Whether a network, or an address, has to do with one that no measure blocks."""
        wanted = ipaddress.ip_network(network.partition("%")[0], strict=False)
        if isinstance(wanted, ipaddress.IPv6Network) and (mapped := wanted.network_address.ipv4_mapped) is not None:
            wanted = ipaddress.ip_network(f"{mapped}/{max(wanted.prefixlen - 96, 0)}", strict=False)
        return any(wanted.version == one.version and wanted.overlaps(one) for one in self._protected)

    def snapshot(self) -> list[Measure]:
        """What is in force now, oldest first."""
        self._current()
        return sorted(self._measures.values(), key=lambda m: (m.created_at, m.measure_id))

    def get(self, measure_id: str) -> Measure | None:
        """The measure of that id, if it is in force."""
        self._current()
        return self._measures.get(measure_id)

    # --- what monitoring does -----------------------------------------------------------------------------------

    def apply(self, measure: Measure) -> None:
        """Put a measure in force, replacing the one of the same id.

        Raises:
            ValidationError: kind, scope or value break the rules of :class:`Measure`.
        """
        check_measure(measure)
        with self._lock:
            self._swap({**self._measures, measure.measure_id: measure})

    def remove(self, measure_id: str) -> Measure | None:
        """Lift a measure; returns what was lifted, None when it was not in force."""
        with self._lock:
            removed = self._measures.get(measure_id)
            self._swap({key: m for key, m in self._measures.items() if key != measure_id})
        return removed

    def replace(self, measures: Iterable[Measure]) -> None:
        """Make exactly these the measures in force, as read from the store."""
        wanted = {measure.measure_id: measure for measure in measures}
        for measure in wanted.values():
            check_measure(measure)
        with self._lock:
            self._swap(wanted)

    # ------------------------------------------------------------------------------------------------------------

    def _current(self) -> _Index:
        index = self._index
        if index.ends_at != math.inf and self._clock.timestamp() >= index.ends_at:
            with self._lock:
                self._swap(self._measures)
            index = self._index
        return index

    def _swap(self, measures: dict[str, Measure]) -> None:
        now = self._clock.timestamp()
        self._measures = {k: m for k, m in measures.items() if m.until is None or m.until.timestamp() > now}
        self._index = _Index(self._measures.values())


class _Index:
    """Measures laid out for look-up; never changed once it is made."""

    __slots__ = ("blocked", "blocks", "ends_at", "levels", "limits", "mfa", "mfa_everywhere", "networks")

    def __init__(self, measures: Iterable[Measure]) -> None:
        self.mfa: set[str | None] = set()
        self.mfa_everywhere = False
        self.limits: dict[tuple[str, str], float] = {}
        self.levels: dict[tuple[str, str], int] = {}
        self.blocked: dict[str, Measure] = {}
        self.networks: dict[tuple[int, int], dict[int, Measure]] = {}
        self.ends_at = math.inf
        for measure in measures:
            self._add(measure)
        self.blocks = bool(self.blocked or self.networks)

    def _add(self, measure: Measure) -> None:
        if measure.until is not None:
            self.ends_at = min(self.ends_at, measure.until.timestamp())
        where, _, name = measure.scope.partition(":")
        who = EVERYWHERE if where == EVERYWHERE else name
        key = (who, measure.target)
        if measure.kind == MeasureKind.REQUIRE_MFA:
            self.mfa.add(who)
            self.mfa_everywhere = self.mfa_everywhere or who == EVERYWHERE
        elif measure.kind == MeasureKind.TIGHTEN_LIMIT:
            self.limits[key] = min(measure.value, self.limits.get(key, 1.0))
        elif measure.kind == MeasureKind.DETECTION_LEVEL:
            self.levels[key] = max(int(measure.value), self.levels.get(key, 0))
        elif where == "manufacturer":
            self.blocked[name] = measure
        else:
            network = ipaddress.ip_network(name)
            same_size = self.networks.setdefault((network.version, network.prefixlen), {})
            same_size[int(network.network_address)] = measure

    def network_block(self, ip_address: str) -> Measure | None:
        try:
            address = ipaddress.ip_address(ip_address)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number, width = int(address), address.max_prefixlen
        for (version, prefix), networks in self.networks.items():
            if version == address.version:
                shift = width - prefix
                found = networks.get(number >> shift << shift)
                if found is not None:
                    return found
        return None


def check_measure(measure: Measure) -> None:
    """Raise ValidationError if a measure is invalid."""
    where, separator, name = measure.scope.partition(":")
    fault: tuple[str, str] | None = None
    if measure.kind not in set(MeasureKind):
        fault = ("kind", f"must be one of {', '.join(MeasureKind)}")
    elif measure.kind == MeasureKind.BLOCK:
        if where == "network":
            try:
                if ipaddress.ip_network(name).prefixlen == 0:
                    fault = ("scope", "must not block the whole Internet")
            except ValueError:
                fault = ("scope", "must be network:<CIDR> without host bits")
        elif where != "manufacturer" or not name:
            fault = ("scope", "must be network:<CIDR> or manufacturer:<id>")
    elif measure.scope != EVERYWHERE and (where != "manufacturer" or not separator or not name):
        fault = ("scope", "must be * or manufacturer:<id>")
    if fault is None and measure.kind == MeasureKind.TIGHTEN_LIMIT and not 0 < measure.value <= 1:
        fault = ("value", "must be above 0 and at most 1")
    if fault is None and measure.kind == MeasureKind.DETECTION_LEVEL and measure.value not in range(1, 5):
        fault = ("value", f"must be a level from 1 to {HIGHEST_LEVEL}")
    if fault is None and measure.until is not None and (measure.until.tzinfo is None or to_utc(measure.until) is None):
        fault = ("until", "must have a time zone and fall between the years 1 and 9999 in UTC")
    if fault is not None:
        error = FieldError(field=fault[0], error_type="INVALID_MEASURE", message=f"{fault[0]} {fault[1]}.")
        raise ValidationError(f"This measure cannot be applied: {error.message}", errors=[error])


def network_of(ip_address: str) -> str | None:
    """The network that counts as one source: /24 of IPv4, /64 of IPv6; None for what is no address."""
    networks = networks_of(ip_address)
    return networks[0] if networks else None


def networks_of(ip_address: str) -> tuple[str, ...]:
    """The networks that limits are counted for, narrowest first; empty for what is not an address.

    The /24 of an IPv4 address (mapped ones too); the /64 and the /48 of an IPv6 address, since a client that is
    assigned a /48 has 65,536 networks of /64 to change between.
    """
    try:
        address = ipaddress.ip_address(ip_address)
    except ValueError:
        return ()
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefixes = (24,) if address.version == 4 else (64, 48)
    return tuple(str(ipaddress.ip_network(f"{address}/{prefix}", strict=False)) for prefix in prefixes)
