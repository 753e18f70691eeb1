"""One of several processes that fight for the same things on one SQLite file.

python -m tests.auth.races.worker FILE PLAN: waits at each round for the others, then tries, and prints what it won.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from gatewright.auth import AccessOptions, AuthOptions, ClientInfo, ManufacturerAuthManager
from gatewright.errors import SecurityError
from gatewright.storage import SqliteStore
from gatewright.testing import ManualClock
from tests.auth.access import CHEAP, PASSWORD
from tests.auth.identity import CHROME, SECRET, START

ROUND_SECONDS = 0.012
"""From the begin of one round to that of the next, which all processes begin together."""


def manager(store: SqliteStore) -> ManufacturerAuthManager:
    """A manager on the shared file; its clock is, so that all processes see the same time step."""
    options = AuthOptions(access=AccessOptions(argon2=CHEAP, hashing_threads=1))
    return ManufacturerAuthManager(SECRET, store=store, clock=ManualClock(START), options=options)


def client_of(name: str) -> ClientInfo:
    """Each thing is fought for from a network of its own, so that losers do not use up one network's rate."""
    return ClientInfo(".".join(["10", *(str(byte) for byte in hashlib.sha256(name.encode()).digest()[:3])]), CHROME)


async def attempt(auth: ManufacturerAuthManager, kind: str, own: Any) -> bool:
    """One try at one thing; whether it was won."""
    client = client_of(own["name"])
    if kind == "totp":
        return await auth.verify_mfa_token(own["manufacturer_id"], own["code"])
    if kind == "backup_code":
        return await auth.verify_backup_code(own["manufacturer_id"], own["code"])
    if kind == "one_account":
        tries = (auth.authenticate_manufacturer(own["email"], PASSWORD, client=client) for _ in range(5))
        return all(done.session_id for done in await asyncio.gather(*tries))
    if kind == "reset_token":
        await auth.reset_password(own["token"], "Marmalade-otter-77")
        return True
    if kind in ("mfa_challenge", "mfa_challenge_one_code"):
        return (await auth.complete_mfa(own["challenge_id"], own["code"], client=client)).session_id is not None
    if kind == "passkey_challenge":
        done = await auth.finish_passkey_login(own["challenge_id"], own["assertion"], client=client)
        return done.session_id is not None
    if kind == "registration_token":
        return bool((await auth.verify_registration(own["token"])).manufacturer_id)
    await auth.register_manufacturer({"email": own["email"], "password": PASSWORD, "company_name": "Race"})
    return True


async def main(database: str, plan: list[Any], number: int) -> None:
    """Take part as process ``number``."""
    store = SqliteStore(database, durable=False)
    await store.initialize()
    won: list[int] = []
    async with manager(store) as auth:
        print("ready", flush=True)
        begin = float(await asyncio.to_thread(sys.stdin.readline))
        for index, (kind, tries) in enumerate(plan):
            await asyncio.sleep(max(0.0, begin + index * ROUND_SECONDS - time.time()))
            try:
                if await attempt(auth, kind, tries[number]):
                    won.append(index)
            except SecurityError:
                pass
    await store.close()
    print(json.dumps(won), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])))
