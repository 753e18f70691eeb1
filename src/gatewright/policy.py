"""The policy: tiers, roles, permissions, limits, throttles and budgets, loaded from TOML and validated.

An invalid policy is one error that names the file, line, key, value, rule and fix. A policy is immutable: it is
replaced as a whole.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from gatewright.access import EVERYTHING, PLATFORM_ACCESS, TENANT_ACCESS
from gatewright.errors import ConfigurationError
from gatewright.inspection_policy import DetectionPolicy, Exclusion, InspectionPolicy, Mode, RouteInspection
from gatewright.policy_source import PolicySource
from gatewright.records import Record

UNLIMITED = -1


class Limit(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit`` units (-1: unlimited) per ``window``. ``hours`` is required for ``rolling``, and only there."""

    limit: int
    window: Literal["day", "month", "rolling"] = "month"
    hours: float | None = None


class Tier(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier as written. :meth:`Policy.permissions_of_tier` resolves what it inherits."""

    inherits: str | None = None
    permissions: tuple[str, ...] = ()
    limits: dict[str, Limit] = {}
    requests_per_minute: int = 600


class Role(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of permissions for a member of a manufacturer or, with ``platform``, for platform staff.

    Permissions come from the policy, up to those of the tier, and from :mod:`gatewright.access`. ``*`` means all.
    """

    permissions: tuple[str, ...] = ()
    platform: bool = False


class ActionRate(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit`` times per ``period``, in seconds."""

    limit: int
    period: float


class ThrottlePolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sign-in limits by account, network, device and overall, and lockout. Times are in seconds.

    A failure counts as ``failure_cost`` attempts of its network. After ``free_failures``, each failure doubles the
    wait of the account, starting at ``first_delay``. After ``lock_after`` failures the account is locked for ``lock``,
    then twice as long each time, up to ``longest_lock``.
    """

    account: ActionRate = ActionRate(limit=300, period=900)
    network: ActionRate = ActionRate(limit=2_000, period=600)
    device: ActionRate = ActionRate(limit=60, period=60)
    everyone: ActionRate = ActionRate(limit=6_000, period=60)
    mail: ActionRate = ActionRate(limit=5, period=3_600)
    failure_cost: int = 40
    free_failures: int = 5
    first_delay: float = 1.0
    lock_after: int = 10
    lock: float = 900.0
    longest_lock: float = 86_400.0


class SessionPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Session lifetimes in seconds, and the risk scores from which a session is noted, needs MFA, or ends."""

    idle: float = 1_209_600
    absolute: float = 7_776_000
    concurrent: int = 20
    note_at: float = 0.3
    require_mfa_at: float = 0.6
    end_at: float = 0.9


class Lease(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker leases up to ``slice`` units for ``seconds``."""

    slice: int = 100
    seconds: float = 30.0


class QuotaPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shares of a limit at which a warning event is emitted, and the resources that may be leased."""

    warn_at: tuple[float, ...] = (0.8, 0.95)
    leases: dict[str, Lease] = {}


class AdjustmentPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an applied suggestion may change, and for how long."""

    highest_tier: str = "professional"
    trial_days: float = 14
    permission_days: float = 30


class Budgets(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time budgets of operations, in seconds."""

    token_generation: float = 0.1
    token_validation: float = 0.05
    mfa_check: float = 0.05
    permission_check: float = 0.005
    usage_check: float = 0.01
    threat_detection: float = 0.01
    encryption: float = 0.1
    middleware: float = 0.005


class RotationPolicy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days after which data keys are rotated. For signing keys, see the settings."""

    data_key_days: float = 365


class Policy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a platform configures without touching code."""

    default_tier: str
    permissions: dict[str, str]
    tiers: dict[str, Tier]
    roles: dict[str, Role] = {}
    actions: dict[str, ActionRate] = {}
    throttles: ThrottlePolicy = ThrottlePolicy()
    detection: DetectionPolicy = DetectionPolicy()
    inspection: InspectionPolicy = InspectionPolicy()
    sessions: SessionPolicy = SessionPolicy()
    quotas: QuotaPolicy = QuotaPolicy()
    adjustments: AdjustmentPolicy = AdjustmentPolicy()
    budgets: Budgets = Budgets()
    rotation: RotationPolicy = RotationPolicy()
    features: dict[str, bool] = {}

    def lineage(self, tier: str) -> list[str]:
        """The tier and those it inherits from, starting with the tier itself."""
        found = [tier]
        while (parent := self.tiers[found[-1]].inherits) is not None:
            found.append(parent)
        return found

    def permissions_of_tier(self, tier: str) -> frozenset[str]:
        """The permissions of a tier, including inherited ones."""
        return frozenset(p for name in self.lineage(tier) for p in self.tiers[name].permissions)

    def limits_of_tier(self, tier: str) -> dict[str, Limit]:
        """The limits of a tier by resource, including inherited ones."""
        found: dict[str, Limit] = {}
        for name in reversed(self.lineage(tier)):
            found.update(self.tiers[name].limits)
        return found

    def tiers_by_rank(self) -> list[str]:
        """The tiers, from the least to the most capable."""
        return sorted(self.tiers, key=lambda t: (len(self.permissions_of_tier(t)), len(self.lineage(t)), t))

    def required_tier(self, permission: str) -> str | None:
        """The lowest tier with a permission, or None."""
        return next((t for t in self.tiers_by_rank() if permission in self.permissions_of_tier(t)), None)


def load_policy(path: str | Path | None = None) -> Policy:
    """Load and validate a policy file, or the default policy.

    Raises:
        ConfigurationError: the policy is invalid. The message names file, line, key, value, rule and fix.
    """
    if path is None:
        return _default()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigurationError(
            f"{path}: cannot read the policy ({reason}). Set GATEWRIGHT_POLICY_FILE to a readable file."
        ) from None
    return parse_policy(text, str(path))


@cache
def _default() -> Policy:
    return parse_policy(resources.files("gatewright").joinpath("policy.toml").read_text("utf-8"), "policy.toml")


def parse_policy(text: str, name: str = "policy.toml") -> Policy:
    """Parse a policy. Errors (ConfigurationError) call the file ``name``."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: invalid TOML: {error}. Correct the line.") from None
    source = PolicySource(name, text, data, _EXAMPLE, _ENTRIES)
    try:
        policy = msgspec.convert(data, Policy)
    except msgspec.ValidationError as error:
        source.refuse_shape(str(error))
    _Checks(policy, source).run()
    return policy


_EXAMPLE = Policy(default_tier="", permissions={}, tiers={})
_ENTRIES: dict[str, Any] = {
    "tiers": Tier(),
    "roles": Role(),
    "limits": Limit(limit=0),
    "leases": Lease(),
    "actions": ActionRate(limit=1, period=1),
    "routes": RouteInspection(route="/"),
    "exclusions": Exclusion(field="$", threats="all", reason="", author="", until=date.max),
    "threats": Mode,
    "permissions": "",
    "features": False,
}
"""A sample entry for each table whose keys the platform chooses."""


class _Checks:
    """Checks beyond the schema: unknown names, cycles, contradicting limits."""

    def __init__(self, policy: Policy, source: PolicySource) -> None:
        self._policy, self._source = policy, source

    def run(self) -> None:
        policy = self._policy
        if policy.default_tier not in policy.tiers:
            self._refuse_unknown(("default_tier",), policy.default_tier, policy.tiers, "tier")
        for name, tier in policy.tiers.items():
            if tier.inherits is not None and tier.inherits not in policy.tiers:
                self._refuse_unknown(("tiers", name, "inherits"), tier.inherits, policy.tiers, "tier")
            self._check_permissions(("tiers", name, "permissions"), tier.permissions)
            if tier.requests_per_minute < 1:
                self._source.refuse(("tiers", name, "requests_per_minute"), "must be at least 1", "raise it")
        for name in policy.tiers:
            self._check_cycle(name)
        for name, tier in policy.tiers.items():
            self._check_limits(name, tier)
        for name in policy.permissions:
            if name in TENANT_ACCESS or name in PLATFORM_ACCESS or name == EVERYTHING:
                self._source.refuse(("permissions", name), "is reserved for Gatewright's own API", "rename yours")
        for name, role in policy.roles.items():
            self._check_role(name, role)
        rates = [(("actions", name), rate) for name, rate in policy.actions.items()]
        rates += [(("throttles", name), r) for name, r in dict(policy.throttles).items() if isinstance(r, ActionRate)]
        for key, rate in rates:
            if rate.limit < 1 or rate.period <= 0:
                self._source.refuse(key, "limit must be at least 1 and period above 0", "raise them")
        self._check_ranges()

    def _check_ranges(self) -> None:
        policy, refuse = self._policy, self._source.refuse
        if not 1 <= policy.detection.level <= 4:
            refuse(("detection", "level"), "must be from 1 to 4", "choose a level")
        watch = policy.detection.watch
        if watch.drift <= 0 or not 0 < watch.false_share <= 1 or watch.false_findings < 1:
            rule = "drift above 0, false_share above 0 and at most 1, false_findings at least 1"
            refuse(("detection", "watch"), rule, "correct it")
        for key, rule, remedy in policy.inspection.faults():
            refuse(("inspection", *key), rule, remedy)
        throttles = policy.throttles
        if not 0 <= throttles.free_failures < throttles.lock_after <= 10:
            refuse(("throttles", "lock_after"), "must be more than free_failures and at most 10", "lower it")
        if not 0 < throttles.lock <= throttles.longest_lock or throttles.first_delay < 0 or throttles.failure_cost < 1:
            refuse(("throttles", "lock"), "0 < lock <= longest_lock, first_delay >= 0, failure_cost >= 1", "correct it")
        sessions = policy.sessions
        if not 0 <= sessions.note_at <= sessions.require_mfa_at <= sessions.end_at:
            refuse(("sessions", "end_at"), "must satisfy note_at <= require_mfa_at <= end_at", "reorder them")
        if sessions.idle <= 0 or sessions.absolute < sessions.idle:
            refuse(("sessions", "absolute"), "must be at least idle, and both above 0", "lengthen it")
        if sessions.concurrent < 1:
            refuse(("sessions", "concurrent"), "must be at least 1", "raise it")
        if any(not 0 < share < 1 for share in policy.quotas.warn_at):
            refuse(("quotas", "warn_at"), "shares must be between 0 and 1", "write 0.8 for 80 %")
        for resource, lease in policy.quotas.leases.items():
            if lease.slice < 1 or lease.seconds <= 0:
                refuse(("quotas", "leases", resource), "slice must be at least 1 and seconds above 0", "raise them")
        if policy.adjustments.highest_tier not in policy.tiers:
            self._refuse_unknown(("adjustments", "highest_tier"), policy.adjustments.highest_tier, policy.tiers, "tier")
        for name in Budgets.__struct_fields__:
            if policy.budgets[name] <= 0:
                refuse(("budgets", name), "must be above 0 seconds", "raise it")

    def _check_limits(self, name: str, tier: Tier) -> None:
        inherited = self._policy.limits_of_tier(tier.inherits) if tier.inherits else {}
        for resource, limit in tier.limits.items():
            key = ("tiers", name, "limits", resource)
            if limit.limit < UNLIMITED:
                self._source.refuse(key, "must be -1 (unlimited), 0 or more", "correct it")
            if (limit.window == "rolling") != (limit.hours is not None and limit.hours > 0):
                self._source.refuse(
                    key, "hours are required for a rolling window, and only there", "add or remove hours"
                )
            parent = inherited.get(resource)
            if parent is not None and _units(limit) < _units(parent):
                rule = f"is below the {parent.limit} inherited from {tier.inherits}"
                self._source.refuse(key, rule, "raise it")

    def _check_cycle(self, name: str) -> None:
        seen = [name]
        while (parent := self._policy.tiers[seen[-1]].inherits) is not None:
            if parent in seen:
                cycle = " -> ".join([*seen, parent])
                self._source.refuse(("tiers", name, "inherits"), f"tiers inherit in a cycle ({cycle})", "break it")
            seen.append(parent)

    def _check_permissions(self, key: tuple[str, ...], names: Iterable[str]) -> None:
        for name in names:
            if name not in self._policy.permissions:
                self._refuse_unknown(key, name, self._policy.permissions, "permission")

    def _check_role(self, name: str, role: Role) -> None:
        access = {**TENANT_ACCESS, **(PLATFORM_ACCESS if role.platform else {})}
        for permission in role.permissions:
            if permission in PLATFORM_ACCESS and not role.platform:
                rule = "is for platform staff and cannot be in a manufacturer's role"
                self._source.refuse(("roles", name, "permissions"), f"{permission} {rule}", "remove it")
            if permission != EVERYTHING and permission not in self._policy.permissions and permission not in access:
                known = (*self._policy.permissions, *access)
                self._refuse_unknown(("roles", name, "permissions"), permission, known, "permission")

    def _refuse_unknown(self, key: tuple[str, ...], name: str, known: Iterable[str], what: str) -> NoReturn:
        close = difflib.get_close_matches(name, list(known), n=1)
        remedy = f"did you mean {close[0]}?" if close else f"define it, or use one of {', '.join(known)}"
        self._source.refuse(key, f"unknown {what} {name!r}", remedy.rstrip("."))


def _units(limit: Limit) -> float:
    return float("inf") if limit.limit == UNLIMITED else limit.limit
