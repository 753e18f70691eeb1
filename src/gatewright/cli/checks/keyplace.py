"""Where data keys are kept, and whether that is as far from the records as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.cli.checks.files import check_private
from gatewright.cli.checks.result import Check, finding, note, ok

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation
    from gatewright.settings import Settings

_APART = "Set GATEWRIGHT_KEY_DATABASE to a file elsewhere, best on another disk, and run `gatewright keys move`."


def check_key_files(settings: Settings) -> Iterator[Check]:
    """The file of the key store, before it is opened."""
    place = settings.key_database_path
    if place is None:
        if settings.database_path != ":memory:":
            yield note("key store", "data keys, wrapped, live with the records: one copy takes both", _APART)
        return
    path = Path(place)
    directory = path.resolve().parent
    if not directory.is_dir():
        yield finding("key store", f"{directory} is not there", "Mount or make the directory of the key store.")
        return
    exposed = check_private(path) if path.exists() else None
    if exposed is not None:
        yield exposed
    elif directory.is_relative_to(settings.data_dir.resolve()):
        yield note("key store", f"{place} is in the data directory: one copy takes keys and records", _APART)
    else:
        yield ok("key store", f"{place}, apart from the records; back both up, and never in one place")


async def check_keys_left(foundation: SecurityFoundation) -> Check | None:
    """Whether data keys were left with the records although they have a store of their own."""
    if foundation.key_database is None or not await foundation.store.list_data_keys(limit=1):
        return None
    return finding(
        "key store",
        "data keys are in the store of the records as well",
        "Stop the service and run `gatewright keys move`: it erases them where they are no longer used.",
    )
