"""Attempt limits for passwords, arranged so that strangers cannot lock an owner out.

A trusted device has a lockout key of its own. Every other attempt is limited by its network at the account, which locks
first. For a network that the account has recently signed in from, that is the only limit. All other networks also share
the account's key: however many networks an attacker uses, strangers get no more guesses than that key allows, and its
lockout affects neither known networks nor trusted devices.

An attacker inside a known network (behind the same NAT, say) can lock that network's key. Other known networks, and
trusted devices anywhere, are not affected.
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


class LockoutKeys(Record, frozen=True, kw_only=True):
    """The lockout keys that limit one attempt; None if one does not apply."""

    device: str | None = None
    network: str | None = None
    account: str | None = None

    @property
    def trusted(self) -> bool:
        """Whether strangers cannot delay this attempt: it comes from a trusted device or a known network."""
        return self.account is None


def network_policy(policy: AttemptPolicy) -> AttemptPolicy:
    """The policy of a network at an account, derived from the account's own.

    A network locks after 70 % of the failures, and then after each further one. With the default policy, a single
    network can therefore never lock the account.
    """
    limit = max(1, int(policy.limit * _NETWORK_SHARE))
    return replace(policy, limit=limit, free=min(policy.free, limit), relock=1)


class PasswordAttempts:
    """Selects and applies the limits of a password attempt.

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

    async def keys_for(
        self, person: Person | None, account_key: str, device: StoredDevice | None, client: ClientInfo | None
    ) -> LockoutKeys:
        """The keys that limit an attempt. An unknown address takes the same steps as a known one.

        Args:
            account_key: keyed hash of the email address.
            device: a trusted device of this person.
        """
        if device is not None:
            return LockoutKeys(device=f"password:device:{device.device_id}")
        networks = networks_of(client.ip_address) if client and client.ip_address else ()
        if not networks:
            return LockoutKeys(account=_account_key(account_key))
        since = self._clock.now() - KNOWN_FOR
        if await self._sessions.has_used_network(
            person.account_id if person else account_key, networks[0], since=since
        ):
            return LockoutKeys(network=self._network_key(account_key, networks[0]))
        return LockoutKeys(network=self._network_key(account_key, networks[-1]), account=_account_key(account_key))

    @asynccontextmanager
    async def attempt(self, keys: LockoutKeys, subject: AttemptSubject) -> AsyncIterator[Attempt]:
        """Check one password. The outcome counts at each of the keys.

        Raises:
            RateLimitExceededError, AccountLockedError: as :meth:`AttemptLimiter.attempt`.
        """
        async with AsyncExitStack() as stack:
            reserved = []
            for limiter, key in ((self.network, keys.network), (self.account, keys.device or keys.account)):
                if key is not None:
                    reserved.append(await stack.enter_async_context(limiter.attempt(key, subject)))
            attempt = Attempt()
            try:
                yield attempt
            finally:
                for each in reserved:
                    each.outcome = attempt.outcome

    async def clear(self, account_key: str, client: ClientInfo | None) -> None:
        """Reset the account's key and those of the client's networks, after a password reset."""
        await self.account.clear(_account_key(account_key))
        for network in networks_of(client.ip_address) if client and client.ip_address else ():
            await self.network.clear(self._network_key(account_key, network))

    def _network_key(self, account_key: str, network: str) -> str:
        return f"password:network:{self._keyed.of('network door', account_key, network)}"


def _account_key(account_key: str) -> str:
    return f"password:account:{account_key}"
