"""Where state lives: the Store and Cache protocols and their implementations."""

from gatewright.storage.cache import Cache
from gatewright.storage.cache.memory import MemoryCache
from gatewright.storage.protocol import Store
from gatewright.storage.sqlite.store import SqliteStore

__all__ = ["Cache", "MemoryCache", "SqliteStore", "Store"]
