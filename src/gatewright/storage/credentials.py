"""The storage protocol of second factors, passkeys, trusted devices and API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredTotp(Record, frozen=True, kw_only=True):
    """An authenticator app of an account. ``secret`` is encrypted.

    An account has at most one ``active`` enrollment and one pending confirmation. ``last_step`` is the last accepted
    time step; it never decreases.
    """

    enrolment_id: str
    account_id: str
    secret: str
    active: bool = False
    last_step: int = -1
    created_at: datetime


class StoredPasskey(Record, frozen=True, kw_only=True):
    """A WebAuthn credential, with its public key and last signature counter."""

    credential_id: str
    account_id: str
    public_key: bytes
    sign_count: int
    name: str
    device_type: str = "single_device"
    backed_up: bool = False
    created_at: datetime
    last_used_at: datetime | None = None


class StoredDevice(Record, frozen=True, kw_only=True):
    """A trusted device. ``binding`` is a keyed hash of the attributes that identify it."""

    device_id: str
    account_id: str
    name: str
    binding: str
    ip_address: str | None = None
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime


class FactorStore(Protocol):
    """Second factors, passkeys and trusted devices."""

    async def put_totp(self, totp: StoredTotp, code_hashes: Sequence[str]) -> None:
        """Store a pending enrollment and its backup codes, replacing an earlier pending one."""
        ...

    async def list_totp(self, account_id: str) -> list[StoredTotp]:
        """List the active enrollment, then the pending one."""
        ...

    async def accept_totp_step(self, account_id: str, enrolment_id: str, step: int) -> bool:
        """Advance ``last_step`` to ``step`` if that is higher; exactly one of several concurrent callers succeeds.

        This activates a pending enrollment, which replaces the active one and its codes.
        """
        ...

    async def replace_backup_codes(self, account_id: str, code_hashes: Sequence[str]) -> None:
        """Replace the backup codes of the account; earlier codes become invalid."""
        ...

    async def use_backup_code(self, account_id: str, code_hash: str, *, now: datetime) -> str:
        """Consume a code: ``used`` for exactly one of several callers, ``replayed`` for the rest, or ``unknown``."""
        ...

    async def count_backup_codes(self, account_id: str) -> int:
        """Return the number of unused codes."""
        ...

    async def set_recovering(self, account_id: str, recovering: bool) -> None:
        """Set whether sign-in requires a second factor even though none is enrolled (after a reset by staff)."""
        ...

    async def is_recovering(self, account_id: str) -> bool: ...

    async def hold_factors(self, account_id: str, until: datetime) -> None:
        """Suspend the account's factors for sensitive operations until then; a later time already set is kept."""
        ...

    async def release_factors(self, account_id: str) -> None:
        """End the suspension of the account's factors."""
        ...

    async def factors_held_until(self, account_id: str) -> datetime | None:
        """Return the end of the suspension, even if past; None if none was set."""
        ...

    async def delete_factors(self, account_id: str, *, passkeys: bool) -> None:
        """Delete TOTP and backup codes, and passkeys if requested, in one step."""
        ...

    # --- passkeys -----------------------------------------------------------------------------------------------

    async def add_passkey(self, passkey: StoredPasskey) -> bool:
        """Store a passkey; False if its id is taken."""
        ...

    async def get_passkey(self, credential_id: str) -> StoredPasskey | None: ...

    async def list_passkeys(self, account_id: str) -> list[StoredPasskey]: ...

    async def advance_passkey(self, credential_id: str, sign_count: int, *, now: datetime) -> bool:
        """Record a use. False if a counter in use did not increase (WebAuthn L3 §6.1.1)."""
        ...

    async def delete_passkey(self, account_id: str, credential_id: str) -> bool: ...

    # --- devices ------------------------------------------------------------------------------------------------

    async def add_device(self, device: StoredDevice, *, keep: int) -> None:
        """Trust a device. Above ``keep`` devices, the least recently used ones of the account are removed."""
        ...

    async def get_device(self, device_id: str) -> StoredDevice | None: ...

    async def list_devices(self, account_id: str, *, now: datetime) -> list[StoredDevice]:
        """List devices with unexpired trust, newest first."""
        ...

    async def touch_device(self, device_id: str, *, now: datetime) -> None:
        """Record a use."""
        ...

    async def delete_device(self, account_id: str, device_id: str) -> bool: ...

    async def delete_devices(self, account_id: str) -> int:
        """Remove all trusted devices of the account, and return their number."""
        ...


class StoredApiKey(Record, frozen=True, kw_only=True):
    """An API key. ``secret_hash`` is a keyed hash of the secret; ``replaces`` is the key it was rotated from."""

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
    """API keys. Revocation and an earlier expiry are published under topic ``api_key``."""

    async def add_api_key(self, key: StoredApiKey, *, limit: int) -> bool:
        """Store a key; False if the manufacturer already has ``limit`` unrevoked keys."""
        ...

    async def rotate_api_key(self, key: StoredApiKey, *, old_expires_at: datetime) -> bool:
        """Store ``key``, and expire the key it replaces at ``old_expires_at`` or at its own expiry if earlier.

        False if the replaced key is revoked, already rotated, or belongs to another manufacturer.
        """
        ...

    async def get_api_key(self, key_id: str) -> StoredApiKey | None: ...

    async def list_api_keys(self, manufacturer_id: str) -> list[StoredApiKey]:
        """List keys, newest first, including revoked ones."""
        ...

    async def touch_api_key(self, key_id: str, *, now: datetime) -> None:
        """Record a use."""
        ...

    async def revoke_api_key(self, key_id: str, *, now: datetime) -> bool:
        """Revoke a key; False if it is unknown or already revoked."""
        ...
