"""How a command comes to its settings and to an opened foundation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gatewright.errors import ConfigurationError

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation
    from gatewright.settings import Settings

T = TypeVar("T")


def data_directory() -> Path:
    """Where the installation keeps its files, before settings are read."""
    from gatewright.settings import Settings

    return Path(os.environ.get("GATEWRIGHT_DATA_DIR") or Settings.model_fields["data_dir"].default)


def find_keys() -> None:
    """Point the settings at the keys that ``init`` or the demo made, unless they are told where to look.

    Only the place goes into the environment, never a key.
    """
    from gatewright.encryption.keyfiles import KEYS_DIRECTORY

    made = data_directory() / KEYS_DIRECTORY
    if "GATEWRIGHT_SECRETS_DIR" not in os.environ and made.is_dir():
        os.environ["GATEWRIGHT_SECRETS_DIR"] = str(made)


def load_settings() -> Settings:
    """The settings of this installation.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from gatewright.settings import Settings

    find_keys()
    return Settings()


def require_keys(settings: Settings) -> None:
    """Refuse to write what nobody could read again: a durable store needs durable keys.

    Raises:
        ConfigurationError: a key is missing.
    """
    if settings.database_path == ":memory:":
        return
    for name in ("secret_key", "encryption_key"):
        if settings.secret(name) is None:
            variable = f"GATEWRIGHT_{name.upper()}"
            raise ConfigurationError(
                f"{variable}=(missing): a store on disk needs a key that outlives the process; "
                "make the keys with `gatewright init`, or set the variable.",
                context={"setting": variable},
            )


@asynccontextmanager
async def opened() -> AsyncIterator[SecurityFoundation]:
    """The foundation of this installation, opened, with the same settings as the service has."""
    settings = load_settings()
    require_keys(settings)
    from gatewright.foundation import SecurityFoundation

    foundation = SecurityFoundation(settings)
    await foundation.initialize()
    try:
        yield foundation
    finally:
        await foundation.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the asynchronous part of a command."""
    import asyncio

    return asyncio.run(work)
