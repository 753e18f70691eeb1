"""Where a request comes from: the peer, or what trusted proxies tell of it."""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.auth import ClientInfo
from gatewright.auth.proxies import TrustedProxies
from gatewright.web.rules import Scope

MAX_AGENT = 512


class ClientReader:
    """Reads the client off a request.

    Args:
        trusted_proxies: addresses and networks whose forwarding headers are believed.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._proxies = TrustedProxies(trusted_proxies)

    def read(self, scope: Scope) -> ClientInfo:
        """Address and user agent."""
        forwarded: list[str] = []
        x_forwarded_for: list[str] = []
        agent = device = None
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = value.decode("latin-1")[:MAX_AGENT]
            elif name == b"forwarded":
                forwarded.append(value.decode("latin-1"))
            elif name == b"x-forwarded-for":
                x_forwarded_for.append(value.decode("latin-1"))
            elif name == b"x-device-token":
                device = value.decode("latin-1")[:MAX_AGENT]
        peer = scope.get("client")
        address = self._proxies.client_address(
            peer[0] if peer else None, forwarded=forwarded, x_forwarded_for=x_forwarded_for
        )
        return ClientInfo(ip_address=address, user_agent=agent, device_token=device)
