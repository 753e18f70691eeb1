"""The client's address behind trusted proxies, read from the right."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gatewright.auth.proxies import TrustedProxies
from gatewright.errors import ConfigurationError

PROXY, INNER, CLIENT, LIE = "10.0.0.1", "10.0.0.2", "203.0.113.9", "192.0.2.66"
proxies = TrustedProxies(["10.0.0.0/8", "fd00::/8"])


def xff(peer: str, *values: str) -> str | None:
    return proxies.client_address(peer, x_forwarded_for=values)


def fwd(peer: str, *values: str) -> str | None:
    return proxies.client_address(peer, forwarded=values)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (xff(PROXY, CLIENT), CLIENT),
        (xff(PROXY, f"{CLIENT}, {INNER}"), CLIENT),
        (xff(PROXY, f"{LIE}, {CLIENT}"), CLIENT),
        (xff(PROXY, LIE, CLIENT), CLIENT),
        (xff(PROXY, f"{LIE}, {CLIENT}, {INNER}"), CLIENT),
        (xff(CLIENT, LIE), CLIENT),
        (xff(PROXY), PROXY),
        (xff(PROXY, ""), PROXY),
        (xff(PROXY, f"{INNER}, 10.9.9.9"), INNER),
        (xff(PROXY, f"{CLIENT}:443"), CLIENT),
        (xff(PROXY, "[2001:db8::7]:443"), "2001:db8::7"),
        (xff(PROXY, "2001:db8::7"), "2001:db8::7"),
        (xff(PROXY, f"{LIE}, garbage"), PROXY),
        (xff(PROXY, f"{LIE}, garbage, {INNER}"), INNER),
        (xff("::ffff:10.0.0.1", CLIENT), CLIENT),
        (xff("::ffff:203.0.113.9", LIE), CLIENT),
        (xff(PROXY, f"::ffff:{CLIENT}"), CLIENT),
        (fwd(PROXY, f"for={CLIENT}"), CLIENT),
        (fwd(PROXY, f'For="{CLIENT}:80";proto=https;by={PROXY}'), CLIENT),
        (fwd(PROXY, 'for="[2001:db8::7]:443"'), "2001:db8::7"),
        (fwd(PROXY, f"for={LIE}, for={CLIENT}, for={INNER}"), CLIENT),
        (fwd(PROXY, f"for={LIE}", f"for={CLIENT}"), CLIENT),
        (fwd(PROXY, f'for="{LIE}', f"for={CLIENT}"), CLIENT),
        (fwd(PROXY, f"for={LIE}, for=_hidden"), PROXY),
        (fwd(PROXY, f"for={LIE}, proto=https"), PROXY),
        (fwd(PROXY, "for=unknown"), PROXY),
    ],
)
def test_the_first_untrusted_hop_from_the_right(found: str | None, expected: str) -> None:
    assert found == expected


def test_forwarded_counts_where_both_are_sent() -> None:
    found = proxies.client_address(PROXY, forwarded=[f"for={CLIENT}"], x_forwarded_for=[LIE])
    assert found == CLIENT


def test_without_trusted_proxies_no_header_counts() -> None:
    nobody = TrustedProxies()
    assert nobody.client_address(PROXY, forwarded=[f"for={LIE}"], x_forwarded_for=[LIE]) == PROXY
    assert nobody.client_address(None, x_forwarded_for=[LIE]) is None
    assert nobody.client_address("unix", x_forwarded_for=[LIE]) == "unix"


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_a_client_writes_on_the_left_does_not_count(left: str, other: str) -> None:
    assert xff(PROXY, left, other, CLIENT) == CLIENT
    assert fwd(PROXY, left, other, f"for={CLIENT}") == CLIENT


@given(st.lists(st.text(max_size=60), max_size=6), st.lists(st.text(max_size=60), max_size=6))
def test_any_header_may_come(forwarded: list[str], x_forwarded_for: list[str]) -> None:
    assert proxies.client_address(PROXY, forwarded=forwarded, x_forwarded_for=x_forwarded_for) is not None


def test_a_huge_header_costs_little() -> None:
    assert xff(PROXY, ", ".join([LIE] * 100_000) + f", {CLIENT}") == CLIENT


@pytest.mark.parametrize("bad", ["", "10.0.0.0/40", "proxy.example", "10.0.0"])
def test_settings_are_checked(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        TrustedProxies([bad])
