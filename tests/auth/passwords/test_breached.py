"""The k-anonymity range protocol, against a small server of our own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gatewright.auth import AccessOptions, BreachedPasswords
from gatewright.errors import ConfigurationError, ValidationError
from gatewright.testing import ListSink
from tests.auth.access import CHEAP, OWNER, world

LEAKED = "marmalade otter lantern"


class RangeHandler(BaseHTTPRequestHandler):
    """Knows one password; pads with a line of count 0."""

    paths: list[str] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        digest = hashlib.sha1(LEAKED.encode()).hexdigest().upper()
        padded = hashlib.sha1(b"padding").hexdigest().upper()
        lines = [f"{'0' * 35}:7", f"{padded[5:]}:0"]
        if self.path.endswith(digest[:5]):
            lines.append(f"{digest[5:]}:42")
        self.send_response(200)
        self.end_headers()
        self.wfile.write("\r\n".join(lines).encode())

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def url() -> Iterator[str]:
    RangeHandler.paths = []
    server = HTTPServer(("127.0.0.1", 0), RangeHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/range"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_known_password_is_found_and_only_five_digits_leave(url: str) -> None:
    check = BreachedPasswords(url)
    assert await check(LEAKED)
    assert not await check("another one altogether")
    assert not await check("padding")
    assert all(len(path.rpartition("/")[2]) == 5 for path in RangeHandler.paths)
    check.close()


async def test_a_service_that_is_away_hinders_nobody() -> None:
    sink = ListSink()
    check = BreachedPasswords("http://127.0.0.1:9/range", timeout=0.2, sink=sink)
    assert not await check(LEAKED)
    assert sink.kinds() == ["auth:breached_passwords:unavailable"]
    check.close()


@pytest.mark.parametrize("bad", ["http://range.example", "ftp://127.0.0.1", "file:///etc/passwd", "range.example"])
def test_only_https_is_asked(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="BREACHED_PASSWORDS_URL"):
        BreachedPasswords(bad)


async def test_registration_asks_where_a_url_is_set(url: str) -> None:
    options = AccessOptions(argon2=CHEAP, breached_passwords_url=url)
    async with world(register=False, options=options) as here:
        with pytest.raises(ValidationError) as caught:
            await here.auth.register_manufacturer({**OWNER, "password": LEAKED})
        assert [e.error_type for e in caught.value.errors] == ["PASSWORD_BREACHED"]
