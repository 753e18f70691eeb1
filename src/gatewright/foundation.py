"""SecurityFoundation: the five managers over one store, one cache, one event sink and one set of measures.

Here the packages meet. What each is built from, and what one needs of another, is in ``assembly``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gatewright.auth import ManufacturerAuthManager
from gatewright.clock import Clock, SystemClock
from gatewright.controls import LOOPBACK, Controls
from gatewright.encryption import ManufacturerEncryptionManager, Profiles, RecordSource
from gatewright.encryption.key_files import make_private_directory, with_keys
from gatewright.encryption.key_store_separation import check_key_place
from gatewright.encryption.reencryption import IdempotencySource
from gatewright.errors import FieldError, StorageError, ValidationError
from gatewright.events import FanOut
from gatewright.inspection_policy import Exclusion
from gatewright.monitoring import SecurityMonitor
from gatewright.notify import Directions, Notifier
from gatewright.policy import Policy, load_policy
from gatewright.rbac import ManufacturerRBACManager
from gatewright.settings import Settings
from gatewright.storage.cache import Cache
from gatewright.storage.protocol import Store
from gatewright.threats import ManufacturerSecurityValidator
from gatewright.wiring import managers
from gatewright.wiring.backends import (
    invalidation,
    key_database,
    notifier_of,
    open_cache,
    open_store,
    places_of,
    refuse_demo_store,
)
from gatewright.wiring.managers import BusinessRules
from gatewright.wiring.memberships import Memberships
from gatewright.wiring.posture_facts import PostureFacts

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
        first = policy or load_policy(self.settings.policy_file)
        self.sink = FanOut()
        self.controls = Controls(
            clock=self.clock,
            default_level=first.detection.level,
            protected=(*LOOPBACK, *self.settings.trusted_proxies, *self.settings.protected_networks),
        )
        self.store: Store = store or open_store(self.settings)
        self.key_database = key_database(self.settings)
        self.cache: Cache = cache or open_cache(self.settings, self.sink, self.clock)
        self.notifier = notifier or notifier_of(self.settings)
        given = "inspection_mode" in self.settings.model_fields_set
        self._mode_given = self.settings.inspection_mode if given else None
        self.declared_exclusions: list[Exclusion] = []
        """Exclusions from inspection that stand in code, of the routes that were used so far."""
        self._places = places_of(self.settings)
        self._open = False
        self._upkeep: asyncio.Task[None] | None = None
        self._invalidation = invalidation(self.cache, self.store)
        self._build(first)

    def _build(self, policy: Policy) -> None:
        ground = managers.Shared(
            settings=self.settings,
            policy=policy,
            store=self.store,
            key_database=self.key_database,
            cache=self.cache,
            shared_cache=self.cache if self.settings.redis_url is not None else None,
            sink=self.sink,
            controls=self.controls,
            clock=self.clock,
        )
        self.monitor: SecurityMonitor = managers.monitor(ground, PostureFacts(self))
        self.encryption: ManufacturerEncryptionManager = managers.encryption(ground)
        self.profiles = Profiles(self.encryption, self.store)
        self.record_sources: list[RecordSource] = [self.profiles, IdempotencySource(self.store)]
        """All that is encrypted under data keys; an application may add its own."""
        self.validator: ManufacturerSecurityValidator = managers.validator(ground)
        self.rbac: ManufacturerRBACManager = managers.rbac(ground, self._adopt)
        self._rules = BusinessRules(self.validator)
        self.auth: ManufacturerAuthManager = managers.auth(
            ground,
            rbac=self.rbac,
            profiles=self.profiles,
            rules=self._rules,
            notifier=self.notifier,
            places=self._places,
        )
        directions = Directions(api_url=self.settings.public_url, pages_url=self.settings.account_pages_url)
        self.memberships = Memberships(self.rbac, self.auth, directions)

    # --- life ---------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the store, then the parts that stand on it; calling twice is harmless."""
        if self._open:
            return
        if self.store.durable:
            make_private_directory(self.settings.data_dir)
        await self.store.initialize()
        await refuse_demo_store(self.settings, self.store)
        if self._places is not None:
            await asyncio.to_thread(self._places.load)
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
    def policy(self) -> Policy:
        """The policy in force."""
        return self.rbac.policy

    def _adopt(self, policy: Policy) -> None:
        """Another policy is in force; the rate limits of requests look at it themselves."""
        self.controls.default_level = policy.detection.level
        self.validator.adopt(policy)

    @property
    def inspection_mode(self) -> str:
        """What is done about findings where a route says nothing: by the setting, or else by the policy in force."""
        return self._mode_given or self.rbac.policy.detection.mode

    # --- what takes several parts -------------------------------------------------------------------------------

    async def change_profile(self, manufacturer_id: str, changes: Mapping[str, Any]) -> list[FieldError]:
        """Check business data, then keep it encrypted; the warnings.

        Raises:
            ValidationError: a field breaks its rule, or looks like an attack.
        """
        checked = await self._rules(changes)
        problems = [e for e in checked.errors if e.field.split(".")[0].split("[")[0] in changes]
        if problems:
            raise ValidationError("Correct the named fields and try again.", errors=problems)
        await self.profiles.merge(manufacturer_id, changes)
        return checked.warnings
