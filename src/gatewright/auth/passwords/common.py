"""The passwords that attackers try first: a list that ships compressed (see ``tools/build_common_passwords.py``).

Its sources are the frequency lists of zxcvbn (MIT licence): leaked passwords and frequent words, those of at
least eight characters, since a shorter password is refused for its length.
"""

from __future__ import annotations

import lzma
import re
from functools import lru_cache
from importlib.resources import files

FIRST_TRIED = 1_000
"""How many of the most frequent passwords also count with digits and punctuation around them."""

MAX_AROUND = 6
"""How many such characters around one do not make it another password."""

_LEET = str.maketrans("01345@$!", "oleasasi")
_CORE = re.compile(r"^[\W\d_]*(.*?)[\W\d_]*$", re.DOTALL)


def is_common(password: str) -> bool:
    """Whether the password, without case, is on the list, or one of the very first with little around it."""
    words, first = _lists()
    folded = password.casefold()
    if folded in words or folded.translate(_LEET) in words:
        return True
    match = _CORE.match(folded)
    core = match.group(1) if match else folded
    return len(folded) - len(core) <= MAX_AROUND and (core in first or core.translate(_LEET) in first)


@lru_cache(maxsize=1)
def _lists() -> tuple[frozenset[str], frozenset[str]]:
    data = lzma.decompress(files(__package__).joinpath("data", "common_passwords.txt.xz").read_bytes()).decode()
    first, _, rest = data.partition("\n\n")
    return frozenset(rest.split("\n")), frozenset(first.split("\n"))
