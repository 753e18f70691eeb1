"""Construction of the five managers from settings, shared parts, and adapters for what they need of each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.auth import AuthOptions, ManufacturerAuthManager
from gatewright.auth.client_signals import PlaceLookup
from gatewright.auth.services import AuthDependencies
from gatewright.clock import Clock
from gatewright.controls import Controls
from gatewright.encryption import ManufacturerEncryptionManager, Profiles
from gatewright.errors import FieldError
from gatewright.events import FanOut
from gatewright.monitoring import SecurityMonitor
from gatewright.notify import Notifier
from gatewright.policy import Policy
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.settings import Settings, key_bytes
from gatewright.storage.cache import Cache
from gatewright.storage.protocol import Store
from gatewright.threats import ManufacturerSecurityValidator
from gatewright.wiring.backends import KeyDatabase, secret_files


class Ceiling:
    """Permissions of the person who creates an API key, which are the most that the key can have."""

    def __init__(self, rbac: ManufacturerRBACManager) -> None:
        self._rbac = rbac

    async def permissions_of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        context = ManufacturerContext(manufacturer_id, account_id=account_id)
        permissions = await self._rbac.permissions_of(context)
        return frozenset(permissions) | frozenset(await self._rbac.access_of(context))


class BusinessCheck:
    """Results of a business-data check, in the form that registration expects."""

    def __init__(self, errors: list[FieldError], warnings: list[FieldError], normalized: dict[str, Any]) -> None:
        self.errors = errors
        self.warnings = warnings
        self.normalized = normalized


class BusinessRules:
    """Checks business data with the validator: business rules, and inspection of every field."""

    def __init__(self, validator: ManufacturerSecurityValidator) -> None:
        self._validator = validator

    async def __call__(self, data: Mapping[str, Any]) -> BusinessCheck:
        result = await self._validator.validate_manufacturer_data(data)
        return BusinessCheck(result.errors, result.warnings, dict(data))


HOUR = 3_600.0


@dataclass(frozen=True)
class Shared:
    """What all managers share. ``shared_cache`` is None if each worker has its own cache."""

    settings: Settings
    policy: Policy
    store: Store
    key_database: KeyDatabase | None
    cache: Cache
    shared_cache: Cache | None
    sink: FanOut
    controls: Controls
    clock: Clock


def monitor(shared: Shared, facts: Callable[[], Awaitable[Mapping[str, Any]]]) -> SecurityMonitor:
    """The monitor, subscribed to every event."""
    settings = shared.settings
    made = SecurityMonitor(
        shared.store,
        shared.sink,
        controls=shared.controls,
        clock=shared.clock,
        root_secret=settings.secret("secret_key"),
        previous_root_secrets=[key_bytes(key.get_secret_value()) for key in settings.previous_secret_keys],
        checkpoint_file=settings.checkpoint_file,
        anchor_file=f"{settings.database_path}.anchor" if shared.store.durable else None,
        verify_every=settings.audit_verify_hours * HOUR or None,
        posture_mode=settings.posture_mode,
        spool_dir=settings.data_dir / "spool" if shared.store.durable else None,
        facts=facts,
    )
    shared.sink.add(made)
    return made


def encryption(shared: Shared) -> ManufacturerEncryptionManager:
    """Encryption, with its keys in a separate store if so configured."""
    settings = shared.settings
    return ManufacturerEncryptionManager(
        settings.secret_text("encryption_key"),
        store=shared.key_database or shared.store,
        previous_keys=[key.get_secret_value() for key in settings.previous_encryption_keys],
        legacy_fernet_keys=[key.get_secret_value() for key in settings.legacy_fernet_keys],
        rotation_days=shared.policy.rotation.data_key_days,
        secret_files=secret_files(settings) if shared.store.durable else [],
        sink=shared.sink,
        clock=shared.clock,
    )


def validator(shared: Shared) -> ManufacturerSecurityValidator:
    """Threat detection and validation."""
    store = shared.store
    return ManufacturerSecurityValidator(
        shared.policy,
        store=store,
        cache=shared.cache if shared.shared_cache is not None or not store.durable else store,
        sink=shared.sink,
        controls=shared.controls,
        clock=shared.clock,
        manufacturers=store,
        rules_dir=shared.settings.rules_dir,
        model_file=shared.settings.model_file,
    )


def rbac(shared: Shared, on_policy: Callable[[Policy], None]) -> ManufacturerRBACManager:
    """Permissions and quotas. Unknown manufacturers are refused. ``on_policy`` is called with each new policy."""
    return ManufacturerRBACManager(
        shared.settings.policy_file or shared.policy,
        store=shared.store,
        sink=shared.sink,
        controls=shared.controls,
        clock=shared.clock,
        strict_tenants=True,
        on_policy=on_policy,
    )


def auth(
    shared: Shared,
    *,
    rbac: ManufacturerRBACManager,
    profiles: Profiles,
    rules: BusinessRules,
    notifier: Notifier,
    places: PlaceLookup | None,
) -> ManufacturerAuthManager:
    """Identity, with its dependencies on the other packages."""
    settings = shared.settings
    return ManufacturerAuthManager(
        settings.secret_text("secret_key"),
        settings.token_algorithm,
        store=shared.store,
        sink=shared.sink,
        clock=shared.clock,
        options=AuthOptions.from_settings(settings, shared.policy),
        strict_tenants=True,
        dependencies=AuthDependencies(
            notifier=notifier,
            controls=shared.controls,
            throttle=shared.shared_cache,
            profiles=profiles,
            validator=rules,
            ceiling=Ceiling(rbac),
            policy=shared.policy,
            places=places,
        ),
    )
