"""What a shell makes a command of that is none as written: a name with wildcards, a variable set just before."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from gatewright.threats.structure.words import words

PLACES = 64
"""Names and settings of one text that are looked at."""

_GLOB = re.compile(r"/([a-z]{0,8}[?\[*][\w?*\[\]]{0,12})/{1,3}([\w?*\[\]-]{1,24})", re.IGNORECASE)
_WILD = re.compile(r"[?\[*]")
_DIRECTORIES = words("bin sbin usr etc var tmp dev proc home root opt")
_SET = re.compile(r"(?:^|[\s;|&`({])([a-z_]\w{0,15})=(?:\$?['\"][^'\"\n]{1,80}['\"]|[^\s;|&]{1,80}+)(?=\s*[;|&])", re.I)
_USED = re.compile(r"[;|&`(]\s*(?:eval\s+)?\$\{?([a-z_]\w{0,15})", re.IGNORECASE)


def runs_expanded(text: str) -> bool:
    """Whether a path with wildcards stands for one of the system's, or a variable is set and then run."""
    return ("/" in text and any(_is_of_system(*found.groups()) for found in _first(_GLOB, text))) or (
        "=" in text and "$" in text and _runs_what_it_set(text)
    )


def _is_of_system(directory: str, name: str) -> bool:
    """A bare star stands for any directory, and says nothing."""
    if not directory.strip("*") or not (_WILD.search(name) or "?" in directory):
        return False
    return any(fnmatchcase(known, directory.lower()) for known in _DIRECTORIES)


def _runs_what_it_set(text: str) -> bool:
    names = {found.group(1) for found in _first(_SET, text)}
    return bool(names) and any(found.group(1) in names for found in _first(_USED, text))


def _first(expression: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return [found for _, found in zip(range(PLACES), expression.finditer(text), strict=False)]
