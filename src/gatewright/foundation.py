"""SecurityFoundation: the five managers over one store, one cache, one event sink and one set of controls.

The construction of each manager, and the adapters between packages, are in ``wiring``.
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
from gatewright.encryption.key_store_separation import check_key_store
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

MAINTENANCE_INTERVAL = 3_600.0
REENCRYPTED_PER_SECOND = 200.0


class SecurityFoundation:
    """All of Gatewright, built from settings.

    Args:
        settings: backends, keys and limits. Defaults to the environment.
        policy: tiers, permissions and limits. Defaults to the policy file of the settings, or the built-in policy.
        store, cache, notifier, clock: replacements for those that the settings select.

    Raises:
        ConfigurationError: a setting or the policy is invalid.
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
        self.given_inspection_mode: str | None = self.settings.inspection_mode if given else None
        self.declared_exclusions: list[Exclusion] = []
        """Exclusions declared in code, by the routes used so far."""
        self._places = places_of(self.settings)
        self._open = False
        self._maintenance: asyncio.Task[None] | None = None
        self._invalidation = invalidation(self.cache, self.store)
        self._build(first)

    def _build(self, policy: Policy) -> None:
        shared = managers.Shared(
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
        self.monitor: SecurityMonitor = managers.monitor(shared, PostureFacts(self))
        self.encryption: ManufacturerEncryptionManager = managers.encryption(shared)
        self.profiles = Profiles(self.encryption, self.store)
        self.record_sources: list[RecordSource] = [self.profiles, IdempotencySource(self.store)]
        """Sources of encrypted records, for re-encryption. An application may add its own."""
        self.validator: ManufacturerSecurityValidator = managers.validator(shared)
        self.rbac: ManufacturerRBACManager = managers.rbac(shared, self._adopt)
        self._rules = BusinessRules(self.validator)
        self.auth: ManufacturerAuthManager = managers.auth(
            shared,
            rbac=self.rbac,
            profiles=self.profiles,
            rules=self._rules,
            notifier=self.notifier,
            places=self._places,
        )
        directions = Directions(api_url=self.settings.public_url, pages_url=self.settings.account_pages_url)
        self.memberships = Memberships(self.rbac, self.auth, directions)

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the store, then everything built on it. Calling twice is harmless."""
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
        await check_key_store(self.key_database or self.store, self.store)
        await self.cache.initialize()
        if self._invalidation is not None:
            self._invalidation.start()
        for part in (self.monitor, self.encryption, self.validator, self.rbac, self.auth):
            await part.initialize()
        self._open = True
        self._maintenance = asyncio.get_running_loop().create_task(self._maintain())

    async def close(self) -> None:
        """Close everything, the store last. Calling twice is harmless."""
        if not self._open:
            return
        self._open = False
        if self._maintenance is not None:
            self._maintenance.cancel()
            await asyncio.gather(self._maintenance, return_exceptions=True)
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
        """Lifespan of an ASGI application: ``FastAPI(lifespan=foundation.lifespan)``."""
        async with self:
            yield

    async def _maintain(self) -> None:
        """Rotate data keys that are due, and re-encrypt records under the new ones."""
        while True:
            await asyncio.sleep(MAINTENANCE_INTERVAL)
            with contextlib.suppress(StorageError):  # the store is unavailable: try again next time
                if await self.encryption.rotate_if_due() is not None:
                    await self.encryption.reencrypt_all(self.record_sources, records_per_second=REENCRYPTED_PER_SECOND)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.rbac.policy

    def _adopt(self, policy: Policy) -> None:
        """Adopt a new policy. Request rate limits read the policy themselves."""
        self.controls.default_level = policy.detection.level
        self.validator.adopt(policy)

    @property
    def inspection_mode(self) -> str:
        """The default inspection mode: from the setting, or else from the policy in force."""
        return self.given_inspection_mode or self.rbac.policy.detection.mode

    # --- across packages ----------------------------------------------------------------------------------------

    async def change_profile(self, manufacturer_id: str, changes: Mapping[str, Any]) -> list[FieldError]:
        """Validate business data, store it encrypted, and return warnings.

        Raises:
            ValidationError: a field is invalid, or contains an attack.
        """
        checked = await self._rules(changes)
        problems = [e for e in checked.errors if e.field.split(".")[0].split("[")[0] in changes]
        if problems:
            raise ValidationError(
                "The profile is invalid. Correct the fields named in errors and try again.", errors=problems
            )
        await self.profiles.merge(manufacturer_id, changes)
        return checked.warnings
