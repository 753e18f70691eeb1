"""API keys of machines, as every store keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredApiKey(Record, frozen=True, kw_only=True):
    """A key without its secret: ``secret_hash`` is a keyed hash. ``replaces`` names the key it was rotated from."""

    key_id: str
    manufacturer_id: str
    account_id: str | None = None
    name: str
    secret_hash: str
    permissions: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    replaces: str | None = None


class ApiKeyStore(Protocol):
    """Keys by id. An end (revoked, or an earlier expiry) is a change of topic ``api_key``."""

    async def add_api_key(self, key: StoredApiKey, *, limit: int) -> bool:
        """Keep a key; False when the manufacturer has ``limit`` keys that are not revoked."""
        ...

    async def rotate_api_key(self, key: StoredApiKey, *, old_expires_at: datetime) -> bool:
        """Keep ``key`` and let the one it replaces end at ``old_expires_at`` (never later than before).

        False when that one is revoked, was rotated already, or is not of the same manufacturer.
        """
        ...

    async def get_api_key(self, key_id: str) -> StoredApiKey | None: ...

    async def list_api_keys(self, manufacturer_id: str) -> list[StoredApiKey]:
        """Newest first, revoked ones too."""
        ...

    async def touch_api_key(self, key_id: str, *, now: datetime) -> None:
        """Note a use."""
        ...

    async def revoke_api_key(self, key_id: str, *, now: datetime) -> bool:
        """End a key; False when there is none or it ended before."""
        ...
