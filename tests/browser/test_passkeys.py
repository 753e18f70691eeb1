"""Passkeys in a real browser, against the running service (WebAuthn Level 3, with Chromium's own authenticator)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser import VirtualAuthenticator, browser, page
from tests.support.outbox import message_for
from tests.support.ports import free_port
from tests.support.server import DemoServer

__all__ = ["browser", "page"]

CALL = """async ([method, path, body, token]) => {
    const headers = {"content-type": "application/json"};
    if (token) headers.authorization = `Bearer ${token}`;
    const answer = await fetch(path, {method, headers, body: body === null ? undefined : JSON.stringify(body)});
    const text = await answer.text();
    return {status: answer.status, body: text ? JSON.parse(text) : null};
}"""
CREATE = """async (options) => {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return (await navigator.credentials.create({publicKey})).toJSON();
}"""
GET = """async (options) => {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return (await navigator.credentials.get({publicKey})).toJSON();
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """The running service, known to browsers as localhost: they give no passkeys to a bare address."""
    port = free_port()
    started = DemoServer(
        tmp_path_factory.mktemp("passkeys") / "data",
        port=port,
        environment={"GATEWRIGHT_PUBLIC_URL": f"http://localhost:{port}"},
    ).start()
    yield started
    started.stop()


class BrowserUser:
    """A person at a page of the service, with an authenticator."""

    def __init__(self, page: Page, server: DemoServer) -> None:
        page.goto(f"http://localhost:{server.port}/healthz")
        self._page = page
        self._server = server
        self.authenticator = VirtualAuthenticator(page)
        self.token: str | None = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self._page.evaluate(CALL, [method, path, body, self.token])
        return answer["status"], answer["body"]

    def join(self, email: str) -> str:
        """Register, verify, and sign in with the password; the manufacturer's id."""
        body = {"email": email, "password": "gravel-otter-lantern-4471", "company_name": "Alder Works"}
        assert self.call("POST", "/v1/manufacturers", body)[0] == 202
        mail = message_for(self._server.data, email)
        status, made = self.call("POST", "/v1/manufacturers/verify", {"token": mail["token"]})
        assert status == 201, made
        status, answer = self.call("POST", "/v1/auth/login", {"email": email, "password": body["password"]})
        assert (status, answer["status"]) == (200, "authenticated"), answer
        self.token = answer["access_token"]
        return str(made["manufacturer_id"])

    def confirm(self, email: str) -> None:
        """Let the first passkey count for sensitive operations, by the token of the mail."""
        assert self.call("POST", "/v1/mfa/confirmations")[0] == 202
        token = message_for(self._server.data, email, kind="factor_confirmation")["token"]
        assert self.call("POST", "/v1/mfa/confirmations/redeem", {"token": token})[0] == 204

    def register(self, name: str) -> tuple[int, Any]:
        """Make a passkey and hand it to the service."""
        return self.call("POST", "/v1/passkeys/register/finish", self.credential(name))

    def credential(self, name: str) -> dict[str, Any]:
        """What the browser hands over for a new passkey: the body of ``register/finish``."""
        begun = self.begin("register")
        made = self._page.evaluate(CREATE, begun["options"])
        return {"challenge_id": begun["challenge_id"], "credential": made, "name": name}

    def begin(self, what: str) -> dict[str, Any]:
        status, begun = self.call("POST", f"/v1/passkeys/{what}/begin", {} if what == "login" else None)
        assert status == 200, begun
        return dict(begun)

    def assertion(self) -> dict[str, Any]:
        """What the browser hands over to sign in, without saying who: the body of ``login/finish``."""
        begun = self.begin("login")
        signed = self._page.evaluate(GET, begun["options"])
        return {"challenge_id": begun["challenge_id"], "assertion": signed}

    def sign_in(self) -> tuple[int, Any]:
        return self.call("POST", "/v1/passkeys/login/finish", self.assertion())

    def leave(self) -> None:
        self.token = None


@pytest.fixture
def visitor(page: Page, server: DemoServer) -> BrowserUser:
    return BrowserUser(page, server)


def refused(answer: tuple[int, Any]) -> str:
    """The code of a refusal."""
    status, body = answer
    assert status in (400, 401), body
    assert "access_token" not in json.dumps(body)
    return str(body["code"])


def test_a_passkey_is_registered_and_signs_in_without_a_name_or_password(visitor: BrowserUser) -> None:
    manufacturer_id = visitor.join("first@alder.example.com")
    status, kept = visitor.register("laptop")
    assert status == 201 and kept["name"] == "laptop", kept
    visitor.leave()
    status, answer = visitor.sign_in()
    assert (status, answer["status"]) == (200, "authenticated"), answer
    visitor.token = answer["access_token"]
    status, me = visitor.call("GET", "/v1/me")
    assert status == 200 and me["manufacturer_id"] == manufacturer_id
    listed = visitor.call("GET", "/v1/passkeys")[1]["items"]
    assert [p["name"] for p in listed] == ["laptop"] and listed[0]["last_used_at"] is not None


def test_a_passkey_sign_in_counts_as_recent_mfa(visitor: BrowserUser) -> None:
    """Once it is confirmed by mail: a stolen session could have added it, and signed in with it."""
    email = "recent@alder.example.com"
    visitor.join(email)
    visitor.register("laptop")
    renew = ("POST", "/v1/mfa/backup-codes")
    assert refused(visitor.call(*renew)) == "MFA_REQUIRED"
    visitor.token = visitor.sign_in()[1]["access_token"]
    assert refused(visitor.call(*renew)) == "MFA_REQUIRED"
    visitor.confirm(email)
    visitor.leave()
    visitor.token = visitor.sign_in()[1]["access_token"]
    assert visitor.call(*renew)[0] == 200


def test_a_second_device_gets_a_passkey_of_its_own(visitor: BrowserUser) -> None:
    visitor.join("second@alder.example.com")
    assert visitor.register("laptop")[0] == 201
    visitor.confirm("second@alder.example.com")
    visitor.token = visitor.sign_in()[1]["access_token"]
    visitor.authenticator.plug_in()
    assert visitor.register("telephone")[0] == 201
    assert len(visitor.authenticator.credentials()) == 1
    visitor.leave()
    status, answer = visitor.sign_in()
    assert status == 200, answer
    visitor.token = answer["access_token"]
    listed = visitor.call("GET", "/v1/passkeys")[1]["items"]
    assert [(p["name"], p["last_used_at"] is not None) for p in listed] == [("laptop", True), ("telephone", True)]


def test_a_device_that_has_a_passkey_makes_no_second_one(visitor: BrowserUser) -> None:
    visitor.join("twice@alder.example.com")
    visitor.register("laptop")
    visitor.confirm("twice@alder.example.com")
    visitor.token = visitor.sign_in()[1]["access_token"]
    with pytest.raises(Exception, match="InvalidStateError"):
        visitor.register("laptop again")


def test_a_replayed_assertion_is_refused(visitor: BrowserUser) -> None:
    visitor.join("replay@alder.example.com")
    visitor.register("laptop")
    visitor.leave()
    body = visitor.assertion()
    assert visitor.call("POST", "/v1/passkeys/login/finish", body)[0] == 200
    assert refused(visitor.call("POST", "/v1/passkeys/login/finish", body))
    body["challenge_id"] = visitor.begin("login")["challenge_id"]
    assert refused(visitor.call("POST", "/v1/passkeys/login/finish", body))


def test_a_replayed_registration_is_refused(visitor: BrowserUser) -> None:
    """By the session that made it, which must show the new factor now, and by one that has shown it."""
    email = "again@alder.example.com"
    visitor.join(email)
    body = visitor.credential("laptop")
    assert visitor.call("POST", "/v1/passkeys/register/finish", body)[0] == 201
    assert refused(visitor.call("POST", "/v1/passkeys/register/finish", body)) == "MFA_REQUIRED"
    visitor.confirm(email)
    visitor.token = visitor.sign_in()[1]["access_token"]
    assert refused(visitor.call("POST", "/v1/passkeys/register/finish", body)) == "INVALID_PASSKEY"


def test_a_copied_passkey_betrays_itself_by_its_counter(visitor: BrowserUser) -> None:
    visitor.join("copied@alder.example.com")
    visitor.register("laptop")
    visitor.leave()
    copy = visitor.authenticator.credentials()[0]
    assert visitor.sign_in()[0] == 200 and visitor.sign_in()[0] == 200
    visitor.authenticator.plug_in()
    visitor.authenticator.put(copy)
    assert refused(visitor.sign_in())


def test_who_cannot_unlock_the_device_cannot_sign_in(visitor: BrowserUser) -> None:
    visitor.join("thief@alder.example.com")
    visitor.register("laptop")
    visitor.leave()
    visitor.authenticator.verify_user(False)
    with pytest.raises(Exception, match="NotAllowedError"):
        visitor.sign_in()


def test_a_removed_passkey_opens_nothing(visitor: BrowserUser) -> None:
    visitor.join("removed@alder.example.com")
    visitor.register("laptop")
    visitor.confirm("removed@alder.example.com")
    visitor.token = visitor.sign_in()[1]["access_token"]
    passkey = visitor.call("GET", "/v1/passkeys")[1]["items"][0]
    assert visitor.call("DELETE", f"/v1/passkeys/{passkey['passkey_id']}")[0] == 204
    visitor.leave()
    assert refused(visitor.sign_in())
