"""Client address: the peer, or what a trusted proxy reports in the configured header.

One header counts: the one that the platform's own proxy writes. Every other forwarding header is text from a
stranger. Clients can write anything on the left of a list header, so the list is read from the right: from the peer
leftwards for as long as the hops are trusted proxies, and the first one that is not is the client.

A trusted proxy that does not name its client in a readable way leaves the client unknown. Taking the proxy's own
address instead would let one client spend the allowance of all of them, and get the proxy blocked. A missing header
is no exception: a client can ask some proxies to drop it (``Connection: X-Forwarded-For``, CVE-2022-31813).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from gatewright.auth import ClientInfo
from gatewright.errors import ConfigurationError
from gatewright.web.rules import Scope

DEFAULT_HEADER = "X-Forwarded-For"

MAX_HEADER = 4_096
"""Characters of a list header that are read, from the right."""

MAX_HOPS = 32
"""Hops that are followed. A longer chain of trusted proxies leaves the client unknown."""

UNREADABLE = "unknown"
"""A hop that names no address (RFC 7239 §6.2)."""

_PORT = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,64})")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Finds the client's address.

    Args:
        networks: addresses and CIDR networks of the trusted proxies; with none, the peer is the client.
        header: the header that these proxies write. ``X-Forwarded-For`` and ``Forwarded`` (RFC 7239) are lists;
            any other header holds exactly one address, such as ``X-Real-IP`` or ``CF-Connecting-IP``.

    Raises:
        ConfigurationError: one of the networks is not an address or network.
    """

    def __init__(self, networks: Iterable[str] = (), *, header: str = DEFAULT_HEADER) -> None:
        self.header = header.lower()
        self._networks: list[Network] = []
        for text in networks:
            try:
                self._networks.append(ipaddress.ip_network(text.strip(), strict=False))
            except ValueError:
                raise ConfigurationError(
                    f"GATEWRIGHT_TRUSTED_PROXIES={text}: must be addresses or CIDR networks;"
                    " write for example 10.0.0.0/8, or remove it.",
                    context={"setting": "GATEWRIGHT_TRUSTED_PROXIES"},
                ) from None

    def trusts(self, address: str) -> bool:
        """Whether this is one of the proxies."""
        found = _address(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self._networks
        )

    def client_address(self, peer: str | None, values: Iterable[str] = ()) -> str | None:
        """The client's address in its shortest form, or None where it is unknown.

        Args:
            peer: the address of the connection.
            values: the values of :attr:`header`, in the order in which they came.
        """
        found = _address(peer) if peer else None
        if found is None or not self.trusts(str(found)):
            return None if found is None else str(found)
        nearest: str | None = None
        for count, hop in enumerate(self._hops(list(values))):
            nearest = _hop_address(hop) if count < MAX_HOPS else None
            if nearest is None or not self.trusts(nearest):
                break
        return nearest

    def _hops(self, values: list[str]) -> Iterator[str]:
        """What the header names, the nearest hop first."""
        if self.header == "x-forwarded-for":
            hops = reversed(_joined(values).split(","))
            yield from (hop for hop in hops if hop.strip(" \t"))
        elif self.header == "forwarded":
            elements = _from_the_right(_joined(values), ",")
            yield from (_for_of(element) for element in elements if element.strip(" \t"))
        elif values:
            yield values[0] if len(values) == 1 else UNREADABLE


def _address(text: str) -> Address | None:
    """An address without its zone; IPv4 mapped into IPv6 (``::ffff:192.0.2.1``) as IPv4."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _hop_address(text: str) -> str | None:
    """The address of ``192.0.2.1``, ``192.0.2.1:80``, ``[2001:db8::1]:80`` or ``2001:db8::1``."""
    hop, port = text.strip(" \t"), ""
    if hop.startswith("["):
        hop, bracket, port = hop[1:].partition("]")
        if not bracket or ":" not in hop:
            return None
    elif hop.count(":") == 1:
        hop, colon, port = hop.partition(":")
        port = colon + port
    if port and _PORT.fullmatch(port) is None:
        return None
    found = _address(hop)
    return None if found is None else str(found)


def _joined(values: list[str]) -> str:
    """The lines of a list header as one list; a hop that does not fit into the bounds is unreadable."""
    joined = ",".join(values)
    if len(joined) > MAX_HEADER:
        joined = f"{UNREADABLE},{joined[-MAX_HEADER:].partition(',')[2]}"
    return joined


def _for_of(element: str) -> str:
    """The one ``for`` of an element of ``Forwarded``."""
    found: str | None = None
    for pair in _from_the_right(element, ";"):
        if not pair.strip(" \t"):
            continue
        name, equals, value = pair.partition("=")
        value = value.strip(" \t")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        elif '"' in value:
            return UNREADABLE
        if name.strip(" \t").lower() == "for":
            if found is not None:
                return UNREADABLE
            found = value
        elif not equals:
            return UNREADABLE
    return found or UNREADABLE


def _from_the_right(text: str, separator: str) -> Iterator[str]:
    """The parts of ``text`` between separators outside quoted strings, the last first.

    Read from the right, a quotation mark that a client left open on the left cannot swallow what the proxy added.
    What the proxy copied into quotes (``host="a, for=192.0.2.1"``) is not a hop.
    """
    end, quoted = len(text), False
    for place in range(len(text) - 1, -1, -1):
        char = text[place]
        if char == '"':
            before = text[:place]
            if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
                quoted = not quoted
        elif char == separator and not quoted:
            yield text[place + 1 : end]
            end = place
    yield text[:end]


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
