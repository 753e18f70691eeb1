"""Facts about an installation for posture assessment: counts, ages and switches, no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from gatewright.auth import ManufacturerAuthManager
from gatewright.clock import Clock
from gatewright.encryption import ManufacturerEncryptionManager
from gatewright.inspection_policy import Exclusion, expired, expiring
from gatewright.monitoring import SecurityMonitor
from gatewright.rbac import ManufacturerRBACManager
from gatewright.settings import Settings
from gatewright.storage.protocol import Store
from gatewright.storage.tenants import PLATFORM_TENANT
from gatewright.threats import ManufacturerSecurityValidator

DAY = 86_400.0


class Installation(Protocol):
    """The installation to be assessed: the foundation."""

    settings: Settings
    clock: Clock
    store: Store
    monitor: SecurityMonitor
    encryption: ManufacturerEncryptionManager
    validator: ManufacturerSecurityValidator
    rbac: ManufacturerRBACManager
    auth: ManufacturerAuthManager
    declared_exclusions: list[Exclusion]

    @property
    def inspection_mode(self) -> str: ...


class PostureFacts:
    """Collects the facts of a foundation on each call."""

    def __init__(self, foundation: Installation) -> None:
        self._foundation = foundation

    async def __call__(self) -> Mapping[str, Any]:
        """Collect the facts. Raises StorageError while the store is unavailable."""
        installation = self._foundation
        verified = installation.monitor.audit.last_verification
        return {
            **self._settings(),
            **self._exclusions(),
            "signing_key_age_days": await self._signing_key_age(),
            "data_key_age_days": await self._data_key_age(),
            "failed_compliance_checks": await self._failed_compliance(),
            "staff_without_mfa": await self._staff_without_mfa(),
            "detector_degraded": installation.validator.degraded,
            "store_away": installation.monitor.store_away,
            "audit_intact": None if verified is None else verified.valid,
        }

    def _settings(self) -> dict[str, Any]:
        settings = self._foundation.settings
        return {
            "mode": settings.mode,
            "debug": settings.debug,
            "mfa_required": settings.mfa_required,
            "inspection_mode": self._foundation.inspection_mode,
            "cookie_secure": settings.cookie_secure,
            "public_url_https": settings.public_url.startswith("https://"),
        }

    def _exclusions(self) -> dict[str, Any]:
        installation = self._foundation
        now = installation.clock.now()
        known = [*installation.rbac.policy.inspection.exclusions, *installation.declared_exclusions]
        return {
            "exclusions_expired": [one.described() for one in expired(known, now)],
            "exclusions_expiring": [one.described() for one in expiring(known, now)],
        }

    async def _signing_key_age(self) -> float | None:
        keys = await self._foundation.store.list_signing_keys()
        return self._age([key.created_at for key in keys if key.retired_at is None])

    async def _data_key_age(self) -> float | None:
        return self._age([key.created_at for key in await self._foundation.encryption.list_keys()])

    async def _failed_compliance(self) -> list[str]:
        report = await self._foundation.encryption.validate_encryption_compliance()
        return [found.check for found in report.findings if found.status == "failed"]

    async def _staff_without_mfa(self) -> int:
        accounts = await self._foundation.store.list_accounts(PLATFORM_TENANT)
        enabled = self._foundation.auth.mfa_enabled
        staff = [account.account_id for account in accounts if account.status == "active"]
        return (await asyncio.gather(*(enabled(PLATFORM_TENANT, account_id=one) for one in staff))).count(False)

    def _age(self, created: list[datetime]) -> float | None:
        """Age of the newest, in days."""
        if not created:
            return None
        return round((self._foundation.clock.now() - max(created)).total_seconds() / DAY, 1)
