"""Countries and providers of networks, where a setting asks for them: signals of a session's risk."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gatewright.auth.places import GeoIP2FastPlaces, Place
from gatewright.errors import ConfigurationError
from gatewright.settings import Settings


class NetworkPlaces:
    """The data of geoip2fast, read when the foundation opens: some 0.5 s and 100 MB, in a thread.

    Args:
        data_file: a newer data file; that of the package when missing.

    Raises:
        ConfigurationError: the extra is not installed.
    """

    def __init__(self, data_file: Path | None = None) -> None:
        if find_spec("geoip2fast") is None:
            raise ConfigurationError(
                "GATEWRIGHT_PLACES=geoip2fast: the extra is not installed; pip install 'gatewright[geo]', or set off.",
                context={"setting": "GATEWRIGHT_PLACES"},
            )
        self._data_file = data_file
        self._data: GeoIP2FastPlaces | None = None

    def load(self) -> None:
        """Read the data; blocks.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        if self._data is None:
            self._data = GeoIP2FastPlaces(self._data_file)

    def place_of(self, ip_address: str) -> Place | None:
        """Country and provider; None for private and unknown networks, and before the data is read."""
        return None if self._data is None else self._data.place_of(ip_address)


def places_of(settings: Settings) -> NetworkPlaces | None:
    """The places that the settings ask for."""
    return NetworkPlaces(settings.places_file) if settings.places == "geoip2fast" else None
