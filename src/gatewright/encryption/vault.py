"""The key vault: root keys, the ring of data keys, and the sealer of a manager."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.encryption.context import LEGACY_VERSION, VERSION
from gatewright.encryption.data_key import DataKey
from gatewright.encryption.derived_keys import DerivedKeyRing
from gatewright.encryption.envelope import ALGORITHM as LEGACY_ALGORITHM, Algorithm, LegacyReader
from gatewright.encryption.records import Envelope
from gatewright.encryption.root import KeyWrapper, RootKey, root_key
from gatewright.encryption.sealing import Decrypted, Sealer
from gatewright.encryption.secretbox import decryption_failed
from gatewright.encryption.stored_keys import StoredKeyRing
from gatewright.errors import ConfigurationError, EncryptionError
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.keys import KeyStore, StoredKeyGeneration

RootKeyInput = str | bytes | KeyWrapper
"""A root key: 32 bytes (raw, hex or base64), a passphrase, or a wrapper of data keys such as a KMS."""

MESSAGES_PER_KEY = 2**32
"""Maximum messages under one data key (NIST SP 800-38D, random nonces). Subkeys stay far below it."""


@dataclass(frozen=True, kw_only=True)
class VaultOptions:
    """Options of a vault; see :class:`~gatewright.encryption.manager.ManufacturerEncryptionManager`."""

    algorithm: str = Algorithm.AES_256_GCM.value
    rotation_enabled: bool = True
    rotation_days: float = 90.0
    max_messages_per_key: int = MESSAGES_PER_KEY
    compress: bool = False
    cache_size: int = 10_000


class KeyVault:
    """The keys of a manager, and the sealer that uses them. The vault opens on first use.

    Args:
        keys: root keys. The first one is used for new data keys, the others only open existing envelopes.
        store: stores wrapped data keys. Without a durable store, data keys are derived from the root key.
        legacy_fernet_keys: keys of version 1.0 payloads.
    """

    def __init__(
        self,
        keys: Sequence[RootKeyInput | None],
        options: VaultOptions,
        *,
        store: KeyStore | None,
        legacy_fernet_keys: Sequence[str | bytes],
        sink: EventSink | None,
        clock: Clock | None,
    ) -> None:
        algorithm, max_messages_per_key = options.algorithm, options.max_messages_per_key
        rotation_days = options.rotation_days
        if algorithm not in set(Algorithm):
            raise ConfigurationError(f"algorithm={algorithm}: must be {' or '.join(Algorithm)}; name one of them.")
        if not 1 <= max_messages_per_key <= MESSAGES_PER_KEY or not rotation_days > 0:
            raise ConfigurationError("max_messages_per_key must be 1 to 2^32, and rotation_days above 0.")
        self.rotation_enabled = options.rotation_enabled
        self.algorithm = Algorithm(algorithm)
        self.rotation_age = timedelta(days=rotation_days)
        self.max_messages = max_messages_per_key
        self.clock = clock or SystemClock()
        self.emit = emitter(sink, self.clock)
        self.key_store = store if store is not None and store.durable else None
        self.key_is_ephemeral = keys[0] is None
        self._inputs: list[RootKeyInput | None] = list(keys)
        self._roots: list[RootKey | KeyWrapper] = []
        self._compress = options.compress
        self._cache_size = options.cache_size
        self.legacy_keys = len(legacy_fernet_keys)
        self._legacy = LegacyReader(list(legacy_fernet_keys))
        self._opening = asyncio.Lock()
        self._rotating = asyncio.Lock()
        self.opened: Sealer | None = None
        """The sealer, or None before the vault is open. For hot paths; others use :meth:`sealer`."""

    @property
    def root_ids(self) -> list[str]:
        """The public ids of the root keys, the current one first."""
        return [root.root_id for root in self._roots]

    async def open(self) -> None:
        """Load the root keys and open the key ring. Calling twice is harmless.

        Raises:
            KeyUnavailableError: the root key is too short, does not belong to the key store, or was rotated away.
        """
        async with self._opening:
            if self.opened is not None:
                return
            for value in self._inputs:
                if value is None or isinstance(value, str | bytes):
                    self._roots.append(await asyncio.to_thread(root_key, value))
                else:
                    self._roots.append(value)
            self._inputs = []
            ring = self._make_ring()
            await ring.open()
            self.opened = Sealer(
                ring,
                algorithm=self.algorithm,
                clock=self.clock,
                compress=self._compress,
                max_messages=self.max_messages,
                exhausted=self._on_exhausted,
            )

    async def close(self) -> None:
        """Drop the data keys from memory."""
        sealer, self.opened = self.opened, None
        if sealer is not None:
            await sealer.ring.close()

    async def sealer(self) -> Sealer:
        """The sealer. Opens the vault if necessary."""
        if self.opened is None:
            await self.open()
        if self.opened is None:
            raise EncryptionError("The encryption manager was closed while it was opening. Create a new one.")
        return self.opened

    def _make_ring(self) -> DerivedKeyRing | StoredKeyRing:
        if self.key_store is not None:
            return StoredKeyRing(
                list(self._roots),
                self.key_store,
                clock=self.clock,
                cache_size=self._cache_size,
                emit=self.emit,
            )
        roots = [root for root in self._roots if isinstance(root, RootKey)]
        if len(roots) != len(self._roots):
            raise ConfigurationError("A key wrapper requires a durable key store. Pass store= to the manager.")
        return DerivedKeyRing(roots, clock=self.clock, cache_size=self._cache_size)

    async def generations(self) -> list[StoredKeyGeneration]:
        """The generations of data keys, oldest first."""
        return await (await self.sealer()).ring.generations()

    async def is_shredded(self, owner: str) -> bool:
        """Whether the keys of an owner were destroyed permanently."""
        return await (await self.sealer()).ring.is_shredded(owner)

    async def rotate(self, reason: str) -> tuple[StoredKeyGeneration, StoredKeyGeneration]:
        """Start a new generation of data keys. Returns the old and the new one."""
        old, new = await (await self.sealer()).ring.rotate(reason)
        self.emit(
            event_kinds.ENCRYPTION_KEY_ROTATED,
            Severity.NOTICE,
            old_key_id=old.key_id,
            new_key_id=new.key_id,
            key_version=new.version,
            reason=reason,
        )
        return old, new

    async def rotate_root(self, root: RootKey | KeyWrapper) -> int:
        """Rewrap all data keys under a new root key. Returns how many were rewrapped."""
        sealer = await self.sealer()
        old_id = self._roots[0].root_id
        rewrapped = await sealer.ring.rotate_root(root)
        self._roots = [root, *(previous for previous in self._roots if previous.root_id != root.root_id)]
        self.emit(
            event_kinds.ENCRYPTION_ROOT_ROTATED,
            Severity.WARNING,
            old_root_id=old_id,
            new_root_id=root.root_id,
            rewrapped=rewrapped,
        )
        return rewrapped

    async def decrypt(self, encrypted: Any, *, allow_revoked: bool = False) -> Decrypted:
        """Decrypt an envelope of any version.

        Args:
            allow_revoked: also use revoked keys, for re-encryption.
        """
        try:
            payload, metadata = encrypted["encrypted_payload"], encrypted["encryption_metadata"]
            version = metadata.get("version", LEGACY_VERSION)
        except (KeyError, TypeError, AttributeError):
            raise decryption_failed() from None
        if version == VERSION:
            sealer = self.opened or await self.sealer()
            return await sealer.open(payload, metadata, allow_revoked=allow_revoked)
        if version != LEGACY_VERSION or metadata.get("algorithm") != LEGACY_ALGORITHM or type(payload) is not str:
            raise decryption_failed()
        data = self._legacy.open(payload)
        stated = data.get("manufacturer_id") if isinstance(data, dict) else None
        return Decrypted(data, stated if isinstance(stated, str) and stated else None, metadata)

    async def reencrypt(self, encrypted: Any) -> Envelope:
        """Encrypt the same data again under the newest key, with the same owner, classification and field."""
        sealer = await self.sealer()
        opened = await self.decrypt(encrypted, allow_revoked=True)
        metadata = {} if opened.legacy else opened.metadata
        labels = (metadata.get("classification"), metadata.get("field"))
        envelope = sealer.try_seal(opened.data, opened.owner, labels)
        return envelope if envelope is not None else await sealer.seal(opened.data, opened.owner, labels)

    async def _on_exhausted(self, key: DataKey) -> None:
        """Rotate because a key has sealed its maximum of messages, unless another task already did."""
        if not self.rotation_enabled:
            raise EncryptionError(
                f"Data key generation {key.key_id} has sealed its maximum of {self.max_messages:,} messages.",
                code="KEY_EXHAUSTED",
                recommended_action="Rotate the data keys: `gatewright keys rotate`.",
            )
        async with self._rotating:
            if (await self.generations())[-1].key_id == key.key_id:
                await self.rotate("message count")
