"""The signing key ring: one key signs, older keys verify until their tokens have expired.

Keys are random and stored encrypted, so that all processes share them and tokens survive a restart. Without a durable
store, an HS256 key is derived from the root secret instead, so that the same secret gives the same key and id. Keys for
data at rest are separate (see :mod:`gatewright.encryption`).
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from gatewright import event_kinds
from gatewright.auth.tokens.jws import encode_segment
from gatewright.auth.tokens.keys import HmacKey, SigningKey, check_algorithm, generate, restore
from gatewright.clock import Clock
from gatewright.encryption.secretbox import SecretBox, derive_key
from gatewright.errors import DecryptionError, KeyUnavailableError
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.changes import Changes
from gatewright.storage.keys import SigningStore, StoredSigningKey

_LOOKUP_INTERVAL = 0.02
"""Minimum seconds between two reads of the store for unknown key ids, so that made-up ids put no load on it."""

_OVERLAP = 60.0
"""Seconds that a retired key verifies beyond its tokens' lifetime; other processes sign with it until notified."""


class SigningKeyRing:
    """The signing keys by id, and the one that signs now.

    Args:
        root: the root secret, from which the key that encrypts stored keys is derived.
        algorithm: the algorithm of new keys: HS256, ES256, EdDSA or RS256.
        derived: derive the first HS256 key from ``root`` instead of generating a random one.
        token_lifetime: default lifetime of tokens; a retired key verifies for that much longer.
        rotation: the age at which a key is replaced. None: only manually.
    """

    def __init__(
        self,
        *,
        store: SigningStore,
        changes: Changes,
        root: bytes,
        algorithm: str,
        derived: bool,
        token_lifetime: timedelta,
        clock: Clock,
        sink: EventSink,
        rotation: timedelta | None = None,
    ) -> None:
        self._store = store
        self._changes = changes
        self._root = root
        self._box = SecretBox(derive_key(root, "gatewright auth", "signing keys at rest"))
        self._algorithm = check_algorithm(algorithm)
        self._derived = derived and algorithm == "HS256"
        self._lifetime = token_lifetime
        self._clock = clock
        self._emit = emitter(sink, clock)
        self._rotation = rotation
        self._keys: dict[str, SigningKey] = {}
        self._stored: dict[str, StoredSigningKey] = {}
        self._ends: dict[str, float] = {}
        self._headers: dict[bytes, SigningKey] = {}
        self._current: SigningKey | None = None
        self._header = b""
        self._stale = True
        self._loaded_at = float("-inf")
        self._lookup: asyncio.Task[None] | None = None
        self._load_lock = asyncio.Lock()
        self._stop: Callable[[], None] | None = None

    async def open(self) -> None:
        """Load the keys. Create the first key if there is none, or rotate if the algorithm has changed."""
        if self._stop is None:
            self._stop = self._changes.subscribe("signing_keys", self._changed)
        await self.load()
        if self._current is None:
            await self._make_first()
        elif self._current.algorithm != self._algorithm:
            await self.rotate(reason="algorithm")

    def close(self) -> None:
        """Unsubscribe from change notices."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        if self._current is None:
            raise KeyUnavailableError("No signing key is loaded. Call initialize() first.", code="NO_SIGNING_KEY")
        return self._current

    @property
    def header(self) -> bytes:
        """The encoded header of tokens that the current key signs."""
        return self._header

    @property
    def stale(self) -> bool:
        """Whether the keys must be loaded again because a process has changed them."""
        return self._stale

    def get(self, kid: str) -> SigningKey | None:
        """The key with this id, unless it has expired."""
        return self._keys.get(kid) if self._clock.timestamp() < self._ends.get(kid, 0.0) else None

    def by_header(self, header: bytes) -> SigningKey | None:
        """The key that writes exactly this encoded header, unless it has expired."""
        key = self._headers.get(header)
        return key if key is not None and self._clock.timestamp() < self._ends[key.kid] else None

    async def find(self, kid: str) -> SigningKey | None:
        """As :meth:`get`, but read the store if the id is unknown: another process may have created the key just now.

        Concurrent callers share one read, and there are at most fifty reads per second.
        """
        if self.get(kid) is None:
            if self._lookup is None:
                self._lookup = asyncio.get_running_loop().create_task(self._look_up_later())
            await asyncio.shield(self._lookup)
        return self.get(kid)

    async def load(self) -> None:
        """Load the keys from the store."""
        async with self._load_lock:  # an older read must not overwrite a newer one
            await self._load()

    async def _load(self) -> None:
        self._loaded_at = asyncio.get_running_loop().time()
        self._stale = False
        now = self._clock.now()
        alive = [s for s in await self._store.list_signing_keys() if s.expires_at is None or s.expires_at > now]
        keys = {stored.kid: self._keys.get(stored.kid) or await self._open(stored) for stored in alive}
        self._keys, self._stored = keys, {stored.kid: stored for stored in alive}
        self._ends = {s.kid: s.expires_at.timestamp() if s.expires_at else math.inf for s in alive}
        self._headers = {_header(key): key for key in keys.values()}
        signing = [stored.kid for stored in alive if stored.retired_at is None]
        self._current = keys[signing[0]] if signing else None
        self._header = _header(self._current) if self._current else b""

    async def rotate(self, *, reason: str) -> str:
        """Sign with a new key, and return its id. The old key verifies until its tokens have expired.

        If two processes rotate at the same time, both use the same one of the new keys.
        """
        replaced = self.current.kid
        await self._add(await self._generate(), replaces=replaced)
        await self.load()
        self._emit(
            event_kinds.AUTH_SIGNING_KEY_ROTATED,
            Severity.NOTICE,
            kid=self.current.kid,
            algorithm=self.current.algorithm,
            replaced=replaced,
            reason=reason,
        )
        return self.current.kid

    async def rotate_if_due(self) -> bool:
        """Rotate if the signing key has reached its maximum age, and destroy expired keys."""
        await self._store.delete_signing_keys(now=self._clock.now())
        await self.load()
        age = self._clock.now() - self._stored[self.current.kid].created_at
        if self._rotation is None or age < self._rotation:
            return False
        await self.rotate(reason="schedule")
        return True

    async def keep_until(self, kid: str, expires_at: datetime) -> None:
        """Keep a key, even once it is retired, until a token with a longer lifetime than the default has expired."""
        stored = self._stored.get(kid)
        if stored is None or stored.latest_token is None or stored.latest_token < expires_at:
            await self._store.note_token_expiry(kid, expires_at)
            if (stored := self._stored.get(kid)) is not None:
                self._stored[kid] = msgspec.structs.replace(stored, latest_token=expires_at)

    def public_keys(self) -> list[dict[str, Any]]:
        """The public keys, as JWKs. Secret keys have none."""
        found = (key.public_jwk() for kid, key in self._keys.items() if self.get(kid) is not None)
        return [jwk for jwk in found if jwk is not None]

    async def _look_up_later(self) -> None:
        try:
            await asyncio.sleep(max(0.0, self._loaded_at + _LOOKUP_INTERVAL - asyncio.get_running_loop().time()))
        finally:
            self._lookup = None  # a caller from here on needs a new read, which sees keys that this one misses
        await self.load()

    async def _make_first(self) -> None:
        if self._derived:
            key: SigningKey = HmacKey(derive_key(self._root, "gatewright auth", "jwt", "HS256"))
        else:
            key = await self._generate()
        await self._add(key, replaces=None)
        await self.load()
        self._emit(
            event_kinds.AUTH_SIGNING_KEY_CREATED,
            Severity.NOTICE,
            kid=self.current.kid,
            algorithm=self.current.algorithm,
        )

    async def _generate(self) -> SigningKey:
        if self._algorithm == "HS256":
            return generate("HS256", secrets.token_bytes(32))
        return await asyncio.to_thread(generate, self._algorithm, b"")

    async def _add(self, key: SigningKey, *, replaces: str | None) -> None:
        now = self._clock.now()
        stored = StoredSigningKey(
            kid=key.kid,
            algorithm=key.algorithm,
            sealed=self._box.seal(key.export(), _context(key.kid, key.algorithm)),
            created_at=now,
        )
        await self._store.add_signing_key(
            stored, replaces=replaces, now=now, verify_seconds=self._lifetime.total_seconds() + _OVERLAP
        )

    async def _open(self, stored: StoredSigningKey) -> SigningKey:
        try:
            exported = self._box.open(stored.sealed, _context(stored.kid, stored.algorithm))
        except DecryptionError:
            raise KeyUnavailableError(
                "The signing keys in the store were sealed under another secret key.",
                code="SIGNING_KEYS_SEALED",
                recommended_action="Start with the secret key that this store was created with.",
            ) from None
        if stored.algorithm == "HS256":
            return restore(stored.algorithm, stored.kid, exported)
        return await asyncio.to_thread(restore, stored.algorithm, stored.kid, exported)

    def _changed(self, _: str) -> None:
        self._stale = True


def _header(key: SigningKey) -> bytes:
    return encode_segment(msgspec.json.encode({"alg": key.algorithm, "typ": "JWT", "kid": key.kid}))


def _context(kid: str, algorithm: str) -> bytes:
    return f"{algorithm}\0{kid}".encode()
