"""Bootstrap of a command: its settings, an opened foundation, or the detector alone."""

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


_WORTH_SAYING = {
    "unavailable": "the model is missing or damaged; rules alone decide",
    "mismatched": "what was learned belongs to another base model and is left out",
}


def installed_policy(settings: Settings) -> Policy:
    """The policy that the settings name; raises ConfigurationError where it is wrong."""
    from gatewright.policy import load_policy

    return load_policy(settings.policy_file)


@asynccontextmanager
async def installed_detector() -> AsyncIterator[ManufacturerSecurityValidator]:
    """The detector as the service has it: the policy's level, the rules and the model that the settings name, and
    what was learned from feedback. Where nothing is installed it is the one that ships.

    Raises:
        ConfigurationError: settings, policy or rules are wrong.
    """
    from gatewright.threats import ManufacturerSecurityValidator

    settings = load_settings()
    store = await _open_store(settings)
    try:
        async with ManufacturerSecurityValidator(
            installed_policy(settings),
            store=store,
            sink=_Notes(),
            rules_dir=settings.rules_dir,
            model_file=settings.model_file,
        ) as validator:
            yield validator
    finally:
        if store is not None:
            await store.close()


async def _open_store(settings: Settings) -> SqliteStore | None:
    """The store, for the versions in it; None where there is none yet, or none that can be read."""
    path = settings.database_path
    if not _is_there(path):
        return None
    from gatewright.storage.sqlite.store import SqliteStore

    store = SqliteStore(path, durable=settings.durable)
    try:
        await store.initialize()
    except StorageError as error:
        _say(f"{path} cannot be read ({error.message}); what was learned is left out")
        return None
    return store


def _is_there(path: str) -> bool:
    return path != ":memory:" and Path(path).is_file()


class _Notes:
    """Says on standard error what makes the detector another one than people expect."""

    def emit(self, event: SecurityEvent) -> None:
        if text := _WORTH_SAYING.get(event.kind.removeprefix("threats:model:")):
            _say(text)


def _say(text: str) -> None:
    sys.stderr.write(f"gatewright: note: {text}\n")


T = TypeVar("T")


def data_directory() -> Path:
    """Where the installation keeps its files, before settings are read."""
    from gatewright.settings import Settings

    return Path(os.environ.get("GATEWRIGHT_DATA_DIR") or Settings.model_fields["data_dir"].default)


def find_keys() -> None:
    """Point the settings at the keys that ``init`` or the demo made, unless they are told where to look.

    Only the place goes into the environment, never a key.
    """
    from gatewright.encryption.key_files import KEYS_DIRECTORY

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
