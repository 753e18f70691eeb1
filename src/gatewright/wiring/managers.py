"""The five managers, built from what they share: what a setting or a neighbor means to each of them."""

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
    """What the person who makes an API key may do: the tier's permissions and our own calls, as the role has them."""

    def __init__(self, rbac: ManufacturerRBACManager) -> None:
        self._rbac = rbac

    async def permissions_of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        context = ManufacturerContext(manufacturer_id, account_id=account_id)
        permissions = await self._rbac.permissions_of(context)
        return frozenset(permissions) | frozenset(await self._rbac.access_of(context))


class BusinessCheck:
    """Findings about business data, in the form that registration asks for."""

    def __init__(self, errors: list[FieldError], warnings: list[FieldError], normalised: dict[str, Any]) -> None:
        self.errors = errors
        self.warnings = warnings
        self.normalised = normalised


class BusinessRules:
    """Business data by the validator: rules of business, and an inspection of every field."""

    def __init__(self, validator: ManufacturerSecurityValidator) -> None:
        self._validator = validator

    async def __call__(self, data: Mapping[str, Any]) -> BusinessCheck:
        result = await self._validator.validate_manufacturer_data(data)
        return BusinessCheck(result.errors, result.warnings, dict(data))


HOUR = 3_600.0


@dataclass(frozen=True)
class Shared:
    """What the managers have in common. ``shared_cache`` is None where every worker has a cache of its own."""

    settings: Settings
    policy: Policy
    store: Store
    key_database: KeyDatabase | None
    cache: Cache
    shared_cache: Cache | None
    sink: FanOut
    controls: Controls
    clock: Clock


def monitor(ground: Shared, facts: Callable[[], Awaitable[Mapping[str, Any]]]) -> SecurityMonitor:
    """The monitor, which hears every event from now on."""
    settings = ground.settings
    made = SecurityMonitor(
        ground.store,
        ground.sink,
        controls=ground.controls,
        clock=ground.clock,
        root_secret=settings.secret("secret_key"),
        previous_root_secrets=[key_bytes(key.get_secret_value()) for key in settings.previous_secret_keys],
        checkpoint_file=settings.checkpoint_file,
        anchor_file=f"{settings.database_path}.anchor" if ground.store.durable else None,
        verify_every=settings.audit_verify_hours * HOUR or None,
        posture_mode=settings.posture_mode,
        spool_dir=settings.data_dir / "spool" if ground.store.durable else None,
        facts=facts,
    )
    ground.sink.add(made)
    return made


def encryption(ground: Shared) -> ManufacturerEncryptionManager:
    """Data at rest, its keys apart from the records where a setting says so."""
    settings = ground.settings
    return ManufacturerEncryptionManager(
        settings.secret_text("encryption_key"),
        store=ground.key_database or ground.store,
        previous_keys=[key.get_secret_value() for key in settings.previous_encryption_keys],
        legacy_fernet_keys=[key.get_secret_value() for key in settings.legacy_fernet_keys],
        rotation_days=ground.policy.rotation.data_key_days,
        secret_files=secret_files(settings) if ground.store.durable else [],
        events=ground.sink,
        clock=ground.clock,
    )


def validator(ground: Shared) -> ManufacturerSecurityValidator:
    """The detector."""
    store = ground.store
    return ManufacturerSecurityValidator(
        ground.policy,
        store=store,
        cache=ground.cache if ground.shared_cache is not None or not store.durable else store,
        sink=ground.sink,
        controls=ground.controls,
        clock=ground.clock,
        manufacturers=store,
        rules_dir=ground.settings.rules_dir,
        model_file=ground.settings.model_file,
    )


def rbac(ground: Shared, on_policy: Callable[[Policy], None]) -> ManufacturerRBACManager:
    """Permissions and quotas; who is unknown is refused. ``on_policy`` is told of every policy after the first."""
    return ManufacturerRBACManager(
        ground.settings.policy_file or ground.policy,
        store=ground.store,
        sink=ground.sink,
        controls=ground.controls,
        clock=ground.clock,
        strict_tenants=True,
        on_policy=on_policy,
    )


def auth(
    ground: Shared,
    *,
    rbac: ManufacturerRBACManager,
    profiles: Profiles,
    rules: BusinessRules,
    notifier: Notifier,
    places: PlaceLookup | None,
) -> ManufacturerAuthManager:
    """Identity, with what it asks of the others."""
    settings = ground.settings
    return ManufacturerAuthManager(
        settings.secret_text("secret_key"),
        settings.token_algorithm,
        store=ground.store,
        sink=ground.sink,
        clock=ground.clock,
        options=AuthOptions.from_settings(settings, ground.policy),
        strict_tenants=True,
        places=places,
        partners=AuthDependencies(
            notifier=notifier,
            controls=ground.controls,
            throttle=ground.shared_cache,
            profiles=profiles,
            validator=rules,
            ceiling=Ceiling(rbac),
            policy=ground.policy,
        ),
    )
