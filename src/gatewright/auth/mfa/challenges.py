"""One-time challenges and tokens, bound to the client that requested them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gatewright.auth.records import ClientInfo
from gatewright.auth.root_secret import KeyedHash, new_token
from gatewright.clock import Clock, SystemClock
from gatewright.controls import network_of
from gatewright.storage.attempts import OneTimeSecret, OneTimeStore

MAX_TOKEN_LENGTH = 256
MAX_TRIES = 20
"""Maximum attempts at one challenge. The limit of its account is lower, and normally applies first."""

_CLIENT = "client"


class Challenges:
    """Issues random one-time tokens. The store contains only their keyed hashes."""

    def __init__(self, store: OneTimeStore, keyed: KeyedHash, *, clock: Clock | None = None) -> None:
        self._store = store
        self._keyed = keyed
        self._clock = clock or SystemClock()

    async def create(
        self,
        purpose: str,
        subject: str,
        *,
        lifetime: timedelta,
        data: Mapping[str, Any] | None = None,
        client: ClientInfo | None = None,
        token: str | None = None,
    ) -> str:
        """Create a token for ``purpose``. A ``client`` binds it to that client's network and user agent."""
        token = token or new_token()
        now = self._clock.now()
        await self._store.put_one_time(
            OneTimeSecret(
                key=self._key(purpose, token),
                purpose=purpose,
                subject=subject,
                data={**(data or {}), _CLIENT: self._binding(client)},
                created_at=now,
                expires_at=now + lifetime,
            )
        )
        return token

    async def get(self, purpose: str, token: object) -> OneTimeSecret | None:
        """The secret of a token, without using it up. None if it is unknown, used or expired."""
        if not _is_well_formed(token):
            return None
        return await self._store.get_one_time(purpose, self._key(purpose, str(token)), now=self._clock.now())

    async def attempt(self, purpose: str, token: object, client: ClientInfo | None) -> OneTimeSecret | None:
        """As :meth:`get`, and count an attempt. None also if the token is bound to another client."""
        if not _is_well_formed(token):
            return None
        secret = await self._store.attempt_one_time(
            purpose, self._key(purpose, str(token)), now=self._clock.now(), limit=MAX_TRIES
        )
        return secret if secret is not None and self._is_bound_to(secret, client) else None

    async def take(self, purpose: str, token: object) -> OneTimeSecret | None:
        """Use a token up. Of several concurrent callers, exactly one gets its secret."""
        if not _is_well_formed(token):
            return None
        return await self._store.take_one_time(purpose, self._key(purpose, str(token)), now=self._clock.now())

    async def take_for(self, purpose: str, token: object, client: ClientInfo | None) -> OneTimeSecret | None:
        """As :meth:`take`. None also if the token is bound to another client; it is used up nevertheless."""
        secret = await self.take(purpose, token)
        return secret if secret is not None and self._is_bound_to(secret, client) else None

    async def drop(self, purpose: str, subject: str) -> None:
        """Delete all tokens of a purpose and subject."""
        await self._store.drop_one_time(purpose, subject)

    def _key(self, purpose: str, token: str) -> str:
        return self._keyed.of("one-time", purpose, token)

    def _binding(self, client: ClientInfo | None) -> str | None:
        if client is None or (client.ip_address is None and client.user_agent is None):
            return None
        network = network_of(client.ip_address) if client.ip_address else None
        return self._keyed.of("client", network or "", client.user_agent or "")

    def _is_bound_to(self, secret: OneTimeSecret, client: ClientInfo | None) -> bool:
        expected = secret.data.get(_CLIENT)
        return expected is None or self._binding(client) == expected


def _is_well_formed(token: object) -> bool:
    return isinstance(token, str) and 0 < len(token) <= MAX_TOKEN_LENGTH
