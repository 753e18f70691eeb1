"""Stores, caches, notifiers and location data, opened as the settings say."""

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


class KeyDatabase(MovableKeys, DemoStore, Protocol):
    """A store of data keys apart from the records."""

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...


class Invalidation(Protocol):
    """Tells other workers of changes, and listens to theirs."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


def open_store(settings: Settings) -> Store:
    """The store of records, not yet opened."""
    if settings.database.startswith(("mongodb://", "mongodb+srv://")):
        raise ConfigurationError(
            f"GATEWRIGHT_DATABASE={settings.database.split('@')[-1]}: MongoDB is not supported by this version; "
            "use sqlite or sqlite:///path.",
            context={"setting": "GATEWRIGHT_DATABASE"},
        )
    return SqliteStore(settings.database_path, durable=settings.durable)


async def refuse_demo_store(settings: Settings, store: Store) -> None:
    """Raise ConfigurationError (code ``DEMO_STORE``) in production for a store that the demo made; it is closed."""
    if settings.mode == "production" and await store.is_demo():
        await store.close()
        raise ConfigurationError(
            f"GATEWRIGHT_DATABASE={settings.database_path}: this store was made by `gatewright serve --demo`, which"
            " keeps its passwords in a file. Production needs a store of its own; set GATEWRIGHT_DATA_DIR or"
            " GATEWRIGHT_DATABASE to a new one and run `gatewright init`.",
            code="DEMO_STORE",
            context={"setting": "GATEWRIGHT_DATABASE"},
        )


def key_database(settings: Settings) -> KeyDatabase | None:
    """The store of data keys that lives apart from the records; None where they live together."""
    path = settings.key_database_path
    return None if path is None else SqliteStore(path, durable=settings.durable)


def secret_files(settings: Settings) -> list[Path]:
    """What must be closed to others."""
    return [settings.data_dir, *(Path(p) for p in (settings.database_path, settings.key_database_path) if p)]


def open_cache(settings: Settings, sink: EventSink, clock: Clock) -> Cache:
    """The cache that the workers share, or one of this process."""
    if settings.redis_url is None:
        return MemoryCache(clock=clock)
    try:
        from gatewright.storage.cache.redis import RedisCache
    except ImportError:
        raise ConfigurationError(
            "GATEWRIGHT_REDIS_URL: the Redis client is not installed; pip install 'gatewright[redis]'.",
            context={"setting": "GATEWRIGHT_REDIS_URL"},
        ) from None
    return RedisCache(settings.redis_url, sink=sink, clock=clock)


def invalidation(cache: Cache, store: Store) -> Invalidation | None:
    """What carries changes to other workers by the cache they share; None where the store's poll alone does."""
    if isinstance(cache, MemoryCache):
        return None
    from gatewright.storage.cache.invalidation import RedisInvalidation
    from gatewright.storage.cache.redis import RedisCache

    return RedisInvalidation(cache, store.changes) if isinstance(cache, RedisCache) else None


def notifier_of(settings: Settings) -> Notifier:
    """How messages reach people."""
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
