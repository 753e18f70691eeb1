"""Bootstrap of commands: settings, an initialized foundation, or the detector alone."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gatewright.errors import ConfigurationError, StorageError

if TYPE_CHECKING:
    from gatewright.events import SecurityEvent
    from gatewright.foundation import SecurityFoundation
    from gatewright.policy import Policy
    from gatewright.settings import Settings
    from gatewright.storage.sqlite.store import SqliteStore
    from gatewright.threats import ManufacturerSecurityValidator


_NOTES = {
    "unavailable": "the model is missing or corrupted; only rules are used",
    "mismatched": "learned corrections belong to another base model and are ignored",
}


def installed_policy(settings: Settings) -> Policy:
    """Load the configured policy. Raises ConfigurationError if it is invalid."""
    from gatewright.policy import load_policy

    return load_policy(settings.policy_file)


@asynccontextmanager
async def installed_detector() -> AsyncIterator[ManufacturerSecurityValidator]:
    """The detector as the service runs it: configured level, rules and model, with learned corrections.

    Without an installation, it is the bundled detector.

    Raises:
        ConfigurationError: settings, policy or rules are invalid.
    """
    from gatewright.threats import ManufacturerSecurityValidator

    settings = load_settings()
    store = await _open_store(settings)
    try:
        async with ManufacturerSecurityValidator(
            installed_policy(settings),
            store=store,
            sink=_NoteSink(),
            rules_dir=settings.rules_dir,
            model_file=settings.model_file,
        ) as validator:
            yield validator
    finally:
        if store is not None:
            await store.close()


async def _open_store(settings: Settings) -> SqliteStore | None:
    """The store with the model versions, or None if it does not exist or cannot be read."""
    path = settings.database_path
    if not _is_there(path):
        return None
    from gatewright.storage.sqlite.store import SqliteStore

    store = SqliteStore(path, durable=settings.durable)
    try:
        await store.initialize()
    except StorageError as error:
        _say(f"{path} cannot be read ({error.message}); learned corrections are ignored")
        return None
    return store


def _is_there(path: str) -> bool:
    return path != ":memory:" and Path(path).is_file()


class _NoteSink:
    """Prints a note to standard error when the detector is not what users expect."""

    def emit(self, event: SecurityEvent) -> None:
        if text := _NOTES.get(event.kind.removeprefix("threats:model:")):
            _say(text)


def _say(text: str) -> None:
    sys.stderr.write(f"gatewright: note: {text}\n")


T = TypeVar("T")


def data_directory() -> Path:
    """The data directory, known before settings are loaded."""
    from gatewright.settings import Settings

    return Path(os.environ.get("GATEWRIGHT_DATA_DIR") or Settings.model_fields["data_dir"].default)


def find_keys() -> None:
    """Point the settings at the keys created by ``init`` or the demo, unless configured otherwise.

    Only their path enters the environment, never a key.
    """
    from gatewright.encryption.key_files import KEYS_DIRECTORY

    made = data_directory() / KEYS_DIRECTORY
    if "GATEWRIGHT_SECRETS_DIR" not in os.environ and made.is_dir():
        os.environ["GATEWRIGHT_SECRETS_DIR"] = str(made)


def load_settings() -> Settings:
    """Load the settings of this installation.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    from gatewright.settings import Settings

    find_keys()
    return Settings()


def require_keys(settings: Settings) -> None:
    """Refuse to run a durable store without durable keys, since its data could never be read again.

    Raises:
        ConfigurationError: a key is missing.
    """
    if settings.database_path == ":memory:":
        return
    for name in ("secret_key", "encryption_key"):
        if settings.secret(name) is None:
            variable = f"GATEWRIGHT_{name.upper()}"
            raise ConfigurationError(
                f"{variable}=(missing): a store on disk requires a permanent key; "
                "create keys with `gatewright init`, or set the variable.",
                context={"setting": variable},
            )


@asynccontextmanager
async def opened() -> AsyncIterator[SecurityFoundation]:
    """The initialized foundation, with the same settings as the service."""
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
    """Run a coroutine to completion."""
    import asyncio

    return asyncio.run(work)
