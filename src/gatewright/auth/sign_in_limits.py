"""Sign-in limits by network, device and overall, and detection of credential stuffing.

Nothing here sleeps: a client over the limit learns when to retry. Failed attempts at one account are limited by
:mod:`gatewright.auth.lockout`.
"""

from __future__ import annotations

from gatewright import event_kinds
from gatewright.auth.records import ClientInfo
from gatewright.caching import BoundedCache
from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls, networks_of
from gatewright.errors import RateLimitExceededError
from gatewright.events import EventSink, Severity, emitter
from gatewright.records import Record
from gatewright.storage.attempts import AttemptStore, Rate, Throttle

WIDER = 4
"""The /48 around an IPv6 network has this many times the rate of a network, because a site or carrier shares it."""

COUNTED_PAIRS = 20_000
"""Pairs of network and account that were counted recently, in memory."""


class SignInLimits(Record, frozen=True, kw_only=True):
    """Rate limits of sign-in. An attempt costs one unit of the network's rate, a failure ``failure_cost`` units.

    Failures at ``stuffing_accounts`` different accounts from one network, or from ``stuffing_networks`` different
    networks at one account, within ``stuffing_window`` seconds, are reported as credential stuffing.
    """

    account: Rate = Rate(limit=300, period=900)
    network: Rate = Rate(limit=2_000, period=600)
    failure_cost: int = 40
    device: Rate = Rate(limit=60, period=60)
    everyone: Rate = Rate(limit=6_000, period=60)
    mail: Rate = Rate(limit=5, period=3_600)
    stuffing_accounts: int = 10
    stuffing_networks: int = 10
    stuffing_window: float = 3_600.0


class SignInThrottle:
    """Limits the rate of sign-in attempts, and reports credential stuffing.

    Args:
        throttle: counts for all processes: the cache, or the store if processes share no cache.
        sightings: counts distinct accounts and networks.
        controls: may tighten the limit ``login``.
    """

    def __init__(
        self,
        throttle: Throttle,
        sightings: AttemptStore,
        *,
        limits: SignInLimits | None = None,
        controls: Controls | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.limits = limits or SignInLimits()
        self._throttle = throttle
        self._sightings = sightings
        self._clock = clock or SystemClock()
        self._controls = controls or Controls(clock=self._clock)
        self._emit = emitter(sink, self._clock)
        self._counted: BoundedCache[tuple[str, str], float] = BoundedCache(COUNTED_PAIRS)

    async def admit(self, client: ClientInfo | None, *, device_id: str | None = None) -> None:
        """Count one attempt. A trusted device has its own rate, and no other applies to it.

        Raises:
            RateLimitExceededError: with the seconds to wait in ``retry_after``.
        """
        if device_id is not None:
            await self._take(f"login:device:{device_id}", self.limits.device, client, "device")
            return
        for network, rate in self._networks(client):
            await self._take(f"login:network:{network}", rate, client, "network")

    async def admit_to_hashing(self, client: ClientInfo | None, account_key: str, *, known: bool = False) -> None:
        """Count a password that is about to be hashed: for this account, and for all accounts together.

        Attempts that a lockout refused are not counted.

        Args:
            known: whether the attempt comes from a network that the account has used. Such attempts have their own
                limit, which strangers cannot use up.
        """
        kind = "known" if known else "account"
        await self._take(f"login:{kind}:{account_key}", self.limits.account, client, "account")
        if not known:
            await self._take("login:everyone", self.limits.everyone, client, "everyone")

    async def admit_mail(self, purpose: str, key: str) -> bool:
        """Whether another email for this purpose may be sent to ``key``, a keyed hash of an address."""
        result = await self._throttle.throttle(f"mail:{purpose}:{key}", self.limits.mail)
        return result.allowed

    async def failed(self, client: ClientInfo | None, account_key: str) -> None:
        """Charge a failure to its network, and check for credential stuffing.

        Args:
            account_key: keyed hash of the email address, known or not.
        """
        cost = max(0, self.limits.failure_cost - 1)
        for network, rate in self._networks(client):
            await self._throttle.throttle(f"login:network:{network}", self._tightened(rate), cost=cost)
        await self.notice(client, account_key)

    async def notice(self, client: ClientInfo | None, account_key: str) -> None:
        """Check for credential stuffing after an attempt that failed or was refused by a lockout."""
        networks = [network for network, _ in self._networks(client)]
        if not networks or not self._is_uncounted(networks[0], account_key):
            return
        for network in networks:
            topic = f"stuffing:network:{network}"
            await self._count(topic, account_key, self.limits.stuffing_accounts, network, client)
        network = networks[-1]
        await self._count(f"stuffing:account:{account_key}", network, self.limits.stuffing_networks, None, client)

    def _networks(self, client: ClientInfo | None) -> list[tuple[str, Rate]]:
        """The client's networks with their rates: its own network and, for IPv6, the /48 around it.

        Clients without a known address share one rate, so that hiding the address evades no limit. None is a call by
        the application itself, which has no limit.
        """
        if client is None:
            return []
        found = networks_of(client.ip_address or "") or ("unknown",)
        wide = Rate(limit=self.limits.network.limit * WIDER, period=self.limits.network.period)
        return list(zip(found, (self.limits.network, wide), strict=False))

    def _is_uncounted(self, network: str, account_key: str) -> bool:
        """Whether this pair was not counted recently. Repeated attempts must not put load on the store."""
        now, pair = self._clock.monotonic(), (network, account_key)
        counted_at = self._counted.get(pair)
        if counted_at is not None and now - counted_at < self.limits.stuffing_window / 2:
            return False
        self._counted.put(pair, now)
        return True

    async def _count(
        self, topic: str, member: str, threshold: int, network: str | None, client: ClientInfo | None
    ) -> None:
        window = self.limits.stuffing_window
        seen = await self._sightings.count_distinct(topic, member, now=self._clock.now(), window=window)
        if seen == threshold or (seen > threshold and seen % (threshold * 10) == 0):
            self._emit(
                event_kinds.AUTH_STUFFING_DETECTED,
                Severity.HIGH,
                ip_address=client.ip_address if client else None,
                pattern="many_accounts" if network else "many_networks",
                network=network,
                distinct=seen,
                window=window,
            )

    async def _take(self, key: str, rate: Rate, client: ClientInfo | None, scope: str) -> None:
        result = await self._throttle.throttle(key, self._tightened(rate))
        if result.allowed:
            return
        self._emit(
            event_kinds.AUTH_LOGIN_THROTTLED,
            Severity.WARNING,
            ip_address=client.ip_address if client else None,
            scope=scope,
            retry_after=round(result.retry_after, 3),
        )
        raise RateLimitExceededError("Too many sign-in attempts. Wait and try again.", retry_after=result.retry_after)

    def _tightened(self, rate: Rate) -> Rate:
        factor = self._controls.limit_factor("login")
        return rate if factor >= 1 else Rate(limit=max(1, int(rate.limit * factor)), period=rate.period)
