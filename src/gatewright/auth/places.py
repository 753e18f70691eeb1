"""Places: what offline data tells of a network, and how far two places are apart. Nothing is looked up outside."""

from __future__ import annotations

import functools
import math
import threading
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from gatewright.errors import ConfigurationError
from gatewright.records import Record

_EARTH_RADIUS_KM = 6371.0
_SAME_AREA_KM = 100.0
_BORDERS_KM = 500.0
"""What is taken off between two countries of which only the names are known: people live near borders."""


class Place(Record, frozen=True, kw_only=True):
    """Where a network is: ``country`` in two letters (ISO 3166), ``provider`` the name of its autonomous system."""

    country: str | None = None
    provider: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def point(self) -> tuple[float, float] | None:
        """Latitude and longitude, where both are known."""
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


class PlaceLookup(Protocol):
    """Offline data about networks."""

    def place_of(self, ip_address: str) -> Place | None: ...


class GeoIP2FastPlaces:
    """Country and provider from the data that comes with geoip2fast (extra ``geo``).

    Args:
        data_file: one of its data files, such as a newer one; the country and provider data in the package
            when missing. Loading takes about half a second and 100 MB.

    Raises:
        ConfigurationError: the extra is not installed, or the file cannot be read.
    """

    def __init__(self, data_file: str | Path | None = None) -> None:
        try:
            import geoip2fast
        except ImportError:
            raise ConfigurationError(
                "Places of networks need the extra `geo`: install gatewright[geo], or go without them."
            ) from None
        path = Path(data_file or Path(geoip2fast.__file__).parent / "geoip2fast-asn-ipv6.dat.gz")
        if not path.is_file():
            raise ConfigurationError(f"{path}: must be a data file of geoip2fast; give its path or leave it out.")
        self._reader: Any = geoip2fast.GeoIP2Fast(geoip2fast_data_file=str(path))
        self._reading = threading.Lock()  # the reader keeps state between the steps of a look-up
        self._found = functools.lru_cache(maxsize=4096)(self._look_up)

    def place_of(self, ip_address: str) -> Place | None:
        """Country and provider; None for private and unknown networks, and for what is no address."""
        return self._found(ip_address)

    def _look_up(self, ip_address: str) -> Place | None:
        with self._reading:
            found = self._reader.lookup(ip_address)
        country = str(found.country_code)
        if found.is_private or len(country) != 2 or not country.isalpha():
            return None
        return Place(country=country, provider=found.asn_name or None)


def travel_speed(before: Place, after: Place, left: datetime, arrived: datetime) -> float | None:
    """Kilometres an hour between two places; None where they are not known or are one area."""
    distance = distance_between(before, after)
    if distance is None or distance < _SAME_AREA_KM:
        return None
    return distance / (max((arrived - left).total_seconds(), 1.0) / 3600)


def distance_between(before: Place, after: Place) -> float | None:
    """Kilometres from one place to the other, at the least; None when not enough is known.

    Where only the countries are known it is the way between their nearest known places, less a margin.
    """
    here, there = before.point, after.point
    if here is not None and there is not None:
        return great_circle(here, there)
    if before.country is None or after.country is None:
        return None
    return _between_countries(before.country, after.country)


def great_circle(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Kilometres along the surface between two points of latitude and longitude in degrees (haversine)."""
    lat1, lon1, lat2, lon2 = map(math.radians, (*here, *there))
    a = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, a)))


@functools.lru_cache(maxsize=4096)
def _between_countries(one: str, other: str) -> float | None:
    places = _country_places()
    if one == other or one not in places or other not in places:
        return None
    nearest = min(great_circle(here, there) for here in places[one] for there in places[other])
    return max(0.0, nearest - _BORDERS_KM)


@functools.cache
def _country_places() -> dict[str, list[tuple[float, float]]]:
    text = resources.files("gatewright.auth").joinpath("data", "country_places.txt").read_text()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            country, *points = line.split(" ")
            found[country] = [(float(lat), float(lon)) for lat, _, lon in (point.partition(",") for point in points)]
    return found
