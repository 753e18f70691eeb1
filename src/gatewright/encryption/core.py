"""EncryptionCore: what the manager is made of, how it opens and closes, and whom it tells."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.encryption.data_key import DataKey
from gatewright.encryption.derived_keys import DerivedKeyRing
from gatewright.encryption.envelope import Algorithm, LegacyReader
from gatewright.encryption.providers import SecretProvider
from gatewright.encryption.root import KeyWrapper, RootKey, root_key
from gatewright.encryption.sealing import Sealer
from gatewright.encryption.stored_keys import StoredKeyRing
from gatewright.errors import ConfigurationError, EncryptionError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.storage.keys import KeyStore, StoredDataKey

Key = str | bytes | KeyWrapper
"""A root key as it is given: 32 bytes (raw, hex or base64), a passphrase, or what wraps data keys elsewhere."""

MESSAGES_PER_KEY = 2**32
"""Messages under one data key: the limit of NIST SP 800-38D for random nonces. Subkeys keep far below it."""


class EncryptionCore(ABC):
    """The parts of a manager; see :class:`~gatewright.encryption.manager.ManufacturerEncryptionManager`."""

    def __init__(
        self,
        encryption_key: Key | None = None,
        key_rotation_enabled: bool = True,
        *,
        algorithm: str = Algorithm.AES_256_GCM.value,
        store: KeyStore | None = None,
        previous_keys: Sequence[Key] = (),
        legacy_fernet_keys: Sequence[str | bytes] | str | bytes = (),
        compress: bool = False,
        rotation_days: float = 90.0,
        max_messages_per_key: int = MESSAGES_PER_KEY,
        cache_size: int = 10_000,
        secret_files: Sequence[Path] = (),
        secret_providers: Sequence[SecretProvider] = (),
        require_fips: bool = False,
        events: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        if algorithm not in set(Algorithm):
            raise ConfigurationError(f"algorithm={algorithm}: must be {' or '.join(Algorithm)}; name one of them.")
        if not 1 <= max_messages_per_key <= MESSAGES_PER_KEY or not rotation_days > 0:
            raise ConfigurationError("max_messages_per_key must be 1 to 2^32, and rotation_days above 0.")
        self.key_rotation_enabled = key_rotation_enabled
        self.algorithm = Algorithm(algorithm)
        self.rotation_age = timedelta(days=rotation_days)
        self.max_messages = max_messages_per_key
        self.events = events or NullSink()
        self.clock = clock or SystemClock()
        self.key_store = store if store is not None and store.durable else None
        self.key_made_for_process = encryption_key is None
        self.secret_files = tuple(secret_files)
        self.secret_providers = tuple(secret_providers)
        self.require_fips = require_fips
        self._given: list[Key | None] = [encryption_key, *previous_keys]
        self._roots: list[RootKey | KeyWrapper] = []
        self._compress = compress
        self._cache_size = cache_size
        legacy = [legacy_fernet_keys] if isinstance(legacy_fernet_keys, str | bytes) else list(legacy_fernet_keys)
        self.legacy_keys = len(legacy)
        self._legacy = LegacyReader(legacy)
        self._opening = asyncio.Lock()
        self._rotating = asyncio.Lock()
        self._sealer: Sealer | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(algorithm={self.algorithm.value!r})"

    @property
    def root_ids(self) -> list[str]:
        """The public names of the root keys, the one in use first."""
        return [root.root_id for root in self._roots]

    async def initialize(self) -> None:
        """Read the root key and make the ring ready; calling twice is harmless.

        Raises:
            KeyUnavailableError: the key is too short, not the one of the key store, or rotated away.
        """
        async with self._opening:
            if self._sealer is not None:
                return
            for given in self._given:
                if given is None or isinstance(given, str | bytes):
                    self._roots.append(await asyncio.to_thread(root_key, given))
                else:
                    self._roots.append(given)
            self._given = []
            ring = self._make_ring()
            await ring.open()
            self._sealer = Sealer(
                ring,
                algorithm=self.algorithm,
                clock=self.clock,
                compress=self._compress,
                max_messages=self.max_messages,
                exhausted=self._on_exhausted,
            )

    async def close(self) -> None:
        """Forget the data keys."""
        sealer, self._sealer = self._sealer, None
        if sealer is not None:
            await sealer.ring.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def sealer(self) -> Sealer:
        """The sealer; opened now where ``initialize`` was forgotten."""
        if self._sealer is None:
            await self.initialize()
        if self._sealer is None:
            raise EncryptionError("The encryption manager was closed while it was opening.")
        return self._sealer

    def _make_ring(self) -> DerivedKeyRing | StoredKeyRing:
        if self.key_store is not None:
            ring = StoredKeyRing(list(self._roots), self.key_store, clock=self.clock, cache_size=self._cache_size)
            ring.created = self._on_created
            return ring
        roots = [root for root in self._roots if isinstance(root, RootKey)]
        if len(roots) != len(self._roots):
            raise ConfigurationError("A key that wraps data keys needs a durable key store to keep them in.")
        return DerivedKeyRing(roots, clock=self.clock, cache_size=self._cache_size)

    def _on_created(self, key: StoredDataKey) -> None:
        self._tell(
            event_kinds.ENCRYPTION_KEY_CREATED,
            Severity.INFO,
            manufacturer_id=key.manufacturer_id or None,
            key_version=key.version,
            root_id=key.root_id,
        )

    @abstractmethod
    async def _on_exhausted(self, key: DataKey) -> None:
        """A data key has sealed as many messages as it may."""

    def _tell(self, kind: str, severity: Severity, *, manufacturer_id: str | None = None, **data: Any) -> None:
        self.events.emit(
            event(kind, severity=severity, timestamp=self.clock.now(), manufacturer_id=manufacturer_id, **data)
        )
