"""The signing key ring: one key signs, older keys verify until their tokens have expired.

Keys are random and kept sealed in the store, so that all processes share them and tokens outlive a restart.
Without a durable store, an HS256 key is derived from the root secret instead: the same secret gives the same key
and id. This ring has nothing to do with the keys of data at rest.
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
from gatewright.events import EventSink, Severity, event
from gatewright.storage.changes import Changes
from gatewright.storage.keys import SigningStore, StoredSigningKey

_LOOK_INTERVAL = 0.02
"""Seconds between two looks for unknown key ids: garbage ids must not become a load on the store."""

_SLACK = 60.0
"""Seconds that a retired key verifies beyond its tokens' life: other processes sign with it until they hear."""


class SigningKeyRing:
    """The keys by id, and which of them signs.

    Args:
        root: secret bytes from which the sealing key (and a derived key) come.
        algorithm: what new keys are for: HS256, ES256, EdDSA or RS256.
        derived: make the first HS256 key from ``root`` instead of at random.
        token_lifetime: how long tokens live as a rule; a retired key verifies that much longer.
        rotation: the age at which a key is replaced; None: only manually.
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
        self._sink = sink
        self._rotation = rotation
        self._keys: dict[str, SigningKey] = {}
        self._stored: dict[str, StoredSigningKey] = {}
        self._ends: dict[str, float] = {}
        self._headers: dict[bytes, SigningKey] = {}
        self._current: SigningKey | None = None
        self._header = b""
        self._stale = True
        self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()
        self._stop: Callable[[], None] | None = None

    async def open(self) -> None:
        """Read the ring; make its first key, or the first of another algorithm, if there is none yet."""
        if self._stop is None:
            self._stop = self._changes.subscribe("signing_keys", self._changed)
        await self.load()
        if self._current is None:
            await self._make_first()
        elif self._current.algorithm != self._algorithm:
            await self.rotate(reason="algorithm")

    def close(self) -> None:
        """Stop listening for changes."""
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
        """Whether another process has changed the ring."""
        return self._stale

    def get(self, kid: str) -> SigningKey | None:
        """The key of that id, if it still verifies."""
        return self._keys.get(kid) if self._clock.timestamp() < self._ends.get(kid, 0.0) else None

    def by_header(self, header: bytes) -> SigningKey | None:
        """The key whose tokens have exactly this encoded header, if it still verifies."""
        key = self._headers.get(header)
        return key if key is not None and self._clock.timestamp() < self._ends[key.kid] else None

    async def find(self, kid: str) -> SigningKey | None:
        """As :meth:`get`, after a look at the store for a key that another process made just now.

        All who wait share one look, and there are at most fifty a second.
        """
        if self.get(kid) is None:
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look_in_turn())
            await asyncio.shield(self._looking)
        return self.get(kid)

    async def load(self) -> None:
        """Take the ring from the store."""
        async with self._loading:  # an older look must not overwrite a newer one
            await self._load()

    async def _load(self) -> None:
        self._looked = asyncio.get_running_loop().time()
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
        """Make a new key sign; the old one verifies until its tokens have expired. Returns the id that signs now.

        When another process rotates at the same time, one of the two new keys is taken by both.
        """
        replaced = self.current.kid
        await self._add(await self._generate(), replaces=replaced)
        await self.load()
        self._emit(event_kinds.AUTH_SIGNING_KEY_ROTATED, replaced=replaced, reason=reason)
        return self.current.kid

    async def rotate_if_due(self) -> bool:
        """Rotate when the key that signs has reached its age; destroy keys that verify nothing any more."""
        await self._store.delete_signing_keys(now=self._clock.now())
        await self.load()
        age = self._clock.now() - self._stored[self.current.kid].created_at
        if self._rotation is None or age < self._rotation:
            return False
        await self.rotate(reason="schedule")
        return True

    async def keep_until(self, kid: str, expires_at: datetime) -> None:
        """Make sure that a key verifies a token that lives longer than usual, retired meanwhile or not."""
        stored = self._stored.get(kid)
        if stored is None or stored.latest_token is None or stored.latest_token < expires_at:
            await self._store.note_token_expiry(kid, expires_at)
            if (stored := self._stored.get(kid)) is not None:
                self._stored[kid] = msgspec.structs.replace(stored, latest_token=expires_at)

    def public_keys(self) -> list[dict[str, Any]]:
        """The public halves of all keys that verify, as JWKs; secrets have none."""
        found = (key.public_jwk() for kid, key in self._keys.items() if self.get(kid) is not None)
        return [jwk for jwk in found if jwk is not None]

    async def _look_in_turn(self) -> None:
        try:
            await asyncio.sleep(max(0.0, self._looked + _LOOK_INTERVAL - asyncio.get_running_loop().time()))
        finally:
            self._looking = None  # who comes from here on would miss what this look cannot see any more
        await self.load()

    async def _make_first(self) -> None:
        if self._derived:
            key: SigningKey = HmacKey(derive_key(self._root, "gatewright auth", "jwt", "HS256"))
        else:
            key = await self._generate()
        await self._add(key, replaces=None)
        await self.load()
        self._emit(event_kinds.AUTH_SIGNING_KEY_CREATED)

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
            stored, replaces=replaces, now=now, verify_seconds=self._lifetime.total_seconds() + _SLACK
        )

    async def _open(self, stored: StoredSigningKey) -> SigningKey:
        try:
            exported = self._box.open(stored.sealed, _context(stored.kid, stored.algorithm))
        except DecryptionError:
            raise KeyUnavailableError(
                "The signing keys in the store were sealed under another secret key.",
                code="SIGNING_KEYS_SEALED",
                recommended_action="Start with the secret key with which this store was created.",
            ) from None
        if stored.algorithm == "HS256":
            return restore(stored.algorithm, stored.kid, exported)
        return await asyncio.to_thread(restore, stored.algorithm, stored.kid, exported)

    def _emit(self, kind: str, **data: Any) -> None:
        self._sink.emit(
            event(
                kind,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                kid=self.current.kid,
                algorithm=self.current.algorithm,
                **data,
            )
        )

    def _changed(self, _: str) -> None:
        self._stale = True


def _header(key: SigningKey) -> bytes:
    return encode_segment(msgspec.json.encode({"alg": key.algorithm, "typ": "JWT", "kid": key.kid}))


def _context(kid: str, algorithm: str) -> bytes:
    return f"{algorithm}\0{kid}".encode()
