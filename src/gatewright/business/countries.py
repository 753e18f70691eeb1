"""Country names and codes."""

from __future__ import annotations

from functools import lru_cache

_ALIASES = {
    "uk": "GB",
    "great britain": "GB",
    "england": "GB",
    "scotland": "GB",
    "wales": "GB",
    "northern ireland": "GB",
    "u.s.": "US",
    "u.s.a.": "US",
    "united states of america": "US",
    "america": "US",
    "el": "GR",
    "xi": "GB",
    "russia": "RU",
    "south korea": "KR",
    "deutschland": "DE",
    "österreich": "AT",
    "schweiz": "CH",
    "españa": "ES",
    "italia": "IT",
    "méxico": "MX",
    "brasil": "BR",
    "nederland": "NL",
    "holland": "NL",
    "turkey": "TR",
    "xk": "XK",
    "kosovo": "XK",
}
_MAX_NAME_LENGTH = 80


def country_code(text: str) -> str | None:
    """The ISO 3166 alpha-2 code of a country by code or name, or None if it is unknown. Kosovo is ``XK``."""
    return _code_of(" ".join(text.split()).casefold()) if len(text) <= _MAX_NAME_LENGTH else None


@lru_cache(maxsize=1024)
def _code_of(name: str) -> str | None:
    if not name:
        return None
    if name in _ALIASES:
        return _ALIASES[name]
    import pycountry

    try:
        found: str = pycountry.countries.lookup(name).alpha_2
    except LookupError:
        return None
    return found
