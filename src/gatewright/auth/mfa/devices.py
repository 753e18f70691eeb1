"""Trusted devices: signed tokens bound to an account and a kind of browser, revocable and expiring.

A device's token represents the second factor on that device, and gives it doors of its own: whoever fails on
purpose elsewhere does not lock its owner out.
"""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
from gatewright.auth.client_signals import read_agent
from gatewright.auth.records import ClientInfo, TrustedDevice
from gatewright.auth.root_secret import KeyedHash, bounded_text
from gatewright.clock import Clock, SystemClock
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.storage.credentials import FactorStore, StoredDevice

PREFIX = "gwd"
LIFETIME = timedelta(days=30)
KEEP = 20
"""Devices of one account; beyond that, the one unused for longest is trusted no more."""

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
        self._sink = sink or NullSink()
        self._clock = clock or SystemClock()

    async def remember(self, person: Person, client: ClientInfo | None, *, name: str | None = None) -> TrustedDevice:
        """Trust the device that the client is; the result has its token, once."""
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
        self._emit(event_kinds.AUTH_DEVICE_TRUSTED, Severity.NOTICE, person, device.device_id, client)
        return _describe(device, person.manufacturer_id, token=self._token(device))

    async def recognise(self, client: ClientInfo | None) -> StoredDevice | None:
        """The trusted device whose token the client shows, if signature, binding, expiry and list agree.

        The account it belongs to is for the caller to compare.
        """
        device = await self._find(client.device_token if client else None)
        return device if device and device.binding == self._binding(device.account_id, client) else None

    async def _find(self, token: object) -> StoredDevice | None:
        """The device of a token that is ours, listed and not expired."""
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
        """Whether the token is of a trusted device of this person; with a client, one of the same kind."""
        device = await self._find(token)
        if device is None or device.account_id != person.account_id:
            return False
        return client is None or device.binding == self._binding(device.account_id, client)

    async def used(self, device: StoredDevice) -> None:
        """Note a use."""
        await self._store.touch_device(device.device_id, now=self._clock.now())

    async def listed(self, person: Person) -> list[TrustedDevice]:
        """Devices that are trusted now, newest first, without tokens."""
        found = await self._store.list_devices(person.account_id, now=self._clock.now())
        return [_describe(device, person.manufacturer_id) for device in found]

    async def revoke(self, person: Person, device_id: str) -> bool:
        """Trust a device no longer; False when it was not trusted."""
        if not bounded_text(device_id, MAX_TOKEN_LENGTH):
            return False
        revoked = await self._store.delete_device(person.account_id, device_id)
        if revoked:
            self._emit(event_kinds.AUTH_DEVICE_REVOKED, Severity.NOTICE, person, device_id, None)
        return revoked

    async def revoke_all(self, person: Person) -> int:
        """Trust no device of the person any longer."""
        count = await self._store.delete_devices(person.account_id)
        if count:
            self._emit(event_kinds.AUTH_DEVICE_REVOKED, Severity.NOTICE, person, "*", None)
        return count

    def _token(self, device: StoredDevice) -> str:
        expires = format(device.expires_at.timestamp(), ".3f")
        mac = bytes.fromhex(self._keyed.of("device", device.device_id, device.account_id, device.binding, expires))
        return f"{PREFIX}_{device.device_id}_{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    def _binding(self, account_id: str, client: ClientInfo | None) -> str:
        return self._keyed.of("device-kind", account_id, _kind(client))

    def _emit(self, kind: str, severity: Severity, person: Person, device_id: str, client: ClientInfo | None) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=person.manufacturer_id,
                account_id=person.account_id,
                ip_address=client.ip_address if client else None,
                device_id=device_id,
            )
        )


def _kind(client: ClientInfo | None) -> str:
    """The kind of browser in words; updates of it change nothing."""
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
