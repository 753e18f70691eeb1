"""Signals about a client: user agent, and the location and provider of its network."""

from __future__ import annotations

import functools
import hashlib
import math
import re
import threading
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from gatewright.auth.records import ClientInfo
from gatewright.controls import network_of
from gatewright.errors import ConfigurationError
from gatewright.records import Record

MAX_AGENT_LENGTH = 512
"""Maximum length of a user agent. The rest is cut off."""

MAX_ADDRESS_LENGTH = 45
"""Length of the longest IPv6 address as text."""

_VERSION = re.compile(r"/[0-9][0-9A-Za-z.+_-]{0,40}")


class Agent(Record, frozen=True, kw_only=True):
    """A parsed user agent: ``family`` (``Chrome``), ``platform`` (``Windows``) and major ``version``."""

    family: str
    platform: str | None = None
    version: int | None = None

    @property
    def label(self) -> str:
        """The name to display, such as ``Chrome on Windows``."""
        return f"{self.family} on {self.platform}" if self.platform else self.family


def client_info(value: Any) -> ClientInfo | None:
    """Convert a mapping or object with the fields of a client to one, with limited lengths. None stays None."""
    if value is None:
        return None
    read = value.get if isinstance(value, dict) else functools.partial(_attribute, value)
    return ClientInfo(
        ip_address=_bounded(read("ip_address"), MAX_ADDRESS_LENGTH),
        user_agent=_bounded(read("user_agent"), MAX_AGENT_LENGTH),
        device_token=_bounded(read("device_token"), MAX_AGENT_LENGTH),
    )


def network_key(ip_address: str | None) -> str | None:
    """The network of an address: /24 of IPv4, /64 of IPv6. Text that is not an address is used as is."""
    if ip_address is None:
        return None
    return network_of(ip_address) or ip_address[:MAX_ADDRESS_LENGTH]


@functools.lru_cache(maxsize=4096)
def read_agent(user_agent: str) -> Agent:
    """Parse a user agent. The family of an unknown one is its text without version numbers."""
    from ua_parser import parse

    text = user_agent[:MAX_AGENT_LENGTH]
    found = parse(text)
    browser, system = found.user_agent, found.os
    major = browser.major if browser else None
    return Agent(
        family=browser.family if browser else _VERSION.sub("", text).strip()[:80],
        platform=system.family if system else None,
        version=int(major) if major and major.isdecimal() and len(major) < 6 else None,
    )


def same_client_key(client: ClientInfo | None) -> bytes | None:
    """A hash of network and user agent, equal for two calls by the same client.

    None if either is unknown: such a call is never treated as the same client's.
    """
    if client is None or client.ip_address is None or client.user_agent is None:
        return None
    text = f"{network_key(client.ip_address)}\n{client.user_agent}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _attribute(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def _bounded(value: Any, length: int) -> str | None:
    return None if value is None else str(value)[:length].encode("utf-8", "replace").decode()


_EARTH_RADIUS_KM = 6371.0
_SAME_AREA_KM = 100.0
_BORDERS_KM = 500.0
"""Subtracted from the distance between countries if no coordinates are known, because people live near borders."""


class Place(Record, frozen=True, kw_only=True):
    """The location of a network: ``country`` (ISO 3166 alpha-2) and ``provider``, the name of its autonomous system."""

    country: str | None = None
    provider: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def point(self) -> tuple[float, float] | None:
        """Latitude and longitude, if both are known."""
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


class PlaceLookup(Protocol):
    """Offline location data of networks."""

    def place_of(self, ip_address: str) -> Place | None: ...


class GeoIP2FastPlaces:
    """Country and provider of networks, from geoip2fast (extra ``geo``).

    Args:
        data_file: a data file of geoip2fast. Defaults to the file in its package. Loading takes about half a second
            and 100 MB.

    Raises:
        ConfigurationError: the extra is not installed, or the file does not exist.
    """

    def __init__(self, data_file: str | Path | None = None) -> None:
        try:
            import geoip2fast
        except ImportError:
            raise ConfigurationError(
                "Location data requires geoip2fast: run `pip install geoip2fast`, or turn location data off."
            ) from None
        path = Path(data_file or Path(geoip2fast.__file__).parent / "geoip2fast-asn-ipv6.dat.gz")
        if not path.is_file():
            raise ConfigurationError(f"{path}: must be a data file of geoip2fast; correct the path or omit it.")
        self._reader: Any = geoip2fast.GeoIP2Fast(geoip2fast_data_file=str(path))
        self._lock = threading.Lock()  # the reader is not thread-safe
        self._cached = functools.lru_cache(maxsize=4096)(self._look_up)

    def place_of(self, ip_address: str) -> Place | None:
        """Country and provider. None for private and unknown networks, and for text that is not an address."""
        return self._cached(ip_address)

    def _look_up(self, ip_address: str) -> Place | None:
        with self._lock:
            found = self._reader.lookup(ip_address)
        country = str(found.country_code)
        if found.is_private or len(country) != 2 or not country.isalpha():
            return None
        return Place(country=country, provider=found.asn_name or None)


def travel_speed(before: Place, after: Place, left: datetime, arrived: datetime) -> float | None:
    """The speed of a trip between two places, in km/h. None if they are unknown or in the same area."""
    distance = distance_between(before, after)
    if distance is None or distance < _SAME_AREA_KM:
        return None
    return distance / (max((arrived - left).total_seconds(), 1.0) / 3600)


def distance_between(before: Place, after: Place) -> float | None:
    """The minimum distance between two places, in kilometers. None if it is unknown.

    If only the countries are known, it is the distance between their nearest known places, less a margin.
    """
    here, there = before.point, after.point
    if here is not None and there is not None:
        return great_circle(here, there)
    if before.country is None or after.country is None:
        return None
    return _between_countries(before.country, after.country)


def great_circle(here: tuple[float, float], there: tuple[float, float]) -> float:
    """The great-circle distance in kilometers between two points in degrees of latitude and longitude (haversine)."""
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
