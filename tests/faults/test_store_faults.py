"""What happens when a part of the installation is gone: the disk is full, the model is missing."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from gatewright.foundation import SecurityFoundation
from gatewright.settings import Settings
from gatewright.storage import SqliteStore
from gatewright.web import create_app
from tests.support.server import DemoServer

PASSWORD = "gravel-otter-lantern-4471"
DISK = "12m"
ATTACK = {"name": "x' UNION SELECT email, password FROM accounts --"}


# --- a full store, without a disk of its own ------------------------------------------------------------------------


@pytest.fixture
def foundation(tmp_path: Path) -> SecurityFoundation:
    keys = {"secret_key": SecretStr("5c" * 32), "encryption_key": SecretStr("e1" * 32)}
    return SecurityFoundation(Settings(data_dir=tmp_path, argon2_memory_kib=8, argon2_time_cost=1, **keys))


def limit_pages(connection: sqlite3.Connection, spare: int) -> int:
    """Let the database grow by so many pages and no more: SQLite then says what it says of a full disk."""
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
    return int(connection.execute(f"PRAGMA max_page_count = {pages + spare}").fetchone()[0])


def embedded(foundation: SecurityFoundation) -> SqliteStore:
    """The embedded store of a foundation."""
    assert isinstance(foundation.store, SqliteStore)
    return foundation.store


async def test_writes_answer_507_while_the_store_is_full_and_go_on_afterwards(foundation: SecurityFoundation) -> None:
    app = create_app(foundation)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("198.51.100.7", 4711))
    async with foundation, httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        await foundation.auth.register_manufacturer(
            {"email": "owner@example.com", "password": PASSWORD, "company_name": "Alder Works"}
        )
        login = {"email": "owner@example.com", "password": PASSWORD}
        token = (await http.post("/v1/auth/login", json=login)).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}

        await embedded(foundation).engine.write(lambda connection: limit_pages(connection, 0))
        refused = None
        for _ in range(400):  # pages that are begun still take rows
            answer = await http.post("/v1/auth/login", json=login)
            if answer.status_code != 200:
                refused = answer
                break
        assert refused is not None and refused.status_code == 507, refused
        assert refused.json()["code"] == "STORAGE_FULL" and "gatewright.db" not in refused.text
        assert (await http.get("/v1/me", headers=headers)).status_code == 200, "reads go on"
        assert (await http.get("/healthz")).status_code == 200

        await embedded(foundation).engine.write(lambda connection: limit_pages(connection, 1_000_000))
        assert (await http.post("/v1/auth/login", json=login)).status_code == 200
        await foundation.monitor.flush()
        assert (await foundation.monitor.audit.verify()).valid


# --- a full disk, where one can be mounted --------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("Only root may mount a small disk; the test with a page limit covers the same promise.")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=False)


class Owner:
    """The demo's manufacturer, signed in."""

    def __init__(self, server: DemoServer) -> None:
        pairs = (line.split("=", 1) for line in (server.data / "demo.env").read_text().splitlines())
        known = {name: value.strip("'") for name, value in pairs}
        self._login = {"email": known["DEMO_EMAIL"], "password": known["DEMO_PASSWORD"]}
        self._http = httpx.Client(base_url=server.url, timeout=30)
        self.sign_in()

    def sign_in(self) -> None:
        answer = self._http.post("/v1/auth/login", json=self._login)
        assert answer.status_code == 200, answer.text
        self._http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def upload(self, product: dict[str, Any] | None = None) -> httpx.Response:
        return self._http.post("/demo/products", json=product or {"name": "Oak chair", "description": "solid " * 200})

    def kept(self) -> int:
        answer = self._http.get("/demo/products")
        assert answer.status_code == 200, answer.text
        return int(answer.json()["total"])

    def used(self) -> int:
        usage = self._http.get("/v1/me").json()["usage"]
        return next(int(one["current"]) for one in usage if one["resource"] == "product_uploads")

    def readiness(self) -> tuple[int, dict[str, Any]]:
        answer = self._http.get("/readyz")
        return answer.status_code, dict(answer.json())


def fill(place: Path) -> Path:
    """Take all the space that is left."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.slow
def test_a_full_disk_refuses_writes_keeps_reads_and_loses_nothing(small_disk: Path) -> None:
    server = DemoServer(small_disk / "data")
    server.log = small_disk.parent / "server.log"
    server.start()
    try:
        owner = Owner(server)
        accepted = sum(owner.upload().status_code == 201 for _ in range(5))
        ballast = fill(small_disk)
        answers = [owner.upload() for _ in range(60)]
        accepted += sum(answer.status_code == 201 for answer in answers)
        refused = [answer for answer in answers if answer.status_code != 201]
        assert refused and {answer.status_code for answer in refused} == {507}, {a.status_code for a in answers}
        assert {answer.json()["code"] for answer in refused} == {"STORAGE_FULL"}
        assert owner.kept() == accepted, "reads go on"
        server.kill()
        ballast.unlink()
        assert {integrity(server.data / name) for name in ("gatewright.db", "demo.db")} == {"ok"}
        server.start()
        owner = Owner(server)
        assert owner.kept() == accepted and owner.used() == accepted
        assert owner.upload().status_code == 201
    finally:
        server.stop()


# --- the model -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"not a model"], ids=["missing", "damaged"])
def test_rules_alone_decide_while_the_model_is_gone(tmp_path: Path, content: bytes | None) -> None:
    model = tmp_path / "model.safetensors"
    if content is not None:
        model.write_bytes(content)
    server = DemoServer(tmp_path / "data", environment={"GATEWRIGHT_MODEL_FILE": str(model)}).start()
    try:
        owner = Owner(server)
        status, ready = owner.readiness()
        assert (status, ready["status"]) == (200, "degraded") and ready["checks"]["detector"] != "ok"
        blocked = owner.upload(ATTACK)
        assert (blocked.status_code, blocked.json()["code"]) == (403, "THREAT_DETECTED")
        assert owner.upload().status_code == 201
    finally:
        server.stop()
    assert b"threats:model:unavailable" in (server.data / "gatewright.db").read_bytes(), "an event says so"
