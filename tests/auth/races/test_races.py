"""Four processes on one store fight for one thing; one of them wins it, and a session always has its factors.

Twenty rounds of each kind here; ``GATEWRIGHT_TEST_RACE_ROUNDS=200`` for all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyotp
import pytest

from gatewright.auth import AuthDependencies, ManufacturerAuthManager
from gatewright.notify import MemoryNotifier
from gatewright.storage import SqliteStore
from tests.auth.access import PASSWORD
from tests.auth.authenticator import SoftAuthenticator
from tests.auth.identity import START
from tests.auth.races.worker import client_of, manager

PROCESSES = 4
ROUNDS = int(os.environ.get("GATEWRIGHT_TEST_RACE_ROUNDS", "20"))
ROOT = Path(__file__).parents[3]

Prepare = Callable[[ManufacturerAuthManager, MemoryNotifier, str], Awaitable[list[dict[str, Any]]]]


async def enrolled(auth: ManufacturerAuthManager, name: str) -> tuple[str, list[str]]:
    """A manufacturer with MFA on, its last step two before now; the code now and the backup codes."""
    await auth.register_manufacturer(
        {"email": f"{name}@x.example", "password": PASSWORD, "company_name": "Race", "manufacturer_id": name}
    )
    enrolment = await auth.setup_mfa(name)
    moment = int(START.timestamp())
    await auth.confirm_mfa(name, pyotp.TOTP(enrolment.secret).at(moment - 30))
    return pyotp.TOTP(enrolment.secret).at(moment), enrolment.backup_codes


async def challenged(auth: ManufacturerAuthManager, name: str) -> str:
    return (
        await auth.authenticate_manufacturer(f"{name}@x.example", PASSWORD, client=client_of(name))
    ).challenge_id or ""


async def one_totp(auth: ManufacturerAuthManager, _: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    code, _codes = await enrolled(auth, name)
    return [{"manufacturer_id": name, "code": code}] * PROCESSES


async def one_backup_code(auth: ManufacturerAuthManager, _: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    _code, codes = await enrolled(auth, name)
    return [{"manufacturer_id": name, "code": codes[0]}] * PROCESSES


async def one_challenge(auth: ManufacturerAuthManager, _: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    """Each process has a good code of its own."""
    _code, codes = await enrolled(auth, name)
    challenge = await challenged(auth, name)
    return [{"challenge_id": challenge, "code": code} for code in codes[:PROCESSES]]


async def one_code_many_challenges(auth: ManufacturerAuthManager, _: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    code, _codes = await enrolled(auth, name)
    return [{"challenge_id": await challenged(auth, name), "code": code} for _ in range(PROCESSES)]


async def one_reset_token(auth: ManufacturerAuthManager, mail: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    email = f"{name}@x.example"
    await auth.register_manufacturer(
        {"email": email, "password": PASSWORD, "company_name": "Race", "manufacturer_id": name}
    )
    await auth.request_password_reset(email)
    return [{"token": mail.last(email, kind="reset_password").data["token"]}] * PROCESSES


async def one_passkey_challenge(auth: ManufacturerAuthManager, _: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    await auth.register_manufacturer(
        {"email": f"{name}@x.example", "password": PASSWORD, "company_name": "Race", "manufacturer_id": name}
    )
    key = SoftAuthenticator()
    begun = await auth.begin_passkey_registration(name)
    await auth.finish_passkey_registration(begun.challenge_id, key.create(begun.options))
    login = await auth.begin_passkey_login(client=client_of(name))
    return [{"challenge_id": login.challenge_id, "assertion": key.get(login.options)} for _ in range(PROCESSES)]


async def one_registration(auth: ManufacturerAuthManager, mail: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    email = f"{name}@x.example"
    await auth.request_registration({"email": email, "password": PASSWORD, "company_name": "Race"})
    return [{"token": mail.last(email, kind="verify_email").data["token"]}] * PROCESSES


async def one_address(_: ManufacturerAuthManager, __: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    return [{"email": f"{name}@x.example"}] * PROCESSES


async def one_account(auth: ManufacturerAuthManager, _: MemoryNotifier, name: str) -> list[dict[str, Any]]:
    """Nothing to fight for: all processes sign in as one account, five times at once, and all get in."""
    email = f"{name}@x.example"
    await auth.register_manufacturer(
        {"email": email, "password": PASSWORD, "company_name": "Race", "manufacturer_id": name}
    )
    return [{"email": email}] * PROCESSES


KINDS: dict[str, Prepare] = {
    "totp": one_totp,
    "backup_code": one_backup_code,
    "mfa_challenge": one_challenge,
    "mfa_challenge_one_code": one_code_many_challenges,
    "reset_token": one_reset_token,
    "passkey_challenge": one_passkey_challenge,
    "registration_token": one_registration,
    "address": one_address,
    "one_account": one_account,
}


FACTORS = {
    "mfa_challenge": {"pwd", "backup_code"},
    "mfa_challenge_one_code": {"pwd", "otp"},
    "passkey_challenge": {"passkey"},
    "one_account": {"pwd"},
}


async def prepare(database: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """What is fought for, round by round."""
    plan = []
    store = SqliteStore(database, durable=False)
    auth = manager(store)
    mail = MemoryNotifier()
    auth.services.mailer._notifier = AuthDependencies(notifier=mail).notifier
    await store.initialize()
    async with auth:
        for number in range(ROUNDS):
            for kind, make in KINDS.items():
                name = f"{kind}_{number}"
                plan.append((kind, [{**tries, "name": name} for tries in await make(auth, mail, name)]))
    await store.close()
    return plan


@pytest.fixture(scope="module")
def fought(tmp_path_factory: pytest.TempPathFactory) -> tuple[Counter[tuple[str, int]], Path]:
    """Who won how often: (kind, winners of a round) to rounds; and the database afterwards."""
    folder = tmp_path_factory.mktemp("races")
    database, plan_path = folder / "race.db", folder / "plan.json"
    plan = asyncio.run(prepare(database))
    plan_path.write_text(json.dumps(plan))
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.auth.races.worker", str(database), str(plan_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(PROCESSES)
    ]
    winners: Counter[int] = Counter()
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{time.time() + 0.2}\n")
        worker.stdin.flush()
    for worker in workers:
        out, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0
        winners.update(json.loads(out))
    return Counter((kind, winners[index]) for index, (kind, _) in enumerate(plan)), database


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_exactly_one_of_four_processes_wins(fought: tuple[Counter[tuple[str, int]], Path], kind: str) -> None:
    rounds = {winners: count for (name, winners), count in fought[0].items() if name == kind}
    assert rounds == {PROCESSES if kind == "one_account" else 1: ROUNDS}


@pytest.mark.slow
def test_no_session_lacks_its_second_factor(fought: tuple[Counter[tuple[str, int]], Path]) -> None:
    connection = sqlite3.connect(fought[1])
    rows = connection.execute("SELECT manufacturer_id, factors, mfa_at FROM sessions").fetchall()
    connection.close()
    assert len([name for name, *_ in rows if not name.startswith("one_account")]) == 3 * ROUNDS
    for name, factors, mfa_at in rows:
        kind = name.rpartition("_")[0]
        assert set(json.loads(factors)) == FACTORS[kind], name
        assert (mfa_at is None) is (kind == "one_account")
