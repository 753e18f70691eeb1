"""Record: the base of every result and stored record."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable, typed value that is read by attribute and, for older callers, by key.

    ``record.allowed`` and ``record["allowed"]`` are the same. Fields hold plain values (``str``, not
    enum members) and aware UTC datetimes. A changed copy is ``msgspec.structs.replace(record, field=...)``.

    Subclasses say ``frozen=True, kw_only=True`` again: type checkers do not inherit the words.
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
        """The field called ``key``, or ``default`` where there is none."""
        return getattr(self, key) if key in self.__struct_fields__ else default

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists all the way down; datetimes stay datetimes."""
        plain: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(datetime.datetime, datetime.date, bytes))
        return plain
