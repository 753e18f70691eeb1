"""A process that has too little memory left for a password hash; prints what sign-in and the codes made of it."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path

from gatewright.auth import Argon2Parameters, PasswordHashing
from gatewright.errors import SecurityError
from gatewright.storage import AttemptPolicy
from tests.auth.access import EMAIL, PASSWORD, world
from tests.auth.identity import HOME

HUGE = "m=16777216"
"""16 GiB for one hash."""


async def main() -> None:
    async with world() as here:
        store = here.auth.store
        account = await store.find_account(EMAIL)
        assert account is not None and account.password_hash is not None
        await store.update_account(account.account_id, password_hash=account.password_hash.replace("m=8", HUGE))
        leave_memory(2**28)
        seen = []
        for password in [PASSWORD, "wrong-guess"] * 10:
            seen.append(await code_of(here.auth.authenticate_manufacturer(EMAIL, password, client=HOME)))
        for _ in range(14):
            seen.append(await code_of(here.auth.change_password("mfr_acme", PASSWORD, "marmalade-otter-violin")))
        await store.update_account(account.account_id, password_hash=account.password_hash)
        # The hash is to be renewed at a cost that finds no memory: the password is right all the same.
        here.auth.services.hashing._hasher = PasswordHashing(Argon2Parameters(memory_kib=16_777_216))._hasher
        after = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        rows = await store.engine.read(lambda c: c.execute("SELECT * FROM doors").fetchall())
        policy = AttemptPolicy()
        print(
            json.dumps(
                {
                    "seen": sorted(set(seen)),
                    "after": after.status,
                    "doors": len(rows),
                    "failed": here.sink.kinds().count("auth:login:failed"),
                    "more_than_the_limit": len(seen) > policy.limit,
                }
            )
        )


def leave_memory(size: int) -> None:
    """Let this process have so many bytes more than it has now."""
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


async def code_of(call: object) -> str:
    try:
        await call  # type: ignore[misc] # one of two calls of the manager
    except SecurityError as error:
        return f"{error.http_status} {error.code}"
    return "accepted"


asyncio.run(main())
