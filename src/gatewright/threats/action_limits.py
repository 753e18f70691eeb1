"""Action limits: rates of the policy for what a manufacturer may do, counted by GCRA in the cache."""

from __future__ import annotations

from typing import Any

from gatewright.controls import Controls
from gatewright.errors import ValidationError
from gatewright.policy import ActionRate, Policy
from gatewright.storage.attempts import Rate, Throttle
from gatewright.threats.results import RateLimitResult

DEFAULT_ACTION = "default"
MAX_NAME_LENGTH = 200


class ActionLimits:
    """Checks actions against the policy's rates.

    Args:
        policy: has the rates; an action that it does not name gets that of ``default``.
        counter: counts; a cache, or the store.
        controls: measures that tighten limits.
    """

    def __init__(self, policy: Policy, counter: Throttle, controls: Controls) -> None:
        self.policy = policy
        self._counter = counter
        self._controls = controls

    async def check(self, manufacturer_id: str, action: str, current_usage: int | None = None) -> RateLimitResult:
        """Take one of the action's allowance.

        Args:
            manufacturer_id: who acts.
            action: a name of the policy's ``actions``, or any other.
            current_usage: the count so far, where the caller counts; nothing is then counted here.

        Raises:
            ValidationError: no manufacturer or action, or a count that is no non-negative integer.
        """
        if not (_is_name(manufacturer_id) and _is_name(action)):
            raise ValidationError("check_rate_limit requires a manufacturer id and the name of an action.")
        rate = self._rate(manufacturer_id, action)
        if current_usage is not None:
            return _counted(rate, current_usage)
        # The length tells where the action ends: either name may have colons in it.
        result = await self._counter.throttle(f"throttle:action:{len(action)}:{action}:{manufacturer_id}", rate)
        return RateLimitResult(
            allowed=result.allowed,
            remaining_requests=result.remaining,
            limit=result.limit,
            retry_after=result.retry_after,
        )

    def _rate(self, manufacturer_id: str, action: str) -> Rate:
        actions = self.policy.actions
        wanted = actions.get(action) or actions.get(DEFAULT_ACTION) or ActionRate(limit=1_000, period=3_600)
        factor = self._controls.limit_factor(action, manufacturer_id)
        return Rate(limit=max(1, int(wanted.limit * factor)), period=wanted.period)


def _is_name(given: Any) -> bool:
    return isinstance(given, str) and 0 < len(given) <= MAX_NAME_LENGTH


def _counted(rate: Rate, current_usage: Any) -> RateLimitResult:
    if isinstance(current_usage, bool) or not isinstance(current_usage, int) or current_usage < 0:
        raise ValidationError("current_usage must be a whole number, 0 or more.", code="INVALID_AMOUNT")
    allowed = current_usage < rate.limit
    over = current_usage - rate.limit + 1
    return RateLimitResult(
        allowed=allowed,
        remaining_requests=max(0, -over),
        limit=rate.limit,
        retry_after=0.0 if allowed else min(rate.period, over * rate.interval),
    )
