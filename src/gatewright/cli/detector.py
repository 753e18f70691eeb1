"""The installation's detector, for commands that need nothing else of it: no keys, no other part is opened."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.cli.opening import load_settings
from gatewright.errors import StorageError

if TYPE_CHECKING:
    from gatewright.events import SecurityEvent
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
