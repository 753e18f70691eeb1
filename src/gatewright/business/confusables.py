"""Confusable characters: equal skeletons for names that look the same (Unicode TS 39)."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_LOOK_ALIKES = {
    "a": "аαɑАΑ@Ꭺᗩꓮ",
    "b": "ЬВβвƅьƀᏴᗷꓐ",
    "c": "сϲⅽᴄСϹ¢ȼᏟᏣᑕꓚ",
    "d": "ԁⅾɗđĐðÐᎠᗪꓓ",
    "e": "еєҽЕΕᎬꓰ",
    "f": "ғϝᖴꓝ",
    "g": "ɡցԍᏀꓖ",
    "h": "һНΗнհħĦᎻᕼꓧ",
    "i": "іιıӏɩΙІЇїɨᎥꓲ",
    "j": "јϳЈյᎫᒍꓙ",
    "k": "кκΚКⲕᏦꓗ",
    "l": "ⅼӀןǀłŁᏞᒪꓡ",
    "m": "мΜМⅿᎷᗰꓟ",
    "n": "ոпηΝᑎꓠ",
    "o": "оοΟОօσøØꓳ",
    "p": "рρΡРᏢᑭꓑ",
    "q": "ԛգ",
    "r": "гᴦⲅᎡᏒᖇꓣ",
    "s": "ѕЅ$Ꮪꓢ",
    "t": "тτΤТŧŦᎢꓔ",
    "u": "υцսᴜᑌꓴ",
    "v": "ѵνⅴᴠᏙᐯꓦ",
    "w": "ԝωшᴡᎳᏔᗯꓪ",
    "x": "хχΧХⅹ᙭ꓫ",
    "y": "уүγΥУᎩꓬ",
    "z": "ᴢΖᏃꓜ",
}
_TABLE = {ord(other): latin for latin, others in _LOOK_ALIKES.items() for other in others}
for _first_of_an_alphabet in (0x1F150, 0x1F170, 0x1F1E6):  # white on black, in circles and squares; regional indicators
    _TABLE |= {_first_of_an_alphabet + place: chr(ord("a") + place) for place in range(26)}
_TWINS = frozenset("асԁеԍһіјӏорԛѕԝхуѵονρօոսհց")
"""Lowercase letters of other alphabets that look like Latin ones."""
_OTHERS_LIKE_LATIN = frozenset({"ARMENIAN", "CANADIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "GREEK", "LISU"})
_DIGITS_AS_LETTERS = {ord("0"): "o", ord("1"): "l", ord("5"): "s", ord("|"): "l", ord("i"): "l"}
_LEGAL_FORMS = frozenset(
    {"ab", "ag", "as", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "kg", "kk"}
    | {"limited", "llc", "llp", "lp", "ltd", "nv", "oy", "plc", "pte", "pty", "sa", "sarl", "sas", "se", "spa", "srl"}
)


def skeleton(name: str) -> str:
    """A key for comparing the appearance of names: case-folded letters without accents and legal form.

    ``Acme Corp.``, ``АСМЕ GmbH`` (in Cyrillic) and ``Acrne`` have the same skeleton.

    Args:
        name: at most a few hundred characters, as limited by the caller.
    """
    decomposed = unicodedata.normalize("NFKD", name.translate(_TABLE))
    unaccented = "".join(character for character in decomposed if not unicodedata.combining(character))
    folded = unaccented.casefold().translate(_TABLE)
    words = "".join(character if character.isalnum() or character == "|" else " " for character in folded).split()
    while len(words) > 1 and words[-1] in _LEGAL_FORMS:
        words.pop()
    return "".join(words).translate(_DIGITS_AS_LETTERS).replace("rn", "m").replace("vv", "w")


def imitates_latin(domain: str) -> bool:
    """Whether a label of a Unicode domain mixes alphabets, or looks Latin but is not, below a Latin TLD."""
    labels = domain.casefold().split(".")
    return any(mixes_scripts(label) or (labels[-1].isascii() and _reads_as_latin(label)) for label in labels)


def _reads_as_latin(label: str) -> bool:
    return not label.isascii() and all(character in _TWINS for character in label if character.isalpha())


def mixes_scripts(word: str) -> bool:
    """Whether a word mixes Latin letters with those of a similar alphabet."""
    scripts = {_script(character) for character in word if character.isalpha()}
    return "LATIN" in scripts and not scripts.isdisjoint(_OTHERS_LIKE_LATIN)


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The script of a character: the first word of its Unicode name."""
    return unicodedata.name(character, "").partition(" ")[0]
