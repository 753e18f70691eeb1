"""Clients: what an address and a user agent say about where a call comes from."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

from gatewright.auth.records import ClientInfo
from gatewright.controls import network_of
from gatewright.records import Record

MAX_AGENT_LENGTH = 512
"""Characters of a user agent that are looked at and kept."""

MAX_ADDRESS_LENGTH = 45
"""Characters of the longest textual IPv6 address."""

_VERSION = re.compile(r"/[0-9][0-9A-Za-z.+_-]{0,40}")


class Agent(Record, frozen=True, kw_only=True):
    """A user agent, taken apart: ``family`` (``Chrome``), ``platform`` (``Windows``), major ``version``."""

    family: str
    platform: str | None = None
    version: int | None = None

    @property
    def label(self) -> str:
        """In words: ``Chrome on Windows``."""
        return f"{self.family} on {self.platform}" if self.platform else self.family


def client_info(value: Any) -> ClientInfo | None:
    """``value`` as a client: one already, None, or any mapping or object with the same fields.

    Lengths are bounded here, so nothing behind it needs to.
    """
    if value is None:
        return None
    read = value.get if isinstance(value, dict) else functools.partial(_attribute, value)
    return ClientInfo(
        ip_address=_bounded(read("ip_address"), MAX_ADDRESS_LENGTH),
        user_agent=_bounded(read("user_agent"), MAX_AGENT_LENGTH),
        device_token=_bounded(read("device_token"), MAX_AGENT_LENGTH),
    )


def network_key(ip_address: str | None) -> str | None:
    """The network that counts as one place (/24 of IPv4, /64 of IPv6); text that is no address stands for itself."""
    if ip_address is None:
        return None
    return network_of(ip_address) or ip_address[:MAX_ADDRESS_LENGTH]


@functools.lru_cache(maxsize=4096)
def read_agent(user_agent: str) -> Agent:
    """Take a user agent apart. What no list knows is its own family, less the versions in it."""
    from ua_parser import parse

    text = user_agent[:MAX_AGENT_LENGTH]
    found = parse(text)
    browser, system = found.user_agent, found.os
    major = browser.major if browser else None
    return Agent(
        family=browser.family if browser else _VERSION.sub("", text).strip()[:80],
        platform=system.family if system else None,
        version=int(major) if major and major.isdecimal() and len(major) < 6 else None,
    )


def same_client_key(client: ClientInfo | None) -> bytes | None:
    """What stands for a client (network and user agent) where two calls must come from the same one.

    None when there is too little to tell clients apart by: then no call is the same client's.
    """
    if client is None or client.ip_address is None or client.user_agent is None:
        return None
    text = f"{network_key(client.ip_address)}\n{client.user_agent}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _attribute(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def _bounded(value: Any, length: int) -> str | None:
    return None if value is None else str(value)[:length].encode("utf-8", "replace").decode()
