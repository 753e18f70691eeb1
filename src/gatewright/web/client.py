"""Client of a request: the peer, or what a trusted proxy says in the one header that is configured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from gatewright.auth import ClientInfo
from gatewright.auth.proxies import DEFAULT_HEADER, TrustedProxies
from gatewright.web.rules import Scope

MAX_AGENT = 512
REMEMBERED = 4_096
"""Clients that are remembered, each with at most :data:`MAX_AGENT` bytes of headers."""


class ClientReader:
    """Reads the client off a request.

    Args:
        trusted_proxies: addresses and networks of the proxies.
        header: the header in which they name the client; no other forwarding header is read.
    """

    def __init__(self, trusted_proxies: Iterable[str] = (), *, header: str = DEFAULT_HEADER) -> None:
        self._proxies = TrustedProxies(trusted_proxies, header=header)
        self._header = self._proxies.header.encode("latin-1")
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._client)

    def read(self, scope: Scope, fields: Mapping[bytes, bytes]) -> ClientInfo:
        """Address and user agent; ``fields`` are the headers, the first of each name."""
        forwarded = _all(scope, self._header) if self._header in fields else ()
        agent, peer = fields.get(b"user-agent"), scope.get("client")
        device = fields.get(b"x-device-token")
        said = len(agent or b"") + sum(map(len, forwarded))
        # The same clients come again and again; what is long or secret is not kept.
        tell = self._remembered if device is None and said <= MAX_AGENT else self._client
        return tell(peer[0] if peer else None, agent, forwarded, device)

    def _client(
        self, peer: str | None, agent: bytes | None, forwarded: tuple[bytes, ...], device: bytes | None
    ) -> ClientInfo:
        address = self._proxies.client_address(peer, [value.decode("latin-1") for value in forwarded])
        return ClientInfo(ip_address=address, user_agent=_text(agent), device_token=_text(device))


def _all(scope: Scope, wanted: bytes) -> tuple[bytes, ...]:
    return tuple(value for name, value in scope["headers"] if name == wanted)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")[:MAX_AGENT]
