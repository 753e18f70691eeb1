"""Attempt limits of passwords, arranged so that strangers cannot lock an owner out.

A trusted device has a door of its own. Every other attempt passes the door of its network at the account, which
locks first. A network that the account has signed in from lately needs no more than that. Any other network passes
the account's door as well, which all of them share: however many networks an attacker has, the account gets no more
guesses from strangers than that door allows, and locking it does not affect known networks or trusted devices.

An attacker inside a known network (behind the same NAT, say) can lock that network's door. Other known networks,
and trusted devices anywhere, still have theirs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from msgspec.structs import replace

from gatewright.auth.account_directory import Person
from gatewright.auth.lockout import Attempt, AttemptLimiter, AttemptSubject
from gatewright.auth.records import ClientInfo
from gatewright.auth.root_secret import KeyedHash
from gatewright.clock import Clock, SystemClock
from gatewright.controls import networks_of
from gatewright.records import Record
from gatewright.storage.attempts import AttemptPolicy
from gatewright.storage.credentials import StoredDevice
from gatewright.storage.sessions import SessionStore

KNOWN_FOR = timedelta(days=90)
"""How long a network stays known after the last use of a session that was signed in from it."""

_NETWORK_SHARE = 0.7


class WayIn(Record, frozen=True, kw_only=True):
    """The limits that one attempt passes, in order; None if one does not apply.

    ``trusted`` attempts (from a trusted device or a known network) are not held up by those of strangers.
    """

    device: str | None = None
    network: str | None = None
    account: str | None = None

    @property
    def trusted(self) -> bool:
        return self.account is None


def network_policy(policy: AttemptPolicy) -> AttemptPolicy:
    """The policy of a network's door at an account, derived from the account's own.

    It locks after seven tenths of the failures and then after each further one, so that with the default policy no
    single network ever adds up to a lock of the account.
    """
    limit = max(1, int(policy.limit * _NETWORK_SHARE))
    return replace(policy, limit=limit, free=min(policy.free, limit), relock=1)


class PasswordAttempts:
    """Chooses and passes the limits of a password attempt.

    Args:
        account: limits of accounts, trusted devices and password changes.
        network: limits of networks at an account, with :func:`network_policy`.
        sessions: know which networks an account has used.
    """

    def __init__(
        self,
        account: AttemptLimiter,
        network: AttemptLimiter,
        sessions: SessionStore,
        keyed: KeyedHash,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.account = account
        self.network = network
        self._sessions = sessions
        self._keyed = keyed
        self._clock = clock or SystemClock()

    async def way_in(
        self, person: Person | None, account_key: str, device: StoredDevice | None, client: ClientInfo | None
    ) -> WayIn:
        """The way of one attempt; an unknown address takes the same steps as a known one.

        Args:
            account_key: keyed hash of the address that is tried.
            device: a trusted device of this person.
        """
        if device is not None:
            return WayIn(device=f"password:device:{device.device_id}")
        networks = networks_of(client.ip_address) if client and client.ip_address else ()
        if not networks:
            return WayIn(account=_account_door(account_key))
        since = self._clock.now() - KNOWN_FOR
        if await self._sessions.has_used_network(
            person.account_id if person else account_key, networks[0], since=since
        ):
            return WayIn(network=self._network_door(account_key, networks[0]))
        return WayIn(network=self._network_door(account_key, networks[-1]), account=_account_door(account_key))

    @asynccontextmanager
    async def attempt(self, way: WayIn, visitor: AttemptSubject) -> AsyncIterator[Attempt]:
        """Check one password; raises as :meth:`Doors.attempt`. The outcome counts at every door of the way."""
        async with AsyncExitStack() as stack:
            passed = []
            for limiter, door in ((self.network, way.network), (self.account, way.device or way.account)):
                if door is not None:
                    passed.append(await stack.enter_async_context(limiter.attempt(door, visitor)))
            attempt = Attempt()
            try:
                yield attempt
            finally:
                for each in passed:
                    each.outcome = attempt.outcome

    async def clear(self, account_key: str, client: ClientInfo | None) -> None:
        """Forget the failures of strangers and of the client's own network, after a password reset."""
        await self.account.clear(_account_door(account_key))
        for network in networks_of(client.ip_address) if client and client.ip_address else ():
            await self.network.clear(self._network_door(account_key, network))

    def _network_door(self, account_key: str, network: str) -> str:
        return f"password:network:{self._keyed.of('network door', account_key, network)}"


def _account_door(account_key: str) -> str:
    return f"password:account:{account_key}"
