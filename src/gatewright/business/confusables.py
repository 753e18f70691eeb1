"""Look-alike letters: the skeleton under which names that look the same are the same (after Unicode TS 39)."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_LOOK_ALIKES = {
    "a": "аαɑАΑ",
    "b": "ЬВβвƅь",
    "c": "сϲⅽᴄСϹ",
    "d": "ԁⅾɗ",
    "e": "еєҽЕΕ",
    "f": "ғϝ",
    "g": "ɡցԍ",
    "h": "һНΗнհ",
    "i": "іιıӏɩΙІЇї",
    "j": "јϳЈյ",
    "k": "кκΚКⲕ",
    "l": "ⅼӀןǀ",
    "m": "мΜМⅿ",
    "n": "ոпηΝ",
    "o": "оοΟОօσ",
    "p": "рρΡР",
    "q": "ԛգ",
    "r": "гᴦⲅ",
    "s": "ѕЅ",
    "t": "тτΤТ",
    "u": "υцսᴜ",
    "v": "ѵνⅴᴠ",
    "w": "ԝωшᴡ",
    "x": "хχΧХⅹ",
    "y": "уүγΥУ",
    "z": "ᴢΖ",
}
_TABLE = {ord(other): latin for latin, others in _LOOK_ALIKES.items() for other in others}
_DIGITS_AS_LETTERS = {ord("0"): "o", ord("1"): "l", ord("5"): "s", ord("|"): "l", ord("i"): "l"}
_LEGAL_FORMS = frozenset(
    {"ab", "ag", "as", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "kg", "kk"}
    | {"limited", "llc", "llp", "lp", "ltd", "nv", "oy", "plc", "pte", "pty", "sa", "sarl", "sas", "se", "spa", "srl"}
)


def skeleton(name: str) -> str:
    """What is left of a name when look-alikes are one: letters only, folded, without accents and legal form.

    ``Acme Corp.``, ``АСМЕ GmbH`` (in Cyrillic) and ``Acrne`` give the same skeleton. Only good for comparing.

    Args:
        name: at most a few hundred characters; the caller bounds it.
    """
    spread = unicodedata.normalize("NFKD", name.translate(_TABLE))
    bare = "".join(character for character in spread if not unicodedata.combining(character))
    folded = bare.casefold().translate(_TABLE)
    words = "".join(character if character.isalnum() or character == "|" else " " for character in folded).split()
    while len(words) > 1 and words[-1] in _LEGAL_FORMS:
        words.pop()
    return "".join(words).translate(_DIGITS_AS_LETTERS).replace("rn", "m").replace("vv", "w")


def mixes_scripts(word: str) -> bool:
    """Whether one word has Latin letters beside letters of an alphabet that looks like it."""
    scripts = {_script(character) for character in word if character.isalpha()}
    return "LATIN" in scripts and not scripts.isdisjoint({"CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE"})


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The first word of the character's name, which is its script for every alphabet asked about here."""
    return unicodedata.name(character, "").partition(" ")[0]
