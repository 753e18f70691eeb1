"""Step 2 of a request: how often. Limits by manufacturer and tier, or by network for the anonymous."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from gatewright.controls import network_of
from gatewright.errors import RateLimitExceededError
from gatewright.events import Severity, event
from gatewright.policy import Policy
from gatewright.storage.throttle import Rate, ThrottleResult
from gatewright.web.request import RequestState
from gatewright.web.rules import RouteRule

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

MINUTE = 60.0


class Limiter:
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
        block = self._controls.blocked_by(state.client.ip_address, manufacturer_id=owner)
        if block is not None:
            wait = MINUTE if block.until is None else (block.until - self._clock.now()).total_seconds()
            raise RateLimitExceededError(
                "Requests from here are refused for a while.", code="BLOCKED", retry_after=max(1.0, wait)
            )
        if rule.name == "probe":
            return
        if self._policy is not self._rbac.policy:
            self._go_by(self._rbac.policy)
        if caller is None:
            # Clients without a known address share one allowance, so that being unknown gains nothing.
            network = network_of(state.client.ip_address or "") or "unknown"
            await self._count(state, "anonymous_request", f"http:network:{network}", self._anonymous(), None)
            return
        # The stored tier, which permissions go by as well: that of the token is as old as the token.
        rate = self._tiers.get(await self._rbac.tier_of(caller), self._default)
        await self._count(state, "requests", f"http:manufacturer:{owner}", rate, owner)
        if rule.action is not None:
            rate = self._actions.get(rule.action) or self._actions["default"]
            await self._count(state, rule.action, f"http:action:{rule.action}:{owner}", rate, owner)

    def _anonymous(self) -> Rate:
        return self._actions.get("anonymous_request", self._default)

    async def _count(self, state: RequestState, name: str, key: str, rate: Rate, owner: str | None) -> None:
        factor = self._controls.limit_factor(name, owner)
        if factor < 1.0:
            rate = Rate(limit=max(1, int(rate.limit * factor)), period=rate.period)
        result = await self._cache.throttle(key, rate)
        state.headers = limit_fields(name, rate, result)
        if result.allowed:
            return
        self._sink.emit(
            event(
                "web:limit:exceeded",
                severity=Severity.NOTICE,
                manufacturer_id=owner,
                ip_address=state.client.ip_address,
                request_id=state.request_id,
                limit=name,
            )
        )
        raise RateLimitExceededError(
            f"More than {rate.limit} requests in {rate.period:g} s; wait {math.ceil(result.retry_after)} s.",
            retry_after=result.retry_after,
        )


def limit_fields(name: str, rate: Rate, result: ThrottleResult) -> list[tuple[bytes, bytes]]:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
    now = f'"{name}";r={result.remaining};t={math.ceil(result.reset_after)}'
    return [(b"ratelimit-policy", _policy_field(name, rate.limit, rate.period)), (b"ratelimit", now.encode())]


@lru_cache(maxsize=256)
def _policy_field(name: str, limit: int, period: float) -> bytes:
    return f'"{name}";q={limit};w={period:g}'.encode()
