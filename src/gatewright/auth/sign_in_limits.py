"""Sign-in limits by network, device and overall, and detection of credential stuffing.

Nothing here sleeps: a client over the limit is told when to retry. The account's own limit is a *door*
(see :mod:`gatewright.auth.lockout`).
"""

from __future__ import annotations

from collections import OrderedDict

from gatewright import event_kinds
from gatewright.auth.records import ClientInfo
from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls, networks_of
from gatewright.errors import RateLimitExceededError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.records import Record
from gatewright.storage.attempts import AttemptStore, Rate, Throttle

WIDER = 4
"""How many times the rate of a network the /48 around an IPv6 network gets; a site or a carrier shares it."""

NOTICED = 20_000
"""Pairs of network and account that are remembered as counted."""


class SignInLimits(Record, frozen=True, kw_only=True):
    """The policy of sign-in. A failure costs ``failure_cost`` cells of the network's rate, any attempt one.

    ``stuffing_accounts`` different accounts that fail from one network, or ``stuffing_networks`` different
    networks that fail at one account, within ``stuffing_window`` seconds, are credential stuffing.
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
    """Admits attempts and learns of failures.

    Args:
        throttle: shared by all processes: the cache, or the store where they share only that.
        sightings: counts different accounts and networks.
        controls: may tighten the limit called ``login``.
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
        self._sink = sink or NullSink()
        self._noticed: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def admit(self, client: ClientInfo | None, *, device_id: str | None = None) -> None:
        """Count one attempt. A trusted device has a rate of its own and meets no other.

        Raises:
            RateLimitExceededError: with the seconds to wait.
        """
        if device_id is not None:
            await self._take(f"login:device:{device_id}", self.limits.device, client, "device")
            return
        for network, rate in self._networks(client):
            await self._take(f"login:network:{network}", rate, client, "network")

    async def admit_to_hashing(self, client: ClientInfo | None, account_key: str, *, known: bool = False) -> None:
        """Count a password that is about to be checked: of this account, and of everyone together.

        What a locked door refused does not count here.

        Args:
            known: it comes from a network that the account has used; strangers do not use up its limits.
        """
        kind = "known" if known else "account"
        await self._take(f"login:{kind}:{account_key}", self.limits.account, client, "account")
        if not known:
            await self._take("login:everyone", self.limits.everyone, client, "everyone")

    async def admit_mail(self, purpose: str, key: str) -> bool:
        """Whether one more mail of this purpose may go to ``key`` (a keyed hash of an address) now."""
        result = await self._throttle.throttle(f"mail:{purpose}:{key}", self.limits.mail)
        return result.allowed

    async def failed(self, client: ClientInfo | None, account_key: str) -> None:
        """Charge a failure to its network, and look whether it is one of many.

        Args:
            account_key: keyed hash of the address that was tried, known or not.
        """
        cost = max(0, self.limits.failure_cost - 1)
        for network, rate in self._networks(client):
            await self._throttle.throttle(f"login:network:{network}", self._tightened(rate), cost=cost)
        await self.notice(client, account_key)

    async def notice(self, client: ClientInfo | None, account_key: str) -> None:
        """Look whether an attempt that failed, or that a closed door refused, is one of many."""
        networks = [network for network, _ in self._networks(client)]
        if not networks or not self._is_news(networks[0], account_key):
            return
        for network in networks:
            topic = f"stuffing:network:{network}"
            await self._count(topic, account_key, self.limits.stuffing_accounts, network, client)
        network = networks[-1]
        await self._count(f"stuffing:account:{account_key}", network, self.limits.stuffing_networks, None, client)

    def _networks(self, client: ClientInfo | None) -> list[tuple[str, Rate]]:
        """The client's networks with their rates: the narrow one, and the wider one that IPv6 has.

        Clients without a known address count together, so that being unknown escapes no limit; None is a call of the
        application's own.
        """
        if client is None:
            return []
        found = networks_of(client.ip_address or "") or ("unknown",)
        wide = Rate(limit=self.limits.network.limit * WIDER, period=self.limits.network.period)
        return list(zip(found, (self.limits.network, wide), strict=False))

    def _is_news(self, network: str, account_key: str) -> bool:
        """Whether this pair was not counted lately: repeating an attempt must not become a load on the store."""
        now, pair = self._clock.monotonic(), (network, account_key)
        counted = self._noticed.get(pair)
        if counted is not None and now - counted < self.limits.stuffing_window / 2:
            return False
        self._noticed[pair] = now
        while len(self._noticed) > NOTICED:
            self._noticed.popitem(last=False)
        return True

    async def _count(
        self, topic: str, member: str, threshold: int, network: str | None, client: ClientInfo | None
    ) -> None:
        window = self.limits.stuffing_window
        seen = await self._sightings.count_distinct(topic, member, now=self._clock.now(), window=window)
        if seen == threshold or (seen > threshold and seen % (threshold * 10) == 0):
            self._sink.emit(
                event(
                    event_kinds.AUTH_STUFFING_DETECTED,
                    severity=Severity.HIGH,
                    timestamp=self._clock.now(),
                    ip_address=client.ip_address if client else None,
                    pattern="many_accounts" if network else "many_networks",
                    network=network,
                    distinct=seen,
                    window=window,
                )
            )

    async def _take(self, key: str, rate: Rate, client: ClientInfo | None, scope: str) -> None:
        result = await self._throttle.throttle(key, self._tightened(rate))
        if result.allowed:
            return
        self._sink.emit(
            event(
                event_kinds.AUTH_LOGIN_THROTTLED,
                severity=Severity.WARNING,
                timestamp=self._clock.now(),
                ip_address=client.ip_address if client else None,
                scope=scope,
                retry_after=round(result.retry_after, 3),
            )
        )
        raise RateLimitExceededError("Too many sign-in attempts. Wait and try again.", retry_after=result.retry_after)

    def _tightened(self, rate: Rate) -> Rate:
        factor = self._controls.limit_factor("login")
        return rate if factor >= 1 else Rate(limit=max(1, int(rate.limit * factor)), period=rate.period)
