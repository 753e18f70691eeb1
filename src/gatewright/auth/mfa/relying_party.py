"""The WebAuthn relying party: the domain of passkeys, and the origins that may use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gatewright.errors import ConfigurationError
from gatewright.records import Record

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared with, not bound to
_LOCAL_ORIGIN = re.compile(r"http://localhost(:[0-9]{1,5})?")


class RelyingParty(Record, frozen=True, kw_only=True):
    """The domain that passkeys belong to, and the origins of pages that may use them.

    ``local`` is for local development: any port of ``http://localhost`` is accepted.
    """

    rp_id: str
    name: str
    origins: tuple[str, ...]
    local: bool = False

    @classmethod
    def at(cls, public_url: str, *, name: str, rp_id: str | None = None) -> RelyingParty:
        """The relying party of a public URL. Every name of the local machine becomes ``localhost``.

        Browsers do not offer passkeys at the IP address of another machine; everything else works there.

        Raises:
            ConfigurationError: it is not an http(s) URL.
        """
        parts = urlsplit(public_url)
        host = parts.hostname or ""
        if not host or parts.scheme not in ("http", "https"):
            raise ConfigurationError(
                f"GATEWRIGHT_PUBLIC_URL={public_url}: must be an http(s) URL; set it to the public URL of this service."
            )
        origin = f"{parts.scheme}://{parts.netloc}"
        if host in _LOOPBACK and parts.scheme == "http":
            return cls(rp_id="localhost", name=name, origins=(origin,), local=True)
        return cls(rp_id=rp_id or host, name=name, origins=(origin,))

    def origins_for(self, credential: Mapping[str, Any]) -> list[str]:
        """The origins that are accepted for a credential."""
        origin = _origin_of(credential) if self.local else None
        local = [origin] if origin is not None and _LOCAL_ORIGIN.fullmatch(origin) else []
        return [*self.origins, *local]


class _ClientData(msgspec.Struct):
    origin: str


def decoded(value: object) -> str | None:
    """Convert Base64url text to hex. None for anything else."""
    from webauthn.helpers import base64url_to_bytes

    if not isinstance(value, str) or not 0 < len(value) <= 2_048:
        return None
    try:
        return base64url_to_bytes(value).hex()
    except ValueError:
        return None


def _origin_of(credential: Mapping[str, Any]) -> str | None:
    """The origin in the client data. It is signed, and compared again during verification."""
    response = credential.get("response") if isinstance(credential, Mapping) else None
    data = decoded(response.get("clientDataJSON")) if isinstance(response, Mapping) else None
    try:
        stated = msgspec.json.decode(bytes.fromhex(data or ""), type=_ClientData)
    except msgspec.MsgspecError:
        return None
    return stated.origin
