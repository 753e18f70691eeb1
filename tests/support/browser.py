"""Debian's Chromium, driven by Playwright, with an authenticator of its own for passkeys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

MISSING = (
    "chromium is not installed, so this cannot be tested: apt-get install chromium (Debian), or set "
    "GATEWRIGHT_TEST_SKIP=browser by hand to leave it out."
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_MS = 120_000
"""A busy machine may need long to start a browser."""


def chromium() -> str:
    """The program; the test fails, and says what to install, where there is none."""
    program = shutil.which("chromium")
    if program is None:
        if "browser" in os.environ.get("GATEWRIGHT_TEST_SKIP", "").split(","):
            pytest.skip("GATEWRIGHT_TEST_SKIP names browser")
        pytest.fail(MISSING)
    return program


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module."""
    program = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, timeout=START_MS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with cookies and storage of its own."""
    # The pages that tests open are answers of the API, whose policy lets a document call nothing.
    context = browser.new_context(bypass_csp=True)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


class VirtualAuthenticator:
    """A platform authenticator with a fingerprint reader that always agrees, plugged into one page (CDP WebAuthn)."""

    def __init__(self, page: Page) -> None:
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("WebAuthn.enable")
        self._id = ""
        self.plug_in()

    def plug_in(self) -> None:
        """A new device, in place of the one before."""
        if self._id:
            self._devtools.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self._id})
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self._id = self._devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def verify_user(self, verified: bool) -> None:
        """Whether the finger is the owner's."""
        self._devtools.send("WebAuthn.setUserVerified", {"authenticatorId": self._id, "isUserVerified": verified})

    def credentials(self) -> list[dict[str, Any]]:
        """The passkeys that it holds."""
        found = self._devtools.send("WebAuthn.getCredentials", {"authenticatorId": self._id})
        return list(found["credentials"])

    def put(self, credential: dict[str, Any]) -> None:
        """Plant a passkey: what a thief does who copied one."""
        self._devtools.send("WebAuthn.addCredential", {"authenticatorId": self._id, "credential": credential})
