"""Rate limits by manufacturer and tier. For networks, see ``network_limit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.access import PLATFORM_ACCESS
from gatewright.errors import AuthenticationError, RateLimitExceededError
from gatewright.policy import Policy
from gatewright.storage.attempts import Rate
from gatewright.web.network_limit import LIMIT, exceeded, limit_fields
from gatewright.web.request import RequestState
from gatewright.web.rules import RouteRule

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

MINUTE = 60.0


class RateLimiter:
    """Counts requests and refuses those that come too often or from where measures block.

    Args:
        foundation: its cache counts, its policy says how much, its measures tighten and block.
    """

    def __init__(self, foundation: SecurityFoundation) -> None:
        self._cache = foundation.cache
        self._controls = foundation.controls
        self._sink = foundation.sink
        self._clock = foundation.clock
        self._rbac = foundation.rbac
        self._auth = foundation.auth
        self._recent_mfa = foundation.settings.recent_mfa_seconds
        self._go_by(foundation.policy)

    def _go_by(self, policy: Policy) -> None:
        self._policy = policy
        self._tiers = {
            tier: Rate(limit=found.requests_per_minute, period=MINUTE) for tier, found in policy.tiers.items()
        }
        self._default = self._tiers[policy.default_tier]
        self._actions = {name: Rate(limit=a.limit, period=a.period) for name, a in policy.actions.items()}

    async def check(self, state: RequestState, rule: RouteRule) -> None:
        """Count this request; the state gets the ``RateLimit`` fields of the answer.

        Raises:
            RateLimitExceededError: too often, or blocked by a measure.
        """
        caller = state.caller
        owner = None if caller is None else caller.manufacturer_id
        if rule.name == "probe":
            return
        block = self._controls.blocked_by(state.client.ip_address, manufacturer_id=owner)
        if block is not None and not await self._may_lift(state, rule):
            wait = MINUTE if block.until is None else (block.until - self._clock.now()).total_seconds()
            raise RateLimitExceededError(
                "Requests from your network are temporarily blocked.", code="BLOCKED", retry_after=max(1.0, wait)
            )
        if self._policy is not self._rbac.policy:
            self._go_by(self._rbac.policy)
        if caller is None:
            return  # the network was charged before
        # The stored tier, which permissions go by as well: that of the token is as old as the token.
        tier = state.entitled.tier if state.entitled is not None else await self._rbac.tier_of(caller)
        rate = self._tiers.get(tier, self._default)
        await self._count(state, "requests", f"http:manufacturer:{owner}", rate, owner)
        if rule.action is not None:
            rate = self._actions.get(rule.action) or self._actions["default"]
            await self._count(state, rule.action, f"http:action:{rule.action}:{owner}", rate, owner)

    def anonymous_rate(self) -> Rate:
        """The allowance of one network for unauthenticated requests."""
        if self._policy is not self._rbac.policy:
            self._go_by(self._rbac.policy)
        return self._actions.get(LIMIT, self._default)

    async def _may_lift(self, state: RequestState, rule: RouteRule) -> bool:
        """Whether this is a call of the staff with a second factor that is not old: an admin who was blocked with the
        network can lift the block. Signing in and showing a factor stay blocked, or others there could guess."""
        caller, permission = state.caller, rule.permission
        if not rule.recent_mfa or caller is None or permission is None or state.session_id is None:
            return False
        if permission not in PLATFORM_ACCESS or not await self._rbac.has_permission(caller, permission):
            return False
        try:
            await self._auth.require_recent_mfa(state.session_id, max_age=self._recent_mfa)
        except AuthenticationError:
            return False
        return True

    async def _count(self, state: RequestState, name: str, key: str, rate: Rate, owner: str | None) -> None:
        factor = self._controls.limit_factor(name, owner)
        if factor < 1.0:
            rate = Rate(limit=max(1, int(rate.limit * factor)), period=rate.period)
        result = await self._cache.throttle(key, rate)
        state.headers = limit_fields(name, rate, result)
        if not result.allowed:
            raise exceeded(self._sink, state, name, rate, result, owner)
