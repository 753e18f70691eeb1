"""The client's address behind trusted proxies: one header, read from the right, unknown when in doubt."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from gatewright.errors import ConfigurationError
from gatewright.web import TrustedProxies

PROXY, INNER, CLIENT, LIE = "10.0.0.1", "10.0.0.2", "203.0.113.9", "192.0.2.66"
NETWORKS = ["10.0.0.0/8", "fd00::/8"]


def read(header: str, peer: str | None, *values: str) -> str | None:
    return TrustedProxies(NETWORKS, header=header).client_address(peer, values)


def xff(peer: str, *values: str) -> str | None:
    return read("X-Forwarded-For", peer, *values)


def fwd(peer: str, *values: str) -> str | None:
    return read("Forwarded", peer, *values)


def real(peer: str, *values: str) -> str | None:
    return read("X-Real-IP", peer, *values)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (xff(PROXY, CLIENT), CLIENT),
        (xff(PROXY, f"{CLIENT}, {INNER}"), CLIENT),
        (xff(PROXY, f"{LIE}, {CLIENT}"), CLIENT),
        (xff(PROXY, LIE, CLIENT), CLIENT),
        (xff(PROXY, f"{LIE}, {CLIENT}, {INNER}"), CLIENT),
        (xff(PROXY, f"{LIE}, {CLIENT}, , {INNER}, "), CLIENT),
        (xff(PROXY, f"garbage, {CLIENT}"), CLIENT),
        (xff(CLIENT, LIE), CLIENT),
        (xff(CLIENT, "garbage"), CLIENT),
        (xff(PROXY, f"{INNER}, 10.9.9.9"), INNER),
        (xff(PROXY, f"{CLIENT}:443"), CLIENT),
        (xff(PROXY, "[2001:db8::7]:443"), "2001:db8::7"),
        (xff(PROXY, "2001:db8::7"), "2001:db8::7"),
        (xff(PROXY, "2001:DB8:0::7"), "2001:db8::7"),
        (xff("::ffff:10.0.0.1", CLIENT), CLIENT),
        (xff("::ffff:203.0.113.9", LIE), CLIENT),
        (xff(PROXY, f"::ffff:{CLIENT}"), CLIENT),
        (fwd(PROXY, f"for={CLIENT}"), CLIENT),
        (fwd(PROXY, f'For="{CLIENT}:80";proto=https;by={PROXY}'), CLIENT),
        (fwd(PROXY, 'for="[2001:db8::7]:443"'), "2001:db8::7"),
        (fwd(PROXY, f"for={LIE}, for={CLIENT}, for={INNER}"), CLIENT),
        (fwd(PROXY, f"for={LIE}", f"for={CLIENT}"), CLIENT),
        (fwd(PROXY, f'for="{LIE}', f"for={CLIENT}"), CLIENT),
        (real(PROXY, CLIENT), CLIENT),
        (real(PROXY, f" {CLIENT} "), CLIENT),
        (real(PROXY, "2001:db8::7"), "2001:db8::7"),
        (real(CLIENT, LIE), CLIENT),
    ],
)
def test_the_first_untrusted_hop_from_the_right(found: str | None, expected: str) -> None:
    assert found == expected


@pytest.mark.parametrize(
    "found",
    [
        xff(PROXY),
        xff(PROXY, ""),
        xff(PROXY, " , "),
        xff(PROXY, "unknown"),
        xff(PROXY, f"{LIE}, unknown"),
        xff(PROXY, f"{LIE}, garbage"),
        xff(PROXY, f"{LIE}, garbage, {INNER}"),
        xff(PROXY, f"garbage, {INNER}"),
        xff(PROXY, f"for={CLIENT}"),
        xff(PROXY, f"{CLIENT}:port"),
        xff(PROXY, f"{CLIENT}:443:443"),
        xff(PROXY, "[2001:db8::7]x"),
        xff(PROXY, "[2001:db8::7"),
        xff(PROXY, f"[{CLIENT}]"),
        xff(PROXY, f"{CLIENT}%eth0"),
        xff(PROXY, "203.0.113.009"),
        xff(PROXY, "203.0.113.9\x00"),
        fwd(PROXY),
        fwd(PROXY, "for=unknown"),
        fwd(PROXY, f"for={LIE}, for=_hidden"),
        fwd(PROXY, f"for={LIE}, proto=https"),
        fwd(PROXY, f"for={LIE};for={CLIENT}"),
        fwd(PROXY, f"for={CLIENT};junk"),
        fwd(PROXY, CLIENT),
        real(PROXY),
        real(PROXY, ""),
        real(PROXY, "unknown"),
        real(PROXY, CLIENT, LIE),
        real(PROXY, LIE, CLIENT),
        real(PROXY, CLIENT, CLIENT),
        real(PROXY, f"{LIE}, {CLIENT}"),
        real(PROXY, f"for={CLIENT}"),
    ],
)
def test_a_client_that_the_proxy_does_not_name_is_unknown_and_never_the_proxy(found: str | None) -> None:
    assert found is None


@pytest.mark.parametrize(
    "host",
    [
        f"a, for={LIE}",
        f"a,for={LIE},b",
        f"a;for={LIE}",
        f'a\\", for={LIE};x=\\"',
        f"for={LIE}",
    ],
)
def test_what_the_proxy_copies_into_quotes_is_not_a_hop(host: str) -> None:
    """A proxy that also writes ``host="..."`` copies the Host header there, which is the client's text."""
    assert fwd(PROXY, f'for={CLIENT};host="{host}"') == CLIENT
    assert fwd(PROXY, f'host="{host}";for={CLIENT}') == CLIENT
    assert fwd(PROXY, f'for={LIE};host="{host}", for={CLIENT};host="{host}", for={INNER}') == CLIENT


def test_without_trusted_proxies_no_header_counts() -> None:
    nobody = TrustedProxies()
    assert nobody.client_address(PROXY, [LIE]) == PROXY
    assert nobody.client_address(None, [LIE]) is None
    for text in ("unix", "", "testclient", "10.0.0.1, 192.0.2.1"):
        assert nobody.client_address(text, [LIE]) is None, "a peer that is not an address is unknown"


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_a_client_writes_on_the_left_does_not_count(left: str, other: str) -> None:
    assert xff(PROXY, left, other, CLIENT) == CLIENT
    assert fwd(PROXY, left, other, f"for={CLIENT}") == CLIENT
    assert fwd(PROXY, left, f'for={CLIENT};host="{other.translate({34: None, 92: None})}"') == CLIENT


@given(
    st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP"]),
    st.lists(st.text() | st.text(alphabet='for=";,\\ 10.2[]:'), max_size=6),
)
def test_any_header_may_come_and_names_the_client_or_nobody(header: str, values: list[str]) -> None:
    assert read(header, PROXY, *values) != PROXY or any(PROXY in value for value in values)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
@pytest.mark.parametrize("piece", ["10.0.0.2,", "for=10.0.0.2,", '"', '\\"', ";", ",", "\\", 'for="'])
def test_a_huge_header_costs_little(header: str, piece: str) -> None:
    started = time.perf_counter()
    assert read(header, PROXY, piece * 100_000) is None
    assert xff(PROXY, ", ".join([LIE] * 100_000) + f", {CLIENT}") == CLIENT
    assert time.perf_counter() - started < 1


def test_a_hop_that_is_cut_by_the_bound_is_not_read() -> None:
    """The rest of an address must not be taken for another one."""
    text = f"{LIE}," + ",".join([INNER] * 30)
    for cut in range(1, 13):
        assert xff(PROXY, text.ljust(4_096)) == LIE
        assert xff(PROXY, text.ljust(4_096 + cut)) is None


def test_a_chain_without_an_end_leaves_the_client_unknown() -> None:
    assert xff(PROXY, f"{CLIENT}," + ",".join([INNER] * 31)) == CLIENT
    assert xff(PROXY, f"{CLIENT}," + ",".join([INNER] * 32)) is None


@pytest.mark.parametrize("bad", ["", "10.0.0.0/40", "proxy.example", "10.0.0"])
def test_settings_are_checked(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        TrustedProxies([bad])
