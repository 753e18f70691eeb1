"""SecurityFoundation: the five managers over one store, one cache, one event sink and one set of measures.

Here, and only here, the packages meet: what one needs of another is a small Protocol, and this module fills it in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from gatewright.auth import AuthOptions, ManufacturerAuthManager
from gatewright.auth.access import Partners
from gatewright.clock import Clock, SystemClock
from gatewright.controls import Controls
from gatewright.encryption import ManufacturerEncryptionManager, Profiles, RecordSource
from gatewright.encryption.keyfiles import with_keys
from gatewright.encryption.keyplace import check_key_place
from gatewright.errors import ConfigurationError, DuplicateAccountError, FieldError, StorageError, ValidationError
from gatewright.events import FanOut
from gatewright.inspection_policy import Exclusion, expired, expiring
from gatewright.monitoring import Bounds, SecurityMonitor
from gatewright.notify import ConsoleNotifier, Directions, FileNotifier, Notifier, SmtpNotifier
from gatewright.policy import Policy, load_policy
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager, Member
from gatewright.settings import Settings, key_bytes
from gatewright.storage.cache.memory import MemoryCache
from gatewright.storage.cache.protocol import Cache
from gatewright.storage.keys import MovableKeys
from gatewright.storage.protocol import Store
from gatewright.storage.sqlite.store import SqliteStore
from gatewright.threats import ManufacturerSecurityValidator

UPKEEP_SECONDS = 3_600.0
REENCRYPTED_PER_SECOND = 200.0


class SecurityFoundation:
    """Everything, built from settings.

    Args:
        settings: where state lives, the keys, the limits; by default what the environment says.
        policy: tiers, permissions, limits; by default the settings' policy file, or the one that ships.
        store, cache, notifier, clock: in place of those that the settings name.

    Raises:
        ConfigurationError: a setting or the policy is wrong; one line says which.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        policy: Policy | None = None,
        store: Store | None = None,
        cache: Cache | None = None,
        notifier: Notifier | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = with_keys(settings or Settings())
        self.clock: Clock = clock or SystemClock()
        self.policy = policy or load_policy(self.settings.policy_file)
        self.sink = FanOut()
        self.controls = Controls(clock=self.clock, default_level=self.policy.detection.level)
        self.store: Store = store or _store(self.settings)
        self.key_database = key_database(self.settings)
        self.cache: Cache = cache or _cache(self.settings, self.sink, self.clock)
        self.notifier = notifier or _notifier(self.settings)
        self.declared_exclusions: list[Exclusion] = []
        """Exclusions from inspection that stand in code, of the routes that were used so far."""
        self._shared_cache = self.settings.redis_url is not None
        self._open = False
        self._upkeep: asyncio.Task[None] | None = None
        self._invalidation = _invalidation(self.cache, self.store)
        self._build()

    def _build(self) -> None:
        settings, store, sink, clock = self.settings, self.store, self.sink, self.clock
        root = settings.secret("secret_key")
        self.monitor = SecurityMonitor(
            store,
            sink,
            controls=self.controls,
            clock=clock,
            root_secret=root,
            previous_root_secrets=[key_bytes(key.get_secret_value()) for key in settings.previous_secret_keys],
            checkpoint_file=settings.checkpoint_file,
            posture_mode=settings.posture_mode,
            bounds=Bounds(protected=settings.trusted_proxies),
            spool_dir=settings.data_dir / "spool" if store.durable else None,
            facts=self._facts,
        )
        sink.add(self.monitor)
        self.encryption = ManufacturerEncryptionManager(
            settings.secret_text("encryption_key"),
            store=self.key_database or store,
            previous_keys=[key.get_secret_value() for key in settings.previous_encryption_keys],
            legacy_fernet_keys=[key.get_secret_value() for key in settings.legacy_fernet_keys],
            rotation_days=self.policy.rotation.data_key_days,
            secret_files=_secret_files(settings) if store.durable else [],
            events=sink,
            clock=clock,
        )
        self.profiles = Profiles(self.encryption, store)
        self.record_sources: list[RecordSource] = [self.profiles]  # an application may add its own
        self.validator = ManufacturerSecurityValidator(
            self.policy,
            store=store,
            cache=self.cache if self._shared_cache or not store.durable else store,
            sink=sink,
            controls=self.controls,
            clock=clock,
            manufacturers=store,
            rules_dir=settings.rules_dir,
            model_file=settings.model_file,
        )
        self.rbac = ManufacturerRBACManager(
            settings.policy_file or self.policy,
            store=store,
            sink=sink,
            controls=self.controls,
            clock=clock,
            strict_tenants=True,
        )
        self.auth = ManufacturerAuthManager(
            settings.secret_text("secret_key"),
            settings.token_algorithm,
            store=store,
            sink=sink,
            clock=clock,
            options=AuthOptions.from_settings(settings, self.policy),
            strict_tenants=True,
            partners=Partners(
                notifier=self.notifier,
                controls=self.controls,
                throttle=self.cache if self._shared_cache else None,
                profiles=self.profiles,
                validator=self._check_business,
                ceiling=Ceiling(self.rbac, store),
                policy=self.policy,
            ),
        )

    # --- life ---------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the store, then the parts that stand on it; calling twice is harmless."""
        if self._open:
            return
        if self.store.durable:
            self.settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.store.initialize()
        if self.key_database is not None:
            await self.key_database.initialize()
        await check_key_place(self.key_database or self.store, self.store)
        await self.cache.initialize()
        if self._invalidation is not None:
            self._invalidation.start()
        for part in (self.monitor, self.encryption, self.validator, self.rbac, self.auth):
            await part.initialize()
        self._open = True
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())

    async def close(self) -> None:
        """Close everything, the store last; calling twice is harmless."""
        if not self._open:
            return
        self._open = False
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        for part in (self.auth, self.rbac, self.validator, self.encryption, self.monitor):
            await part.close()
        if self._invalidation is not None:
            await self._invalidation.stop()
        await self.cache.close()
        if self.key_database is not None:
            await self.key_database.close()
        await self.store.close()

    async def __aenter__(self) -> SecurityFoundation:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def lifespan(self, _: Any = None) -> AsyncIterator[None]:
        """For an ASGI application: ``FastAPI(lifespan=foundation.lifespan)``."""
        async with self:
            yield

    async def _keep_up(self) -> None:
        """Rotate data keys that policy calls old, and re-encrypt what was sealed under former ones."""
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            with contextlib.suppress(StorageError):  # the store is away: it is due again next time
                if await self.encryption.rotate_if_due() is not None:
                    await self.encryption.reencrypt_all(self.record_sources, records_per_second=REENCRYPTED_PER_SECOND)

    @property
    def inspection_mode(self) -> str:
        """What is done about findings where a route says nothing: by the setting, or else by the policy in force."""
        if "inspection_mode" in self.settings.model_fields_set:
            return self.settings.inspection_mode
        return self.rbac.policy.detection.mode

    # --- what the parts ask of each other -----------------------------------------------------------------------

    async def _check_business(self, data: Mapping[str, Any]) -> BusinessCheck:
        """Business data by the validator: rules of business, and an inspection of every field."""
        result = await self.validator.validate_manufacturer_data(data)
        return BusinessCheck(result.errors, result.warnings, dict(data))

    async def change_profile(self, manufacturer_id: str, changes: Mapping[str, Any]) -> list[FieldError]:
        """Check business data, then keep it encrypted; the warnings.

        Raises:
            ValidationError: a field breaks its rule, or looks like an attack.
        """
        checked = await self._check_business(changes)
        problems = [e for e in checked.errors if e.field.split(".")[0].split("[")[0] in changes]
        if problems:
            raise ValidationError("Correct the named fields and try again.", errors=problems)
        await self.profiles.merge(manufacturer_id, changes)
        return checked.warnings

    async def invite(self, manufacturer_id: str, email: str, role: str, *, by: str | None) -> None:
        """Invite a person by mail. A known address is answered alike and gets no invitation.

        Raises:
            ValidationError: the role is none, or too many invitations are open.
            InsufficientPermissionsError: ``by`` is no owner.
        """
        try:
            made = await self.rbac.members.invite(manufacturer_id, email, role, by)
        except DuplicateAccountError:
            return
        directions = Directions(api_url=self.settings.public_url, pages_url=self.settings.account_pages_url)
        how, data = directions.for_token(str(made.token), "/v1/members/join", "join", password="a password of yours")  # noqa: S106 - words of a mail
        await self.auth.access.outbox.post(
            made.email,
            "You are invited",
            f"You are invited to join as {made.role}. To accept, {how}\n\nIt works once, until "
            f"{made.expires_at:%Y-%m-%d %H:%M} UTC. If you did not expect it, do nothing.",
            kind="invitation",
            data=data,
        )

    async def accept_invitation(self, token: str, password: str) -> Member:
        """Join with the token of the mail and a password of one's own.

        Raises:
            ValidationError: the password breaks the policy, or the invitation is unknown, used or expired.
        """
        invitation = await self.rbac.members.invitation_of(token)  # before the dear hash, which anybody could ask for
        hashed = await self.auth.hash_new_password(password, words=[invitation.email])
        try:
            return await self.rbac.members.accept(token, password_hash=hashed)
        except DuplicateAccountError:
            raise ValidationError("This invitation is unknown, used or expired.", code="INVALID_INVITATION") from None

    async def _facts(self) -> Mapping[str, Any]:
        """What posture is told of this installation; nothing secret."""
        settings, now = self.settings, self.clock.now()
        exclusions = [*self.rbac.policy.inspection.exclusions, *self.declared_exclusions]
        return {
            "mode": settings.mode,
            "debug": settings.debug,
            "mfa_required": settings.mfa_required,
            "inspection_mode": self.inspection_mode,
            "exclusions_expired": [one.described() for one in expired(exclusions, now)],
            "exclusions_expiring": [one.described() for one in expiring(exclusions, now)],
            "cookie_secure": settings.cookie_secure,
            "public_url_https": settings.public_url.startswith("https://"),
            "detector_degraded": self.validator.degraded,
        }


class KeyDatabase(MovableKeys, Protocol):
    """A store of data keys apart from the records."""

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...


class Invalidation(Protocol):
    """Tells other workers of changes, and listens to theirs."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class Ceiling:
    """What the person who makes an API key may do: the tier's permissions, cut by the person's role."""

    def __init__(self, rbac: ManufacturerRBACManager, store: Store) -> None:
        self._rbac = rbac
        self._store = store

    async def permissions_of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        account = None if account_id is None else await self._store.get_account(account_id)
        roles = [] if account is None else [account.role]
        context = ManufacturerContext(manufacturer_id, roles=roles, account_id=account_id)
        return frozenset(await self._rbac.permissions_of(context))


class BusinessCheck:
    """Findings about business data, in the form that registration asks for."""

    def __init__(self, errors: list[FieldError], warnings: list[FieldError], normalised: dict[str, Any]) -> None:
        self.errors = errors
        self.warnings = warnings
        self.normalised = normalised


def _store(settings: Settings) -> Store:
    if settings.database.startswith(("mongodb://", "mongodb+srv://")):
        raise ConfigurationError(
            f"GATEWRIGHT_DATABASE={settings.database.split('@')[-1]}: MongoDB is not supported by this version; "
            "use sqlite or sqlite:///path.",
            context={"setting": "GATEWRIGHT_DATABASE"},
        )
    return SqliteStore(settings.database_path, durable=settings.durable)


def key_database(settings: Settings) -> KeyDatabase | None:
    """The store of data keys that lives apart from the records; None where they live together."""
    path = settings.key_database_path
    return None if path is None else SqliteStore(path, durable=settings.durable)


def _secret_files(settings: Settings) -> list[Path]:
    """What must be closed to others."""
    return [settings.data_dir, *(Path(p) for p in (settings.database_path, settings.key_database_path) if p)]


def _cache(settings: Settings, sink: FanOut, clock: Clock) -> Cache:
    if settings.redis_url is None:
        return MemoryCache(clock=clock)
    try:
        from gatewright.storage.cache.redis import RedisCache
    except ImportError:
        raise ConfigurationError(
            "GATEWRIGHT_REDIS_URL: the Redis client is not installed; pip install 'gatewright[redis]'.",
            context={"setting": "GATEWRIGHT_REDIS_URL"},
        ) from None
    return RedisCache(settings.redis_url, sink=sink, clock=clock)


def _invalidation(cache: Cache, store: Store) -> Invalidation | None:
    """What carries changes to other workers by the cache they share; None where the store's poll alone does."""
    if isinstance(cache, MemoryCache):
        return None
    from gatewright.storage.cache.invalidation import RedisInvalidation
    from gatewright.storage.cache.redis import RedisCache

    return RedisInvalidation(cache, store.changes) if isinstance(cache, RedisCache) else None


def _notifier(settings: Settings) -> Notifier:
    if settings.notifier == "file":
        return FileNotifier(settings.outbox_file or settings.data_dir / "outbox.jsonl")
    if settings.notifier == "smtp":
        return SmtpNotifier(
            settings.smtp_host,
            settings.smtp_port,
            sender=settings.smtp_from,
            user=settings.smtp_user,
            password=None if settings.smtp_password is None else settings.smtp_password.get_secret_value(),
        )
    return ConsoleNotifier()
