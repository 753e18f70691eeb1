"""Profiles: the encrypted business data of manufacturers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gatewright.encryption.manager import ManufacturerEncryptionManager
from gatewright.encryption.records import Envelope
from gatewright.encryption.reencryption import SourceRecord
from gatewright.errors import StoreUnavailableError, ValidationError
from gatewright.storage.tenants import TenantStore

FIELD = "profile"
_ATTEMPTS = 5


class Profiles:
    """Encrypts, decrypts and replaces profiles. Also a record source for re-encryption.

    Args:
        encryption: encrypts under each manufacturer's key.
        store: stores the envelopes as JSON.
    """

    name = "profiles"

    def __init__(self, encryption: ManufacturerEncryptionManager, store: TenantStore) -> None:
        self._encryption = encryption
        self._store = store

    async def seal_profile(self, manufacturer_id: str, fields: Mapping[str, Any]) -> str:
        """Encrypt a profile for the store."""
        envelope = await self._encryption.encrypt_manufacturer_data(
            dict(fields), manufacturer_id=manufacturer_id, classification="business_confidential", field=FIELD
        )
        return msgspec.json.encode(envelope).decode()

    async def open_profile(self, manufacturer_id: str, profile: str) -> dict[str, Any]:
        """Decrypt a stored profile. Raises DecryptionError."""
        fields = await self._encryption.decrypt_manufacturer_data(
            msgspec.json.decode(profile), manufacturer_id=manufacturer_id, field=FIELD
        )
        return dict(fields)

    async def read(self, manufacturer_id: str, *, clear: bool) -> dict[str, Any]:
        """A manufacturer's profile. With ``clear=False`` its values are masked."""
        stored = await self._store.get_manufacturer(manufacturer_id)
        if stored is None or stored.profile is None:
            return {}
        fields = await self.open_profile(manufacturer_id, stored.profile)
        if clear:
            return fields
        masked: dict[str, Any] = self._encryption.mask(fields)
        return masked

    async def merge(self, manufacturer_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields of a profile, and return all of them.

        Raises:
            ValidationError: the manufacturer does not exist.
            StoreUnavailableError: concurrent changes prevented the update.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._store.get_manufacturer(manufacturer_id)
            if stored is None:
                raise ValidationError("Unknown manufacturer id.", code="UNKNOWN_MANUFACTURER")
            before = await self.open_profile(manufacturer_id, stored.profile) if stored.profile else {}
            after = {**before, **changes}
            sealed = await self.seal_profile(manufacturer_id, after)
            if await self._store.replace_profile(manufacturer_id, expected=stored.profile, profile=sealed):
                return after
        raise StoreUnavailableError("The profile is being changed by another request. Try again.", retry_after=1)

    # --- record source for re-encryption ----------------------------------------------------------------------------

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        """Profiles in the order of manufacturer ids."""
        records: list[SourceRecord] = []
        while len(records) < limit:
            stored = await self._store.list_manufacturers(after=after or "", limit=limit)
            records += [
                SourceRecord(record_id=m.manufacturer_id, envelope=_envelope(m.profile)) for m in stored if m.profile
            ]
            if len(stored) < limit:
                break
            after = stored[-1].manufacturer_id
        return records[:limit]

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        """Replace ``expected`` with ``envelope``. Returns False if the stored value has changed."""
        stored = await self._store.get_manufacturer(record_id)
        if stored is None or stored.profile is None or msgspec.json.decode(stored.profile) != expected:
            return False
        text = msgspec.json.encode(envelope).decode()
        return await self._store.replace_profile(record_id, expected=stored.profile, profile=text)


def _envelope(profile: str) -> Envelope:
    return dict(msgspec.json.decode(profile))
