"""Trusted devices: signed tokens bound to an account and a kind of browser, revocable and expiring.

A device's token counts as the second factor on that device. It also gives the device its own lockout keys, so that
failures elsewhere do not lock its owner out.
"""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta

from gatewright import event_kinds
from gatewright.auth.account_directory import Person, event_fields
from gatewright.auth.client_signals import read_agent
from gatewright.auth.records import ClientInfo, TrustedDevice
from gatewright.auth.root_secret import KeyedHash, bounded_text
from gatewright.clock import Clock, SystemClock
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.credentials import FactorStore, StoredDevice

PREFIX = "gwd"
LIFETIME = timedelta(days=30)
KEEP = 20
"""Maximum number of trusted devices per account. A further one replaces the one that was unused for longest."""

MAX_TOKEN_LENGTH = 256
MAX_NAME_LENGTH = 100


class TrustedDevices:
    """Remembers and recognizes devices.

    Args:
        lifetime: how long a device is trusted.
    """

    def __init__(
        self,
        store: FactorStore,
        keyed: KeyedHash,
        *,
        lifetime: timedelta = LIFETIME,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._keyed = keyed
        self._lifetime = lifetime
        self._clock = clock or SystemClock()
        self._emit = emitter(sink, self._clock)

    async def remember(self, person: Person, client: ClientInfo | None, *, name: str | None = None) -> TrustedDevice:
        """Trust the client's device. Only this result contains the device's token."""
        now = self._clock.now()
        device = StoredDevice(
            device_id=secrets.token_hex(16),
            account_id=person.account_id,
            name=bounded_text(name, MAX_NAME_LENGTH).strip() or _kind(client)[:MAX_NAME_LENGTH],
            binding=self._binding(person.account_id, client),
            ip_address=client.ip_address if client else None,
            created_at=now,
            expires_at=now + self._lifetime,
        )
        await self._store.add_device(device, keep=KEEP)
        self._emit(
            event_kinds.AUTH_DEVICE_TRUSTED,
            Severity.NOTICE,
            **event_fields(person, client),
            device_id=device.device_id,
        )
        return _describe(device, person.manufacturer_id, token=self._token(device))

    async def recognize(self, client: ClientInfo | None) -> StoredDevice | None:
        """The client's trusted device, by its token. None if invalid, revoked, expired or another browser's.

        The caller must check that the device belongs to the right account.
        """
        device = await self._find(client.device_token if client else None)
        return device if device and device.binding == self._binding(device.account_id, client) else None

    async def _find(self, token: object) -> StoredDevice | None:
        """The device of a token whose signature is valid, and which is neither revoked nor expired."""
        if not isinstance(token, str) or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return None
        prefix, _, rest = token.partition("_")
        device_id, _, signature = rest.partition("_")
        if prefix != PREFIX or not signature:
            return None
        device = await self._store.get_device(device_id)
        if device is None or not secrets.compare_digest(self._token(device).encode(), token.encode()):
            return None
        return device if device.expires_at > self._clock.now() else None

    async def verify(self, person: Person, token: object, client: ClientInfo | None) -> bool:
        """Whether the token belongs to a trusted device of this person and, if a client is given, to its browser."""
        device = await self._find(token)
        if device is None or device.account_id != person.account_id:
            return False
        return client is None or device.binding == self._binding(device.account_id, client)

    async def record_use(self, device: StoredDevice) -> None:
        """Record that a device was used."""
        await self._store.touch_device(device.device_id, now=self._clock.now())

    async def listed(self, person: Person) -> list[TrustedDevice]:
        """The person's trusted devices, newest first, without their tokens."""
        found = await self._store.list_devices(person.account_id, now=self._clock.now())
        return [_describe(device, person.manufacturer_id) for device in found]

    async def revoke(self, person: Person, device_id: str) -> bool:
        """Stop trusting a device. False if it was not trusted."""
        if not bounded_text(device_id, MAX_TOKEN_LENGTH):
            return False
        revoked = await self._store.delete_device(person.account_id, device_id)
        if revoked:
            self._emit(event_kinds.AUTH_DEVICE_REVOKED, Severity.NOTICE, **event_fields(person), device_id=device_id)
        return revoked

    async def revoke_all(self, person: Person) -> int:
        """Stop trusting all devices of the person. Returns how many there were."""
        count = await self._store.delete_devices(person.account_id)
        if count:
            self._emit(event_kinds.AUTH_DEVICE_REVOKED, Severity.NOTICE, **event_fields(person), device_id="*")
        return count

    def _token(self, device: StoredDevice) -> str:
        expires = format(device.expires_at.timestamp(), ".3f")
        mac = bytes.fromhex(self._keyed.of("device", device.device_id, device.account_id, device.binding, expires))
        return f"{PREFIX}_{device.device_id}_{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    def _binding(self, account_id: str, client: ClientInfo | None) -> str:
        return self._keyed.of("device-kind", account_id, _kind(client))


def _kind(client: ClientInfo | None) -> str:
    """The kind of browser, such as ``Chrome on Windows``. Browser updates do not change it."""
    return read_agent(client.user_agent).label if client and client.user_agent else "unknown device"


def _describe(device: StoredDevice, manufacturer_id: str, *, token: str | None = None) -> TrustedDevice:
    return TrustedDevice(
        device_id=device.device_id,
        manufacturer_id=manufacturer_id,
        account_id=device.account_id,
        name=device.name,
        created_at=device.created_at,
        expires_at=device.expires_at,
        last_used_at=device.last_used_at,
        ip_address=device.ip_address,
        device_token=token,
    )
