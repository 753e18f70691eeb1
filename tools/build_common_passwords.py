"""Build the list of common passwords that ships with Gatewright, from zxcvbn's frequency lists.

    python tools/build_common_passwords.py

The file has the passwords that are tried first, one a line, then an empty line, then all that are refused.
"""

from __future__ import annotations

import lzma
from pathlib import Path

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from gatewright.auth import FIRST_TRIED

TARGET = Path(__file__).parent.parent / "src/gatewright/auth/passwords/data/common_passwords.txt.xz"
SHORTEST = 8
SOURCES = ("passwords", "english_wikipedia", "us_tv_and_film", "surnames", "female_names", "male_names")


def main() -> None:
    """Write the list, sorted so that it compresses well."""
    words = {word.casefold() for name in SOURCES for word in FREQUENCY_LISTS[name] if len(word) >= SHORTEST}
    leading = list(FREQUENCY_LISTS["passwords"])[:FIRST_TRIED]
    first = {word.casefold() for word in leading if len(word) >= 5 and any(c.isalpha() for c in word)}
    text = "\n".join(sorted(first)) + "\n\n" + "\n".join(sorted(words))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(words):,} passwords in {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
