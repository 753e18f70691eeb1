"""Backends chosen by settings: stores, caches, notifiers and location data."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from gatewright.auth.client_signals import GeoIP2FastPlaces, Place
from gatewright.clock import Clock
from gatewright.errors import ConfigurationError
from gatewright.events import EventSink
from gatewright.notify import ConsoleNotifier, FileNotifier, Notifier, SmtpNotifier
from gatewright.settings import Settings
from gatewright.storage.cache import Cache
from gatewright.storage.cache.memory import MemoryCache
from gatewright.storage.keys import MovableKeys
from gatewright.storage.protocol import DemoStore, Store
from gatewright.storage.sqlite.store import SqliteStore


class NetworkPlaces:
    """Location data of geoip2fast, loaded in a thread when the foundation opens (about 0.5 s and 100 MB).

    Args:
        data_file: a newer data file. Defaults to the one in the package.

    Raises:
        ConfigurationError: the extra ``geo`` is not installed.
    """

    def __init__(self, data_file: Path | None = None) -> None:
        if find_spec("geoip2fast") is None:
            raise ConfigurationError(
                "GATEWRIGHT_PLACES=geoip2fast: geoip2fast is not installed; run `pip install geoip2fast`, or use off.",
                context={"setting": "GATEWRIGHT_PLACES"},
            )
        self._data_file = data_file
        self._data: GeoIP2FastPlaces | None = None

    def load(self) -> None:
        """Load the data. Blocks.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        if self._data is None:
            self._data = GeoIP2FastPlaces(self._data_file)

    def place_of(self, ip_address: str) -> Place | None:
        """Country and provider, or None for private and unknown networks and before the data is loaded."""
        return None if self._data is None else self._data.place_of(ip_address)


def places_of(settings: Settings) -> NetworkPlaces | None:
    """Location data, if configured."""
    return NetworkPlaces(settings.places_file) if settings.places == "geoip2fast" else None


class KeyDatabase(MovableKeys, DemoStore, Protocol):
    """A separate store for data keys."""

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...


class Invalidation(Protocol):
    """Exchanges change notices with other workers."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


def open_store(settings: Settings) -> Store:
    """Create the store of records, without opening it."""
    if settings.database.startswith(("mongodb://", "mongodb+srv://")):
        raise ConfigurationError(
            f"GATEWRIGHT_DATABASE={settings.database.split('@')[-1]}: MongoDB is not supported yet; use sqlite or sqlite:///path.",
            context={"setting": "GATEWRIGHT_DATABASE"},
        )
    return SqliteStore(settings.database_path, durable=settings.durable)


async def refuse_demo_store(settings: Settings, store: Store) -> None:
    """Refuse a store created by the demo in production: ConfigurationError with code ``DEMO_STORE``."""
    if settings.mode == "production" and await store.is_demo():
        await store.close()
        raise ConfigurationError(
            f"GATEWRIGHT_DATABASE={settings.database_path}: this store was created by `gatewright serve --demo`, which"
            " keeps passwords in a file. Production requires its own store: set GATEWRIGHT_DATA_DIR or"
            " GATEWRIGHT_DATABASE to a new one and run `gatewright init`.",
            code="DEMO_STORE",
            context={"setting": "GATEWRIGHT_DATABASE"},
        )


def key_database(settings: Settings) -> KeyDatabase | None:
    """The separate store for data keys, or None."""
    path = settings.key_database_path
    return None if path is None else SqliteStore(path, durable=settings.durable)


def secret_files(settings: Settings) -> list[Path]:
    """Files and directories that other users must not access."""
    return [settings.data_dir, *(Path(p) for p in (settings.database_path, settings.key_database_path) if p)]


def open_cache(settings: Settings, sink: EventSink, clock: Clock) -> Cache:
    """The cache shared by workers, or one for this process."""
    if settings.redis_url is None:
        return MemoryCache(clock=clock)
    try:
        from gatewright.storage.cache.redis import RedisCache
    except ImportError:
        raise ConfigurationError(
            "GATEWRIGHT_REDIS_URL: the Redis client is not installed; run `pip install redis hiredis`.",
            context={"setting": "GATEWRIGHT_REDIS_URL"},
        ) from None
    return RedisCache(settings.redis_url, sink=sink, clock=clock)


def invalidation(cache: Cache, store: Store) -> Invalidation | None:
    """Change notices over the shared cache, or None if workers poll the store."""
    if isinstance(cache, MemoryCache):
        return None
    from gatewright.storage.cache.invalidation import RedisInvalidation
    from gatewright.storage.cache.redis import RedisCache

    return RedisInvalidation(cache, store.changes) if isinstance(cache, RedisCache) else None


def notifier_of(settings: Settings) -> Notifier:
    """The configured notifier."""
    if settings.notifier == "file":
        return FileNotifier(settings.outbox_file or settings.data_dir / "outbox.jsonl")
    if settings.notifier == "smtp":
        return SmtpNotifier(
            settings.smtp_host,
            settings.smtp_port,
            sender=settings.smtp_from,
            user=settings.smtp_user,
            password=None if settings.smtp_password is None else settings.smtp_password.get_secret_value(),
        )
    return ConsoleNotifier()
