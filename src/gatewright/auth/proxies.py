"""The address a request comes from, behind proxies that are trusted, read from the right.

Anyone may write anything on the left of ``X-Forwarded-For``; only what a trusted proxy added on the right is
worth something. So one goes from the peer leftwards as long as the hops are trusted, and the first that is
not is the client. RFC 7239 for ``Forwarded``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from gatewright.errors import ConfigurationError

MAX_HEADER = 4_096
"""Characters of a forwarding header that are read; the right end counts, so the left is cut."""

MAX_HOPS = 32

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Finds the client's address.

    Args:
        networks: addresses and CIDR networks of the proxies that are trusted; none: the peer is the client.

    Raises:
        ConfigurationError: one of them is no address or network.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
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

    def client_address(
        self, peer: str | None, *, forwarded: Iterable[str] = (), x_forwarded_for: Iterable[str] = ()
    ) -> str | None:
        """The client's address: the first from the right that is no trusted proxy.

        A hop that names no address ends the way: the proxy that wrote it is the nearest that is known. Where a
        proxy sends both headers, ``Forwarded`` counts.

        Args:
            peer: the address of the connection.
            forwarded, x_forwarded_for: the values of these headers, in the order in which they came.
        """
        if peer is None or not self._networks or not self.trusts(peer):
            return _plain(peer)
        hops = _forwarded_hops(forwarded) or _list_hops(x_forwarded_for)
        nearest = peer
        for hop in reversed(hops[-MAX_HOPS:]):
            address = _hop_address(hop)
            if address is None:
                break
            nearest = address
            if not self.trusts(address):
                break
        return _plain(nearest)


def _plain(address: str | None) -> str | None:
    """IPv4 in IPv6 clothes (``::ffff:192.0.2.1``) as IPv4; anything that is no address as it is."""
    found = _address(address) if address else None
    return str(found) if found is not None else address


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _hop_address(text: str) -> str | None:
    """The address of ``192.0.2.1``, ``192.0.2.1:80``, ``[2001:db8::1]:80`` or ``2001:db8::1``."""
    hop = text.strip().strip('"').strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    found = _address(hop)
    return str(found) if found is not None else None


def _list_hops(values: Iterable[str]) -> list[str]:
    joined = ",".join(values)[-MAX_HEADER:]
    return [hop for hop in joined.split(",") if hop.strip()]


def _forwarded_hops(values: Iterable[str]) -> list[str]:
    """The ``for`` of each element; an element without one is a hop that names no address.

    Quotes are not minded when splitting: an address holds no comma, and a quote that a client left open must
    not swallow what the proxy added behind it.
    """
    joined = ",".join(values)[-MAX_HEADER:]
    hops = []
    for element in joined.split(","):
        if element.strip():
            pairs = (pair.partition("=") for pair in element.split(";"))
            hops.append(next((value.strip() for name, _, value in pairs if name.strip().lower() == "for"), "unknown"))
    return hops
