"""The allowance of a network for anonymous requests and failed credentials.

Counted before anything is looked up. A request without credentials takes its share first. A request with
credentials takes a share only when they are refused, so that a good client pays no second round trip. Once the
allowance is used up, this process refuses by itself, without asking cache or store, until some of it is back.

Good clients that share a network with an attacker keep working: credentials that were accepted before are still
verified, and so are tokens under a signing key of this service, whose signature is checked without the store. Only API
keys, cookies and tokens that this process has never accepted wait until the attack stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gatewright import event_kinds
from gatewright._async import Turns
from gatewright.caching import BoundedCache
from gatewright.clock import Clock
from gatewright.controls import Controls, networks_of
from gatewright.errors import AuthenticationError, RateLimitExceededError, SecurityError
from gatewright.events import EventSink, Severity, event
from gatewright.storage.attempts import Rate, Throttle, ThrottleResult
from gatewright.web.authenticate import Authenticator, session_cookie
from gatewright.web.request import RequestState
from gatewright.web.rules import RouteRule

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

LIMIT = "anonymous_request"
"""The action of the policy that says how much."""
SITE_SHARE = 4
"""How many /64 networks' allowances one IPv6 /48 has: a client with a /48 has 65,536 of them."""
AT_ONCE = 16
"""Unknown credentials of one network that are verified at once; more wait their turn."""
WAITING = 256
"""How many may wait."""

_NETWORKS = 10_000
_CREDENTIALS = 20_000
_SIGNING_HEADERS = 64

_networks_of = lru_cache(maxsize=4_096)(networks_of)


class _Exhausted(NamedTuple):
    until: float
    rate: Rate
    result: ThrottleResult


class NetworkLimit:
    """Counts unauthenticated requests.

    Args:
        foundation: its cache counts; its measures tighten the limit.
        rate: the allowance of one network now.
    """

    def __init__(self, foundation: SecurityFoundation, authenticator: Authenticator, rate: Callable[[], Rate]) -> None:
        self._authenticator = authenticator
        self._throttle: Throttle = foundation.cache
        self._controls: Controls = foundation.controls
        self._sink: EventSink = foundation.sink
        self._clock: Clock = foundation.clock
        self._rate = rate
        self._exhausted: BoundedCache[str, _Exhausted] = BoundedCache(_NETWORKS)
        self._accepted: BoundedCache[int, None] = BoundedCache(_CREDENTIALS)
        self._refused: BoundedCache[int, None] = BoundedCache(_CREDENTIALS)
        self._signing_headers: BoundedCache[str, None] = BoundedCache(_SIGNING_HEADERS)
        self._turns = Turns(
            AT_ONCE,
            WAITING,
            f"More than {WAITING} unknown credentials from your network are waiting to be verified; "
            "wait 1 s and try again.",
        )

    async def identify(self, state: RequestState, rule: RouteRule) -> None:
        """Charge the network for work it causes, and authenticate the caller.

        Raises:
            RateLimitExceededError: the allowance of the network is exhausted.
            AuthenticationError: the credentials are missing or invalid.
        """
        if rule.name == "probe" and rule.auth == "none":
            return
        credential: bytes | str | None = None
        if rule.auth != "none":
            fields = state.fields
            credential = fields.get(b"authorization") or fields.get(b"x-api-key") or session_cookie(state)
        if credential is None:
            await self.charge(state)
            if rule.auth != "none":
                await self._authenticator.authenticate(state, required=rule.auth == "required")
            return
        if hash(credential) in self._accepted:
            await self._verify(state, rule, credential)
            return
        async with self._turns.turn(_networks(state)[0]):
            self._refuse_when_exhausted(state, credential)
            await self._verify(state, rule, credential)

    async def _verify(self, state: RequestState, rule: RouteRule, credential: bytes | str) -> None:
        try:
            await self._authenticator.authenticate(state, required=rule.auth == "required")
        except AuthenticationError as error:
            self._remember(credential, accepted=False)
            raise await self.charged(state, error) from None
        if state.caller is None or hash(credential) not in self._accepted:
            self._remember(credential, accepted=state.caller is not None)
        if state.caller is None:  # an expired cookie: the request continues as anonymous
            await self.charge(state)

    async def charged(self, state: RequestState, error: SecurityError) -> SecurityError:
        """What to answer to a refused request: its own error, or that the network's allowance is used up.

        A failure of the service (5xx) is never charged, and no request is charged twice.
        """
        if state.caller is not None or state.charged or error.http_status >= 500:
            return error
        try:
            await self.charge(state)
        except RateLimitExceededError as exceeded:
            return exceeded
        return error

    async def charge(self, state: RequestState) -> None:
        """Take one request from the network's allowance.

        Raises:
            RateLimitExceededError: nothing is left of it.
        """
        state.charged = True
        for number, network in enumerate(_networks(state)):
            self._refuse_when_known_exhausted(state, network)
            rate = self._rate_of(number)
            result = await self._throttle.throttle(f"http:network:{network}", rate)
            if number == 0 or not result.allowed:
                state.headers = limit_fields(LIMIT, rate, result)
            if not result.allowed:
                self._remember_exhausted(network, rate, result)
                raise exceeded(self._sink, state, LIMIT, rate, result)

    # --- what is known here, without asking anyone -------------------------------------------------------------

    def _rate_of(self, number: int) -> Rate:
        rate, factor = self._rate(), self._controls.limit_factor(LIMIT)
        limit = rate.limit if factor >= 1.0 else max(1, int(rate.limit * factor))
        return Rate(limit=limit * (SITE_SHARE if number else 1), period=rate.period)

    def _refuse_when_exhausted(self, state: RequestState, credential: bytes | str) -> None:
        known = hash(credential)
        if known in self._accepted:
            return
        header = _token_header(credential)
        if header is not None and header in self._signing_headers and known not in self._refused:
            return
        for network in _networks(state):
            self._refuse_when_known_exhausted(state, network)

    def _refuse_when_known_exhausted(self, state: RequestState, network: str) -> None:
        found = self._exhausted.get(network)
        if found is None:
            return
        left = found.until - self._clock.monotonic()
        if left <= 0:
            del self._exhausted[network]
            return
        state.charged = True
        passed = found.result.retry_after - left
        result = ThrottleResult(
            allowed=False,
            limit=found.rate.limit,
            remaining=0,
            retry_after=left,
            reset_after=max(left, found.result.reset_after - passed),
        )
        state.headers = limit_fields(LIMIT, found.rate, result)
        raise exceeded(self._sink, state, LIMIT, found.rate, result)

    def _remember_exhausted(self, network: str, rate: Rate, result: ThrottleResult) -> None:
        self._exhausted.put(network, _Exhausted(self._clock.monotonic() + result.retry_after, rate, result))

    def _remember(self, credential: bytes | str, *, accepted: bool) -> None:
        known = hash(credential)  # keyed by the process: no credential can be made to look like another
        if not accepted:
            self._accepted.pop(known, None)
            self._refused.put(known, None)
        elif known not in self._accepted:
            self._refused.pop(known, None)
            self._accepted.put(known, None)
            header = _token_header(credential)
            if header is not None and len(header) <= 512:
                self._signing_headers.put(header, None)


def exceeded(
    sink: EventSink, state: RequestState, name: str, rate: Rate, result: ThrottleResult, owner: str | None = None
) -> RateLimitExceededError:
    """The refusal of a request over the limit called ``name``; leaves an event."""
    sink.emit(
        event(
            event_kinds.WEB_LIMIT_EXCEEDED,
            severity=Severity.NOTICE,
            manufacturer_id=owner,
            ip_address=state.client.ip_address,
            request_id=state.request_id,
            limit=name,
        )
    )
    return RateLimitExceededError(
        f"More than {rate.limit} requests in {rate.period:g} s. Wait {math.ceil(result.retry_after)} s.",
        retry_after=result.retry_after,
    )


def limit_fields(name: str, rate: Rate, result: ThrottleResult) -> list[tuple[bytes, bytes]]:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
    now = f'"{name}";r={result.remaining};t={math.ceil(result.reset_after)}'
    return [(b"ratelimit-policy", _policy_field(name, rate.limit, rate.period)), (b"ratelimit", now.encode())]


@lru_cache(maxsize=256)
def _policy_field(name: str, limit: int, period: float) -> bytes:
    return f'"{name}";q={limit};w={period:g}'.encode()


def _networks(state: RequestState) -> tuple[str, ...]:
    address = state.client.ip_address
    return (_networks_of(address) if address else ()) or ("unknown",)


def _token_header(credential: bytes | str) -> str | None:
    """The header of a JWT in an Authorization field, or None for other credentials."""
    text = credential if isinstance(credential, str) else credential.decode("latin-1")
    scheme, _, token = text.partition(" ")
    header, dot, _ = token.strip().partition(".")
    return header if dot and scheme.lower() == "bearer" else None
