"""ManufacturerRBACManager: the public face of permissions and quotas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, overload

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls
from gatewright.errors import ConfigurationError, ValidationError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.performance import performance_monitor
from gatewright.policy import Policy, load_policy
from gatewright.rbac.adjustments import Adjustments
from gatewright.rbac.compiled_policy import CompiledPolicy
from gatewright.rbac.entitlements import Caller, EntitlementCache
from gatewright.rbac.insights.analytics import UsageAnalytics
from gatewright.rbac.insights.suggestions import PermissionSuggestion, Suggestions
from gatewright.rbac.insights.tiers import TierSuggestion
from gatewright.rbac.leases import sweep_periodically
from gatewright.rbac.members import Members
from gatewright.rbac.permissions import Explanation, Permissions, explain
from gatewright.rbac.quotas import Quotas
from gatewright.rbac.records import (
    ManufacturerContext,
    PermissionResult,
    UsageLimits,
    UsagePeriod,
    UsageResult,
    tier_name,
)
from gatewright.references import PermissionRef, ResourceRef, TenantRef, TierRef, manufacturer_id_of
from gatewright.storage.changes import ALL
from gatewright.storage.protocol import Store
from gatewright.storage.sqlite.store import SqliteStore
from gatewright.storage.tenants import PermissionViolation, StoredGrant
from gatewright.storage.usage import OverageAttempt, StoredAdjustment


class ManufacturerRBACManager:
    """Permissions and quotas by tier.

    Args:
        policy: a Policy, a path to a ``policy.toml``, or None for the default.
        store: keeps usage and grants; a private one in memory by default.
        sink: where events go.
        controls: measures that tighten limits.
        strict_tenants: refuse manufacturers that the store does not know (in a foundation). Built alone, an
            unknown manufacturer is taken as its context says.
        on_policy: called with every policy that comes into force after the first.
    """

    def __init__(
        self,
        policy: Policy | str | Path | None = None,
        *,
        store: Store | None = None,
        sink: EventSink | None = None,
        controls: Controls | None = None,
        clock: Clock | None = None,
        strict_tenants: bool = False,
        on_policy: Callable[[Policy], None] | None = None,
    ) -> None:
        self._on_policy = on_policy
        self.policy = policy if isinstance(policy, Policy) else load_policy(policy)
        self._policy_file = None if isinstance(policy, Policy) else policy
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._own_store = SqliteStore() if store is None else None
        self.store: Store = store if store is not None else self._own_store  # type: ignore[assignment]  # one of the two
        self._compiled = CompiledPolicy(self.policy)
        adjustments = Adjustments(self.store, self._sink, self._clock)
        self._entitlements = EntitlementCache(
            self.store, self._compiled, self._clock, strict=strict_tenants, end_due=adjustments.end_due
        )
        self._permissions = Permissions(self.store, self._entitlements, self._sink, self._clock)
        controls = controls or Controls(clock=self._clock)
        self._quotas = Quotas(self.store, self._entitlements, self._sink, self._clock, controls)
        self._suggestions = Suggestions(
            self.store, self._entitlements, self._permissions, self._quotas, adjustments, self._clock
        )
        self.members = Members(self.store, self._entitlements, self._sink, self._clock)
        self._sweeping: asyncio.Task[None] | None = None

        self._stop_listening = self.store.changes.subscribe("policy", self._policy_changed)

    async def initialize(self) -> None:
        """Open the manager. Calling twice is harmless."""
        if self._own_store is not None:
            await self._own_store.initialize()
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(
                sweep_periodically(self._quotas.leases, self._entitlements)
            )

    async def close(self) -> None:
        """Return leased units and close. Calling twice is harmless."""
        self._entitlements.close()
        self._stop_listening()
        self._stop_listening = _nothing
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        await self._quotas.leases.close()
        if self._own_store is not None:
            await self._own_store.close()

    async def __aenter__(self) -> ManufacturerRBACManager:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- policy -------------------------------------------------------------------------------------------------

    async def reload_policy(self, policy: Policy | str | Path | None = None) -> Policy:
        """Switch to another policy atomically. An invalid one is rejected and the current one stays.

        Args:
            policy: a Policy or a file; None reads the file again that this manager was made with.

        Raises:
            ConfigurationError: it is bad; the present policy stays in force.
        """
        self._read_policy(policy)
        await self.store.announce("policy", "reloaded")
        return self.policy

    def _read_policy(self, policy: Policy | str | Path | None) -> None:
        try:
            new = policy if isinstance(policy, Policy) else load_policy(policy or self._policy_file)
            compiled = CompiledPolicy(new)
        except ConfigurationError as error:
            self._emit(event_kinds.RBAC_POLICY_REFUSED, Severity.HIGH, error=error.message[:300])
            raise
        self.policy, self._compiled = new, compiled
        self._entitlements.adopt(compiled)
        self._quotas.leases.recall()
        if self._on_policy is not None:
            self._on_policy(new)
        self._emit(event_kinds.RBAC_POLICY_RELOADED, Severity.NOTICE, tiers=list(new.tiers))

    def _policy_changed(self, key: str) -> None:
        """Another process has a new policy: read the file again, if there is one; what was ours is known already."""
        if key == ALL or self._policy_file is None:
            return
        with contextlib.suppress(ConfigurationError):
            if load_policy(self._policy_file) != self.policy:
                self._read_policy(None)

    def _emit(self, kind: str, severity: Severity, **data: Any) -> None:
        self._sink.emit(event(kind, severity=severity, timestamp=self._clock.now(), **data))

    async def resolve(self, context: ManufacturerContext) -> Caller:
        """Resolve the entitlements of a request's caller once, for all checks of the request.

        The result can be passed wherever a manufacturer is expected. A change meanwhile still applies at once.
        """
        return await self._entitlements.resolve(context)

    async def explain(self, manufacturer: TenantRef, subject: PermissionRef | ResourceRef) -> Explanation:
        """Explain why a manufacturer (or the person in a context) may or may not use a permission or resource."""
        return await explain(self._entitlements, self._permissions, self._quotas, manufacturer, subject)

    # --- permissions --------------------------------------------------------------------------------------------

    @performance_monitor(0.005)
    async def has_permission(self, manufacturer: TenantRef, permission: PermissionRef) -> bool:
        """Whether ``manufacturer`` (an id or a context) has a permission. An unknown permission is never granted."""
        # Straight to the memory: one more call would be a tenth of the whole.
        entitlements = self._entitlements
        mask = entitlements.cached_mask(manufacturer)
        if mask is None:
            mask = await entitlements.mask_of(manufacturer)
        return mask & entitlements.compiled.bit(permission) != 0

    async def has_permissions(self, manufacturer: TenantRef, permissions: Iterable[PermissionRef]) -> dict[str, bool]:
        """Check several permissions; returns the results by name."""
        return await self._permissions.has_each(manufacturer, permissions)

    async def check_permission_detailed(self, manufacturer: TenantRef, permission: PermissionRef) -> PermissionResult:
        """Check a permission; the result has the reason and the lowest tier that grants it."""
        return await self._permissions.check(manufacturer, permission)

    async def enforce_permission(
        self, manufacturer: TenantRef, permission: PermissionRef, operation_context: str = ""
    ) -> None:
        """Require a permission; raises InsufficientPermissionsError and records the violation otherwise."""
        await self._permissions.enforce(manufacturer, permission, operation_context)

    async def permissions_of(self, manufacturer: TenantRef) -> list[str]:
        """The policy's permissions that a manufacturer, and the person in its context, has now."""
        return await self._permissions.names(manufacturer)

    async def access_of(self, manufacturer: TenantRef) -> list[str]:
        """The permissions of Gatewright's own calls (``members:manage`` …) that the person in a context has now.

        They come from the stored role of ``account_id`` alone: a context without a person, and whatever roles a
        context names, have none.
        """
        return await self._permissions.access_names(manufacturer)

    async def role_of(self, manufacturer: TenantRef) -> str | None:
        """The stored role of the person in a context; None for a caller that is not a person, or is disabled."""
        account = getattr(manufacturer, "account_id", None)
        entitled = await self._entitlements.of(manufacturer)
        return entitled.roles.get(account) if isinstance(account, str) and entitled.active else None

    async def get_permission_violations(self, manufacturer_id: str, hours: float = 24) -> list[PermissionViolation]:
        """List permission violations of the last hours, newest first."""
        return await self._permissions.violations(manufacturer_id, hours)

    async def grant_permission(
        self,
        manufacturer_id: str,
        permission: PermissionRef,
        *,
        until: datetime | timedelta,
        reason: str,
        author: str | None = None,
    ) -> StoredGrant:
        """Grant a permission until a time or for a duration; raises ValidationError if invalid."""
        return await self._permissions.grant(
            manufacturer_id, permission, until=until, reason=reason, author=author, effect="grant"
        )

    async def restrict_permission(
        self,
        manufacturer_id: str,
        permission: PermissionRef,
        *,
        until: datetime | timedelta | None = None,
        reason: str,
        author: str | None = None,
    ) -> StoredGrant:
        """Restrict a permission, even if the tier grants it."""
        return await self._permissions.grant(
            manufacturer_id, permission, until=until, reason=reason, author=author, effect="restrict"
        )

    async def revoke_grant(
        self, grant: Any, permission: PermissionRef | None = None, *, author: str | None = None
    ) -> bool:
        """Revoke a grant or restriction. True if it existed.

        Args:
            grant: a grant, its id, or a manufacturer whose grants of ``permission`` all end.
            permission: a permission, or the id of one grant of that manufacturer.
        """
        return await self._permissions.revoke(grant, permission, author=author)

    async def list_grants(self, manufacturer_id: TenantRef) -> list[StoredGrant]:
        """Grants and restrictions in force, oldest first."""
        return await self._permissions.grants(manufacturer_id)

    # --- tiers --------------------------------------------------------------------------------------------------

    async def tier_of(self, manufacturer: TenantRef) -> str:
        """The tier in force: the stored tier if there is one."""
        entitled = await self._entitlements.of(manufacturer)
        return entitled.tier or self._compiled.tier(getattr(manufacturer, "tier", ""))

    async def update_manufacturer_tier(self, manufacturer_id: str, new_tier: TierRef, *, reason: str) -> str:
        """Change the tier, effective immediately here and within a second elsewhere. Usage is kept.

        Returns:
            The new tier's name.

        Raises:
            ValidationError: unknown tier or manufacturer, or no reason.
        """
        tier, named = tier_name(new_tier), manufacturer_id_of(manufacturer_id)
        if tier not in self.policy.tiers:
            raise ValidationError(
                f"Unknown tier {tier!r}; the policy has {', '.join(self.policy.tiers)}.", code="UNKNOWN_TIER"
            )
        if not reason or not reason.strip():
            raise ValidationError("reason is required; it is kept in the audit log.", code="MISSING_REASON")
        if self._entitlements.strict and await self.store.get_manufacturer(named) is None:
            raise ValidationError("Unknown manufacturer id.", code="UNKNOWN_MANUFACTURER")
        before = await self.store.set_tier(named, tier)
        self._sink.emit(
            event(
                event_kinds.RBAC_TIER_CHANGED,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=named,
                before=before,
                after=tier,
                reason=reason[:300],
            )
        )
        return tier

    def usage_limits(self, tier: TierRef) -> UsageLimits:
        """The monthly limits of a tier."""
        limits = self._compiled.limits[self._compiled.tier(tier)]
        return UsageLimits(
            **{
                f"{name}_monthly": limits[name].limit
                for name in ("product_uploads", "ml_tool_requests", "api_calls", "data_exports")
            }
        )

    # --- quotas -------------------------------------------------------------------------------------------------

    @performance_monitor(0.01)
    async def check_usage_limit(
        self, manufacturer: TenantRef, resource: ResourceRef, increment: int = 0
    ) -> UsageResult:
        """Take ``increment`` units, all or nothing, atomically across processes; 0 only checks."""
        return await self._quotas.check(manufacturer, resource, increment)

    async def take_usage(self, manufacturer: TenantRef, amounts: Mapping[Any, int]) -> list[UsageResult]:
        """Take several resources, all of them or none."""
        return await self._quotas.take(manufacturer, amounts)

    async def enforce_usage_limit(
        self, manufacturer: TenantRef, resource: ResourceRef, increment: int = 1, operation_context: str = ""
    ) -> UsageResult:
        """As ``check_usage_limit``; raises QuotaExceededError if refused."""
        return await self._quotas.enforce(manufacturer, resource, increment, operation_context)

    async def enforce_usage_limits(
        self, manufacturer: TenantRef, amounts: Mapping[Any, int], operation_context: str = ""
    ) -> list[UsageResult]:
        """Take several resources, all of them or none; raises QuotaExceededError if one is refused."""
        return await self._quotas.enforce_all(manufacturer, amounts, operation_context)

    async def increment_usage(self, manufacturer_id: TenantRef, resource: ResourceRef, amount: int = 1) -> int:
        """Count units that were already used; returns the usage after it."""
        return await self._quotas.add(manufacturer_id, resource, amount)

    @overload
    async def get_current_usage(self, manufacturer_id: TenantRef, resource: ResourceRef) -> int: ...

    @overload
    async def get_current_usage(self, manufacturer_id: TenantRef, resource: None = None) -> dict[str, int]: ...

    async def get_current_usage(
        self, manufacturer_id: TenantRef, resource: ResourceRef | None = None
    ) -> int | dict[str, int]:
        """Usage of one resource in this cycle, or of all by name."""
        if resource is not None:
            return await self._quotas.current(manufacturer_id, resource)
        return {result.resource: result.current for result in await self._quotas.overview(manufacturer_id)}

    async def get_usage_overview(self, manufacturer: TenantRef) -> list[UsageResult]:
        """All quotas of a manufacturer with their usage."""
        return await self._quotas.overview(manufacturer)

    async def refund_usage(
        self, manufacturer_id: TenantRef, resource: ResourceRef, amount: int = 1, *, taken_at: datetime | None = None
    ) -> int:
        """Refund units; returns the usage of the cycle they were taken in.

        Args:
            taken_at: when they were taken, where that was not just now: near the end of a cycle they go back to
                the cycle they came from, so that the next one never has more than its limit.
        """
        return await self._quotas.refund(manufacturer_id, resource, amount, taken_at)

    async def get_overage_attempts(self, manufacturer_id: str, hours: float = 24) -> list[OverageAttempt]:
        """List quota refusals of the last hours, newest first."""
        return await self._quotas.overage_attempts(manufacturer_id, hours)

    async def get_usage_history(self, manufacturer_id: str) -> list[UsagePeriod]:
        """Usage by billing month, oldest first."""
        return await self._quotas.history(manufacturer_id)

    async def reset_monthly_quotas(self, manufacturer_id: str | None = None) -> int:
        """Restart the current cycle, for one manufacturer or all; returns how many resources were reset."""
        return await self._quotas.reset(manufacturer_id)

    # --- insights -----------------------------------------------------------------------------------------------

    async def get_usage_analytics(self, manufacturer_id: TenantRef) -> UsageAnalytics:
        """Totals, trend, seasonality, anomalies, and when each quota will be used up, with an interval."""
        return await self._suggestions.analytics(manufacturer_id)

    async def suggest_tier(self, manufacturer_id: TenantRef) -> TierSuggestion:
        """Suggest the tier that fits usage and refusals, with the evidence and the cost of waiting."""
        return await self._suggestions.tier(manufacturer_id)

    async def suggest_permissions(self, manufacturer_id: TenantRef) -> list[PermissionSuggestion]:
        """Suggest permissions that are denied repeatedly (needed) or long unused (least privilege)."""
        return await self._suggestions.permissions(manufacturer_id)

    async def apply_suggestion(self, suggestion_id: str, *, author: str | None = None) -> StoredAdjustment:
        """Apply a suggestion for as long as the policy allows; it is rolled back exactly at the end."""
        return await self._suggestions.apply(suggestion_id, author)

    async def roll_back_suggestion(self, suggestion_id: str, *, author: str | None = None) -> StoredAdjustment:
        """Roll back an applied suggestion to the exact previous state."""
        return await self._suggestions.roll_back(suggestion_id, author)

    async def suggestion_digest(self, since: datetime | None = None) -> list[StoredAdjustment]:
        """Suggestions made, applied and ended since then (default: a week ago), newest first."""
        return await self._suggestions.digest(since)


def _nothing() -> None:
    """What stopping to listen comes to once it has stopped."""
