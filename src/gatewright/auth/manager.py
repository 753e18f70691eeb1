"""ManufacturerAuthManager: who is calling, beyond doubt."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from gatewright.auth.calls.mfa import MFACalls
from gatewright.auth.calls.sessions import SessionCalls
from gatewright.auth.calls.signin import SignInCalls
from gatewright.auth.calls.tokens import TokenCalls
from gatewright.auth.client_signals import PlaceLookup, read_agent
from gatewright.auth.options import AuthOptions
from gatewright.auth.root_secret import KeyedHash, root_bytes
from gatewright.auth.services import AuthDependencies, AuthServices
from gatewright.auth.sessions.issuer import SessionIssuer, SessionTerminator
from gatewright.auth.sessions.refresh import RefreshService
from gatewright.auth.sessions.risk import RiskAssessor
from gatewright.auth.sessions.service import SessionService
from gatewright.auth.status_cache import SessionCache, TenantStatusCache
from gatewright.auth.tokens.external_issuers import ExternalIssuer
from gatewright.auth.tokens.revocations import Revocations
from gatewright.auth.tokens.service import TokenService
from gatewright.auth.tokens.signing_keys import SigningKeyRing
from gatewright.clock import Clock, SystemClock
from gatewright.encryption.secretbox import derive_key
from gatewright.errors import ConfigurationError, StorageError
from gatewright.events import EventSink, NullSink
from gatewright.notify import Notifier
from gatewright.storage.protocol import Store
from gatewright.storage.sqlite.store import SqliteStore

_MAINTENANCE_SECONDS = 300.0


class ManufacturerAuthManager(TokenCalls, SessionCalls, SignInCalls, MFACalls):
    """Tokens, sessions, sign-in, second factors and API keys of manufacturers.

    Built alone it uses a private store in memory and a key made for the process, and takes unknown manufacturers
    as they come. ``initialize()`` first, ``close()`` last, or ``async with``.

    Args:
        secret_key: the root of tokens, codes and cookies: 32 bytes (raw, hex or base64), or other text, which is
            stretched. Tokens outlive a restart with the same one.
        algorithm: of the tokens: HS256, ES256, EdDSA or RS256.
        token_expiry_hours: how long ``generate_manufacturer_token`` makes tokens for, above 0.
        store: where state lives; opened by ``initialize()``, and closed by its owner.
        sink: takes the events.
        clock: tells the time.
        options: issuer, lifetimes, grace, risk.
        strict_tenants: refuse unknown manufacturers, as a foundation does.
        notifier: delivers mail to people; None: none is sent.
        partners: what a foundation brings, mail too: measures, throttles, encryption and validation of business
            data, permissions.
        places: offline data about networks.
        foreign_issuers: others whose tokens are accepted.

    Raises:
        ConfigurationError: an argument breaks its rule, or a durable store comes without a secret key.
    """

    def __init__(
        self,
        secret_key: str | bytes | None = None,
        algorithm: str = "HS256",
        token_expiry_hours: float = 24,
        *,
        store: Store | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
        options: AuthOptions | None = None,
        strict_tenants: bool = False,
        notifier: Notifier | None = None,
        partners: AuthDependencies | None = None,
        places: PlaceLookup | None = None,
        foreign_issuers: Sequence[ExternalIssuer] = (),
    ) -> None:
        if not 0 < token_expiry_hours <= 24 * 366:
            raise ConfigurationError(
                f"token_expiry_hours={token_expiry_hours}: must be above 0 and at most 8784; 24 is the default."
            )
        if store is not None and store.durable and secret_key is None:
            raise ConfigurationError(
                "secret_key is missing: a store that outlives the process needs one that does too;"
                " make one with `openssl rand -hex 32`."
            )
        self._own_store = store is None
        self.store: Store = store if store is not None else SqliteStore()
        self.options = options or AuthOptions()
        self._sink: EventSink = sink or NullSink()
        self._clock: Clock = clock or SystemClock()
        self._root = secrets.token_bytes(32) if secret_key is None else root_bytes(secret_key)
        self._maintenance: asyncio.Task[None] | None = None
        self._closed = False
        self._compose_tokens(
            algorithm,
            timedelta(hours=token_expiry_hours),
            derived=secret_key is not None and not self.store.durable,
            strict=strict_tenants,
            foreign=foreign_issuers,
        )
        self._compose_sessions(timedelta(hours=token_expiry_hours), places)
        self.access = AuthServices(
            store=self.store,
            root=self._root,
            sessions=self.endings,
            issuer=self.issuer,
            options=self.options.access,
            partners=partners or AuthDependencies(notifier=notifier),
            strict=strict_tenants,
            sink=self._sink,
            clock=self._clock,
        )
        self.issuer.rule = self.access.factors
        self.risk.devices = self.access.devices

    def __repr__(self) -> str:
        return "ManufacturerAuthManager()"

    async def initialize(self) -> None:
        """Open the store and the key ring; calling twice is harmless.

        Raises:
            KeyUnavailableError: the store's signing keys were sealed under another secret key.
            StorageError: the store cannot be opened.
        """
        if self._closed:
            raise ConfigurationError("This manager was closed; build a new one.", code="MANAGER_CLOSED")
        if self._maintenance is not None:
            return
        await self.store.initialize()
        try:
            await self.keys.open()
            await self._revocations.refresh()
        except BaseException:
            if self._own_store:
                await self.store.close()
            raise
        await asyncio.to_thread(self.access.warm)
        await asyncio.to_thread(read_agent, "")  # the first look at a user agent loads its lists
        self._maintenance = asyncio.get_running_loop().create_task(self._maintain())

    async def close(self) -> None:
        """End what runs in the background; a private store ends too. For good: a closed manager stays closed."""
        if self._maintenance is None:
            return
        self._closed = True
        self._maintenance.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._maintenance
        self._maintenance = None
        await self.access.close()
        await self.sessions.close()
        self._stop_forgetting()
        for listener in (self.keys, self._revocations, self._states, self.tenants):
            listener.close()
        if self._own_store:
            await self.store.close()

    async def __aenter__(self) -> ManufacturerAuthManager:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def maintain(self) -> None:
        """What is due now: rotate the signing key by schedule, forget expired sessions, tokens and revocations."""
        await self.keys.rotate_if_due()
        await self.sessions.delete_expired()
        await self._revocations.delete_expired()
        self.tokens.sweep()

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(_MAINTENANCE_SECONDS)
            with contextlib.suppress(StorageError):  # the store is away: it is due again next time
                await self.maintain()

    def _compose_tokens(
        self, algorithm: str, lifetime: timedelta, *, derived: bool, strict: bool, foreign: Sequence[ExternalIssuer]
    ) -> None:
        store, clock, options = self.store, self._clock, self.options
        window = options.revocation_window
        self.keys = SigningKeyRing(
            store=store,
            changes=store.changes,
            root=self._root,
            algorithm=algorithm,
            derived=derived,
            token_lifetime=max(lifetime, options.access_lifetime or lifetime),
            clock=clock,
            sink=self._sink,
            rotation=options.key_rotation,
        )
        self._revocations = Revocations(store, store.changes, clock, window=window)
        self._states = SessionCache(store, store.changes, clock, window=window)
        self.tenants = TenantStatusCache(store, store.changes, clock, strict=strict, window=window)
        self.tokens = TokenService(
            ring=self.keys,
            revocations=self._revocations,
            sessions=self._states,
            tenants=self.tenants,
            clock=clock,
            sink=self._sink,
            issuer=options.issuer,
            audience=options.audience,
            lifetime=lifetime,
            foreign=foreign,
        )

        self._stop_forgetting = store.changes.subscribe("signing_keys", self.tokens.forget_all)

    def _compose_sessions(self, lifetime: timedelta, places: PlaceLookup | None) -> None:
        store, clock, sink, options = self.store, self._clock, self._sink, self.options
        access_lifetime = options.access_lifetime or lifetime
        self.sessions = SessionService(
            store=store,
            states=self._states,
            cookies=self._hash_for("cookies"),
            clock=clock,
            sink=sink,
            rules=options.sessions,
            admits=self.tenants.is_active,
            places=places,
        )
        self.endings = SessionTerminator(store, self.sessions, self.tokens)
        self.risk = RiskAssessor(sessions=self.sessions, clock=clock, sink=sink, policy=options.risk, places=places)
        self.refresh = RefreshService(
            store=store,
            tokens=self.tokens,
            hashes=self._hash_for("refresh tokens"),
            clock=clock,
            sink=sink,
            lifetime=options.refresh_lifetime,
            access_lifetime=access_lifetime,
            grace=options.refresh_grace,
            risk=self.risk,
        )
        self.issuer = SessionIssuer(
            sessions=self.sessions,
            tokens=self.tokens,
            refresh=self.refresh,
            sink=sink,
            clock=clock,
            lifetime=options.refresh_lifetime,
            access_lifetime=access_lifetime,
        )

    def _hash_for(self, purpose: str) -> KeyedHash:
        return KeyedHash(derive_key(self._root, "gatewright auth", "hash", purpose))
