"""The demo's foundation: only over a store that the demo created, and never in production.

The demo writes its passwords and its admin's TOTP secret to a file, so it must never share a store with real accounts.
"""

from __future__ import annotations

from gatewright.assembly.state import key_database, open_store
from gatewright.errors import ConfigurationError
from gatewright.foundation import SecurityFoundation
from gatewright.settings import Settings
from gatewright.storage.demo import DemoStore


class DemoFoundation(SecurityFoundation):
    """A foundation that opens a store of the demo, or claims an empty one."""

    async def initialize(self) -> None:
        """As :meth:`SecurityFoundation.initialize`; calling twice is harmless.

        Raises:
            ConfigurationError: production (code ``DEMO_IN_PRODUCTION``), or a store that the demo did not make
                (``NOT_A_DEMO_STORE``).
        """
        refuse_production(self.settings.mode)
        if self.store.durable:
            self.settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if self.key_database is not None:
                await self.key_database.initialize()
                await _claim(self.key_database, f"GATEWRIGHT_KEY_DATABASE={self.settings.key_database}")
            await self.store.initialize()
            await _claim(self.store, f"GATEWRIGHT_DATABASE={self.settings.database_path}")
        except ConfigurationError:
            await self.store.close()
            if self.key_database is not None:
                await self.key_database.close()
            raise
        await super().initialize()


async def claim_stores(settings: Settings) -> None:
    """Claim the stores of these settings for the demo.

    The key store comes first: if it is refused, the store of records is not created.

    Raises:
        ConfigurationError: the demo did not make one of them (code ``NOT_A_DEMO_STORE``).
    """
    keys = key_database(settings)
    if keys is not None:
        await keys.initialize()
        try:
            await _claim(keys, f"GATEWRIGHT_KEY_DATABASE={settings.key_database}")
        finally:
            await keys.close()
    store = open_store(settings)
    await store.initialize()
    try:
        await _claim(store, f"GATEWRIGHT_DATABASE={settings.database_path}")
    finally:
        await store.close()


def refuse_production(mode: str | None) -> None:
    """Raise ConfigurationError (code ``DEMO_IN_PRODUCTION``) in production."""
    if mode == "production":
        raise ConfigurationError(
            "GATEWRIGHT_MODE=production: the demo keeps its passwords in a file and never runs in production; leave out"
            " --demo, or set GATEWRIGHT_MODE=development.",
            code="DEMO_IN_PRODUCTION",
            context={"setting": "GATEWRIGHT_MODE"},
        )


async def require_demo_store(store: DemoStore, setting: str) -> None:
    """Raise ConfigurationError (code ``NOT_A_DEMO_STORE``) unless the demo made the store."""
    if not await store.is_demo():
        raise _not_ours(setting)


async def _claim(store: DemoStore, setting: str) -> None:
    if not await store.claim_for_demo():
        raise _not_ours(setting)


def _not_ours(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting}: this store was not made by the demo. The demo uses only a store that it created or that is empty;"
        " set GATEWRIGHT_DATA_DIR to a new directory, or leave out --demo.",
        code="NOT_A_DEMO_STORE",
        context={"setting": setting.partition("=")[0]},
    )
