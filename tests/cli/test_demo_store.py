"""`serve --demo` uses a store that it made itself, and no other: not one of `init`, not one of anyone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gatewright.cli import serve
from gatewright.errors import ConfigurationError
from gatewright.foundation import SecurityFoundation
from gatewright.rbac import ManufacturerRBACManager
from gatewright.settings import Settings
from gatewright.storage import PLATFORM_TENANT, SqliteStore
from gatewright.web import DemoFoundation, create_admin, read_credentials, seed_demo
from tests.cli.conftest import Command

QUICK = {"argon2_memory_kib": 64, "argon2_time_cost": 1}
PASSWORD = "gravel-otter-lantern-4471"
PRODUCTION = {
    "GATEWRIGHT_MODE": "production",
    "GATEWRIGHT_PUBLIC_URL": "https://api.example.com",
    "GATEWRIGHT_SECRET_KEY": "0123456789abcdef" * 4,
    "GATEWRIGHT_ENCRYPTION_KEY": "fedcba9876543210" * 4,
}


def serve_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`serve --demo`, which has to end by itself."""
    return ended("serve", "--demo", "--port", "0", *arguments, **environment)


def ended(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gatewright.cli.main", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(done: subprocess.CompletedProcess[str], code: str) -> None:
    """It ended with one clear line and exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"gatewright: {code}: ")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def rows(path: Path) -> dict[str, list[Any]]:
    """Everything in a database."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in names}


def files(directory: Path) -> set[str]:
    """Names below a directory, without the companions of an open database."""
    found = (str(path.relative_to(directory)) for path in directory.rglob("*"))
    return {name for name in found if not name.endswith(("-wal", "-shm"))}


def test_an_installation_of_init_keeps_its_admin(place: Path, command: Command) -> None:
    """The demo replaced the TOTP of the first admin by one that is in its own file."""
    command("init", "--email", "root@platform.example")
    before, there = rows(place / "gatewright.db"), files(place)
    assert before["totp"]
    for workers in ("1", "2"):
        refused(serve_demo("--workers", workers), "NOT_A_DEMO_STORE")
    assert rows(place / "gatewright.db") == before
    assert files(place) == there


def test_credentials_of_a_demo_beside_an_installation_do_not_make_it_one(place: Path, command: Command) -> None:
    command("init", "--email", "root@platform.example")
    (place / "demo.env").write_text("DEMO_EMAIL='x@example.com'\n")
    refused(serve_demo(), "NOT_A_DEMO_STORE")
    assert (place / "demo.env").read_text() == "DEMO_EMAIL='x@example.com'\n"


def test_a_store_elsewhere_is_refused_and_nothing_is_left_behind(tmp_path: Path, place: Path) -> None:
    """Keys made beside a store of other keys would be taken for its keys at the next start."""
    database = tmp_path / "real.db"

    async def use() -> None:
        async with SqliteStore(database) as store, ManufacturerRBACManager(store=store) as rbac:
            await rbac.increment_usage("somebody", "product_uploads")

    asyncio.run(use())
    refused(serve_demo(GATEWRIGHT_DATABASE=f"sqlite:///{database}"), "NOT_A_DEMO_STORE")
    assert not place.exists()


def test_a_key_store_of_others_is_refused_and_the_records_are_not_claimed(tmp_path: Path, place: Path) -> None:
    keys, elsewhere = tmp_path / "keys.db", tmp_path / "real"

    async def use() -> None:
        settings = Settings(data_dir=elsewhere, key_database=f"sqlite:///{keys}", **QUICK)
        async with SecurityFoundation(settings) as real:
            await real.encryption.encrypt_manufacturer_data({"n": 1}, manufacturer_id="m")

    asyncio.run(use())
    refused(serve_demo(GATEWRIGHT_KEY_DATABASE=f"sqlite:///{keys}"), "NOT_A_DEMO_STORE")
    assert not (place / "gatewright.db").exists()


@pytest.mark.parametrize("environment", [PRODUCTION, {"GATEWRIGHT_MODE": "production"}])
def test_production_has_no_demo(place: Path, environment: dict[str, str]) -> None:
    refused(serve_demo(**environment), "DEMO_IN_PRODUCTION")
    assert not place.exists()


def test_keys_made_beforehand_are_used(place: Path, installed: Command) -> None:
    """`init --keys-only` makes no store, so the demo may."""

    async def start() -> bool:
        async with DemoFoundation(Settings(data_dir=place, **QUICK)) as foundation:
            return (await seed_demo(foundation)).fresh

    assert asyncio.run(start()) is True
    assert asyncio.run(start()) is False


# --- the demo's own store ---------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "demo", **QUICK)


async def factors(foundation: SecurityFoundation) -> Any:
    """The ways in of every account of the platform."""
    accounts = await foundation.store.list_accounts(PLATFORM_TENANT)
    return [(one.password_hash, await foundation.store.list_totp(one.account_id)) for one in accounts]


async def test_a_start_again_touches_nobody(settings: Settings) -> None:
    async with DemoFoundation(settings) as foundation:
        made = await seed_demo(foundation)
        before = await factors(foundation)
    async with DemoFoundation(settings) as foundation:
        found = await seed_demo(foundation)
        assert (found.fresh, found.admin_totp_secret) == (False, made.admin_totp_secret)
        assert await factors(foundation) == before
        done = await foundation.auth.authenticate_manufacturer(found.demo_email, found.demo_password)
        assert done.status == "authenticated"


@pytest.mark.parametrize("lost", ["credentials", "seeding"])
async def test_people_whose_passwords_are_lost_are_not_made_again(settings: Settings, lost: str) -> None:
    async with DemoFoundation(settings) as foundation:
        if lost == "credentials":
            await seed_demo(foundation)
            (settings.data_dir / "demo.env").unlink()
        else:  # stopped between the first person and the last
            await create_admin(foundation, "admin@platform.example.com", PASSWORD)
        before = await factors(foundation)
        with pytest.raises(ConfigurationError) as caught:
            await seed_demo(foundation)
        assert caught.value.code == "DEMO_INCOMPLETE" and str(settings.data_dir) in caught.value.message
        assert await factors(foundation) == before


async def test_a_foundation_that_is_not_the_demos_is_never_seeded(settings: Settings) -> None:
    async with SecurityFoundation(settings) as foundation:
        with pytest.raises(ConfigurationError) as caught:
            await seed_demo(foundation)
        assert caught.value.code == "NOT_A_DEMO_STORE"
        assert await foundation.store.list_manufacturers() == []


async def test_the_first_admin_is_the_one_who_gets_the_factor(settings: Settings) -> None:
    """A second admin made the same way leaves the first one's factor alone."""
    async with SecurityFoundation(settings) as foundation:
        await create_admin(foundation, "first@platform.example", PASSWORD)
        before = await factors(foundation)
        await create_admin(foundation, "second@platform.example", PASSWORD)
        after = await factors(foundation)
        assert after[0] == before[0] and len(after) == 2 and after[1][1]


async def test_new_credentials_replace_those_of_a_store_that_is_gone(settings: Settings) -> None:
    async with DemoFoundation(settings) as foundation:
        first = await seed_demo(foundation)
    for path in settings.data_dir.glob("gatewright.db*"):
        path.unlink()
    path = settings.data_dir / "demo.env"
    path.chmod(0o644)
    async with DemoFoundation(settings) as foundation:
        second = await seed_demo(foundation)
    assert second.fresh and second.demo_password != first.demo_password
    assert read_credentials(path).demo_password == second.demo_password
    assert path.stat().st_mode & 0o777 == 0o600


# --- without --demo ---------------------------------------------------------------------------------------------


def _made_by_the_demo(place: Path) -> None:
    async def make() -> None:
        async with DemoFoundation(Settings(data_dir=place, **QUICK)) as foundation:
            await seed_demo(foundation)

    asyncio.run(make())


def test_production_refuses_a_store_of_the_demo(place: Path) -> None:
    """Its passwords and the admin's TOTP secret are in a file."""
    _made_by_the_demo(place)
    before = rows(place / "gatewright.db")
    for arguments in (["serve", "--port", "0"], ["manufacturer", "list"]):
        refused(ended(*arguments, **PRODUCTION), "DEMO_STORE")
    assert rows(place / "gatewright.db") == before


def test_development_may_look_at_it(place: Path, command: Command) -> None:
    _made_by_the_demo(place)
    assert [one["manufacturer_id"] for one in command("manufacturer", "list")] == ["mfr_demo", PLATFORM_TENANT]


def test_a_worker_refuses_what_the_command_refuses(command: Command) -> None:
    """`uvicorn --factory gatewright.cli.serve:demo` is the same door."""
    command("init", "--email", "root@platform.example")

    async def start() -> None:
        app = serve.demo()
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(start())
    assert caught.value.code == "NOT_A_DEMO_STORE"
