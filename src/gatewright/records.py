"""The base class of results and stored records."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable, typed value with attribute access and, for older callers, access by key.

    ``record.allowed`` and ``record["allowed"]`` are the same. Fields are plain values (``str``, not enum members) and
    aware UTC datetimes. To change a field, use ``msgspec.structs.replace(record, field=...)``, which returns a copy.

    Subclasses repeat ``frozen=True, kw_only=True`` because type checkers do not inherit them.
    """

    def __getitem__(self, key: str) -> Any:
        if key in self.__struct_fields__:
            return getattr(self, key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return key in self.__struct_fields__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_fields__)

    def keys(self) -> tuple[str, ...]:
        """The field names, so that ``dict(record)`` works."""
        return self.__struct_fields__

    def get(self, key: str, default: Any = None) -> Any:
        """The field ``key``, or ``default`` if there is no such field."""
        return getattr(self, key) if key in self.__struct_fields__ else default

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain dictionaries and lists, recursively. Datetimes are kept."""
        plain: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(datetime.datetime, datetime.date, bytes))
        return plain
