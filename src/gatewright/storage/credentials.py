"""The storage protocol of second factors, passkeys, trusted devices and API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gatewright.records import Record


class StoredTotp(Record, frozen=True, kw_only=True):
    """An authenticator app of an account. ``secret`` is encrypted.

    An account has at most one that is ``active`` and one that waits to be confirmed. ``last_step`` is the last
    time step that was accepted; it only ever rises.
    """

    enrolment_id: str
    account_id: str
    secret: str
    active: bool = False
    last_step: int = -1
    created_at: datetime


class StoredPasskey(Record, frozen=True, kw_only=True):
    """A WebAuthn credential: its public key and the counter last seen."""

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
    """A device that its owner trusts. ``binding`` is a keyed hash of what it must look like."""

    device_id: str
    account_id: str
    name: str
    binding: str
    ip_address: str | None = None
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime


class FactorStore(Protocol):
    """What proves a person besides the password."""

    async def put_totp(self, totp: StoredTotp, code_hashes: Sequence[str]) -> None:
        """Keep an enrollment that waits to be confirmed, and its backup codes, in place of one that waited."""
        ...

    async def list_totp(self, account_id: str) -> list[StoredTotp]:
        """The active one first, then the one that waits."""
        ...

    async def accept_totp_step(self, account_id: str, enrolment_id: str, step: int) -> bool:
        """Advance the last accepted step to ``step``, if it is above it: exactly one of several callers does.

        An enrollment that waited becomes the active one with it, and replaces the one before and its codes.
        """
        ...

    async def replace_backup_codes(self, account_id: str, code_hashes: Sequence[str]) -> None:
        """Make these the backup codes of the account; older ones die."""
        ...

    async def use_backup_code(self, account_id: str, code_hash: str, *, now: datetime) -> str:
        """Use a code up: ``used`` for exactly one of several callers, ``replayed`` for the others, or ``unknown``."""
        ...

    async def count_backup_codes(self, account_id: str) -> int:
        """How many unused codes are left."""
        ...

    async def set_recovering(self, account_id: str, recovering: bool) -> None:
        """Whether sign-in must ask for a second factor although none is enrolled (after a reset by staff)."""
        ...

    async def is_recovering(self, account_id: str) -> bool: ...

    async def hold_factors(self, account_id: str, until: datetime) -> None:
        """Note that the account's factors do not count for sensitive operations until then; the later time stays."""
        ...

    async def release_factors(self, account_id: str) -> None:
        """Let the account's factors count."""
        ...

    async def factors_held_until(self, account_id: str) -> datetime | None:
        """The time that was recorded, even if past; None if there is none."""
        ...

    async def delete_factors(self, account_id: str, *, passkeys: bool) -> None:
        """Remove TOTP and backup codes, and passkeys too where asked, in one step."""
        ...

    # --- passkeys -----------------------------------------------------------------------------------------------

    async def add_passkey(self, passkey: StoredPasskey) -> bool:
        """Keep a passkey; False when its id is taken."""
        ...

    async def get_passkey(self, credential_id: str) -> StoredPasskey | None: ...

    async def list_passkeys(self, account_id: str) -> list[StoredPasskey]: ...

    async def advance_passkey(self, credential_id: str, sign_count: int, *, now: datetime) -> bool:
        """Note a use. False when the counter did not rise though it ever counted (WebAuthn L3 §6.1.1)."""
        ...

    async def delete_passkey(self, account_id: str, credential_id: str) -> bool: ...

    # --- devices ------------------------------------------------------------------------------------------------

    async def add_device(self, device: StoredDevice, *, keep: int) -> None:
        """Trust a device; beyond ``keep`` of an account, those unused for longest go."""
        ...

    async def get_device(self, device_id: str) -> StoredDevice | None: ...

    async def list_devices(self, account_id: str, *, now: datetime) -> list[StoredDevice]:
        """Devices whose trust has not ended, newest first."""
        ...

    async def touch_device(self, device_id: str, *, now: datetime) -> None:
        """Note a use."""
        ...

    async def delete_device(self, account_id: str, device_id: str) -> bool: ...

    async def delete_devices(self, account_id: str) -> int:
        """Trust no device of the account any longer; returns how many it were."""
        ...


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
        """Revoke a key; False if it does not exist or was already revoked."""
        ...
