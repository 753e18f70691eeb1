"""Parse a filter of LDAP (RFC 4515): does the value close a filter that it did not open, and go on with another?"""

from __future__ import annotations

import re

LONGEST = 4_096
"""Characters that are read."""

_PARENTHESIS = re.compile(r"[()]")
_CONDITION = re.compile(r"\(\s*[a-zA-Z][\w.;-]{0,40}\s*(?:[~<>]?=|:[\w.:]{0,40}=)")
_OPERATOR = re.compile(r"\(\s*[&|!]\s*(?:\(|$)|\(\s*[&|]\s*\w*\s*=?")
_ENDS = re.compile(r"\)+\s*(?:%00|\x00)")


def breaks_filter(text: str) -> bool:
    """Whether a parenthesis closes more than was open and a condition, an operator or a null byte follows."""
    text = text[:LONGEST]
    depth = 0
    for found in _PARENTHESIS.finditer(text):
        depth += 1 if found.group() == "(" else -1
        if depth < 0:
            behind = text[found.end() :].lstrip(")")
            return bool(_CONDITION.match(behind) or _OPERATOR.match(behind) or _ENDS.match(text[found.start() :]))
    return False
