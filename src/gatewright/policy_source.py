"""Locations in the text of a policy, so that an error can name file, line, key, value and fix."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, get_args

import msgspec

from gatewright.errors import ConfigurationError
from gatewright.inspection_policy import Mode, ThreatName
from gatewright.records import Record

Key = tuple[str, ...]
"""The path of a key. Entries of a list are named by their index."""


class PolicySource:
    """The text of a policy, with the line of each key.

    Args:
        name: the name of the file, for errors.
        text: the contents of the file.
        data: the same, parsed.
        example: a policy whose fields are the known keys.
        entries: a sample entry, or its type, for each table and list whose keys the platform chooses.
    """

    def __init__(
        self, name: str, text: str, data: Mapping[str, Any], example: Record, entries: Mapping[str, Any]
    ) -> None:
        self._name, self._lines, self._data = name, text.splitlines(), data
        self._example, self._entries = example, entries

    def refuse(self, key: Key, rule: str, remedy: str) -> NoReturn:
        """Raise the error for the value at ``key``."""
        value = self._value(key)
        shown = f" = {value!r}"[:80] if value is not None else ""
        end = "" if remedy.endswith("?") else "."
        name = re.sub(r"\.([0-9]+)(?=\.|\Z)", r"[\1]", ".".join(key))
        raise ConfigurationError(
            f"{self._name}:{self._line(key)}: {name}{shown}: {rule}; {remedy}{end}", context={"key": name}
        )

    def refuse_shape(self, message: str) -> NoReturn:
        """Raise an error of msgspec (``Expected `int`, got `str` - at `$.tiers[...].limit```) with its location."""
        what, _, where = message.partition(" - at `")
        key = self._path(where.rstrip("`"))
        if unknown := re.search(r"unknown field `([^`]+)`", what):
            known = self._fields_at(key)
            close = difflib.get_close_matches(unknown.group(1), known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known keys here: {', '.join(known)}"
            self.refuse((*key, unknown.group(1)), "unknown key", remedy)
        if missing := re.search(r"missing required field `([^`]+)`", what):
            self.refuse((*key, missing.group(1)), "this key is required", "add it")
        remedy = "write a value of that type"
        if wrong := re.match(r"Invalid enum value '([^']*)'", what):
            close = difflib.get_close_matches(wrong.group(1), [*get_args(ThreatName), *get_args(Mode)], n=1)
            remedy = f"did you mean {close[0]}?" if close else "see docs/reference/policy.md for the allowed values"
        self.refuse(key, what[0].lower() + what[1:].replace("`", ""), remedy)

    def _path(self, where: str) -> Key:
        """``$.tiers[...].limits`` with each ``[...]`` replaced by the first entry that does not match the schema."""
        parts: list[str] = []
        for part in re.findall(r"\.(\w+)|(\[\.\.\.\])|\[(\d+)\]", where):
            if part[1]:
                parts.append(self._culprit(tuple(parts)))
            else:
                parts.append(part[0] or part[2])
        return tuple(parts)

    def _culprit(self, key: Key) -> str:
        example = self._entries.get(key[-1], False)
        kind = type(example) if isinstance(example, Record | str | bool) else example
        entries = self._value(key)
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            try:
                msgspec.convert(entry, kind)
            except msgspec.ValidationError:
                return str(name)
        return "?"

    def _fields_at(self, key: Key) -> list[str]:
        example: Any = self._example
        for outer, part in zip(("", *key), key, strict=False):
            example = self._entries[outer] if isinstance(example, dict | tuple) else getattr(example, part)
        return sorted(example.__struct_fields__)

    def _value(self, key: Key) -> Any:
        value: Any = self._data
        for part in key:
            if isinstance(value, list):
                value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
            else:
                value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _line(self, key: Key) -> int:
        """The line of ``key``: in its table, inline, or the header of the table."""
        for length in range(len(key), 0, -1):
            header, rest = key[: length - 1], key[length - 1]
            wanted = re.compile(rf"[\"']?{re.escape(rest)}[\"']?\s*=")
            for number, table, line in self._placed_lines():
                if table == key[:length] or (table == header and wanted.match(line)):
                    return number
        return 1

    def _placed_lines(self) -> Iterator[tuple[int, Key, str]]:
        """Each line with its number and its table. Tables in an array are numbered."""
        counts: Counter[Key] = Counter()
        table: Key = ()
        for number, line in enumerate(map(str.strip, self._lines), 1):
            if line.startswith("["):
                names = tuple(part.strip().strip("\"'") for part in line.split("#")[0].strip().strip("[]").split("."))
                if line.startswith("[["):
                    counts[names] += 1
                table = ()
                for name in names:
                    table = (*table, name)
                    plain = tuple(part for part in table if not part.isdigit())
                    if counts[plain]:
                        table = (*table, str(counts[plain] - 1))
            yield number, table, line
