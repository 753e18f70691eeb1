"""Soak: four processes of a hundred tasks take and refund random amounts of one quota while the tier changes, billing
months roll over and one of them is killed with SIGKILL. What is granted never passes the limit in force, and nothing
granted is lost but what the killed process held in a lease, which comes back when the lease ends.

python -m bench.soak_quota [--rounds 1000]

Rounds take turns: the store alone, with leases, and with leases and Redis, which carries the changes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench._redis_server import redis_server
from bench._soak_quota_audit import NEVER, Audit, read_journal
from bench._soak_quota_worker import EPOCH, RESOURCE, Round, SwiftClock, policy_of, work
from gatewright.clock import ManualClock
from gatewright.rbac import ManufacturerRBACManager, next_month_start
from gatewright.records import Record
from gatewright.storage import SqliteStore, StoredAccount, StoredManufacturer, UsageTake

DAY = 86_400
PROCESSES = 4
MODES = ("store", "leases", "leases and redis")
REPORT = Path("reports") / "soak-quota.json"


class Outcome(Record, frozen=True, kw_only=True):
    """What a round came to. ``held`` units were in leases of the killed process when all had ended; ``in_doubt``
    were asked for by its calls that were under way."""

    mode: str
    problems: list[str]
    seconds: float
    calls: int = 0
    granted: int = 0
    refunded: int = 0
    tier_changes: int = 0
    cycles: int = 0
    held: int = 0
    in_doubt: int = 0
    stalest: float = 0.0


def one_round(directory: Path, number: int, *, tasks: int = 100, redis: str | None = None) -> Outcome:
    """One round; ``number`` decides the mode and all that is random."""
    began, chance = time.monotonic(), random.Random(number)
    mode = MODES[number % len(MODES)]
    billing_day, owner, path = chance.choice([1, 15, 28, 29, 30, 31]), f"m{number}", str(directory / "soak.db")
    asyncio.run(_register(path, owner, billing_day))
    shared = Round(
        number=number,
        path=path,
        owner=owner,
        tasks=tasks,
        leased=0 if mode == "store" else chance.choice([3 * DAY, 1_000 * DAY, 1_000 * DAY]),
        redis=redis if mode.endswith("redis") else None,
        go=str(directory / f"{number}.go"),
        speed=30 * DAY / chance.uniform(0.15, 0.6),
        begin=time.monotonic_ns(),
        start=EPOCH + timedelta(days=chance.uniform(0, 365)),
    )
    logs = [directory / f"{number}-{n}.log" for n in range(PROCESSES)]
    codes, victim = _run(shared, logs, chance)
    ended = SwiftClock(shared).now()
    calls = [call for n, log in enumerate(logs) for call in read_journal(log, n)]
    audit = Audit(shared, calls, billing_day=billing_day)
    problems = [f"process {n} ended with {code}" for n, code in enumerate(codes) if code != 0 and n != victim]
    problems += [
        f"process {call.process} did not finish a call"
        for call in calls
        if call.end == NEVER and call.process != victim
    ]
    problems += audit.problems()
    held, more = asyncio.run(_settle(shared, audit, ended, billing_day))
    for file in (*logs, Path(shared.go)):
        file.unlink(missing_ok=True)
    return Outcome(
        mode=mode,
        problems=problems + more,
        seconds=time.monotonic() - began,
        calls=len(calls),
        granted=sum(call.amount for call in audit.granted),
        refunded=sum(call.amount for call in audit.refunds),
        tier_changes=len(audit.tiers) - 1,
        cycles=len(audit.cycles),
        held=held,
        in_doubt=audit.in_doubt,
        stalest=audit.stalest,
    )


def _run(shared: Round, logs: list[Path], chance: random.Random) -> tuple[list[int | None], int]:
    """Let the processes go and kill one of them at a random moment: how each ended, and which was killed."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench._soak_quota_worker"])
    processes = [
        context.Process(target=work, args=(shared, str(log), shared.number * 10 + n)) for n, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    while not all(log.exists() and log.stat().st_size for log in logs) and all(p.is_alive() for p in processes):
        time.sleep(0.002)
    Path(shared.go).touch()
    victim, written = chance.randrange(PROCESSES), chance.randrange(16_000)  # of some 20,000 bytes
    while logs[victim].stat().st_size < written and processes[victim].is_alive():
        time.sleep(0.001)
    processes[victim].kill()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes], victim


async def _register(path: str, owner: str, billing_day: int) -> None:
    now = datetime.now(UTC)
    manufacturer = StoredManufacturer(
        manufacturer_id=owner,
        company_name=owner,
        tier="free",
        billing_day=billing_day,
        created_at=now,
        updated_at=now,
    )
    account = StoredAccount(
        account_id=f"{owner}-owner",
        manufacturer_id=owner,
        email=f"{owner}@example.com",
        email_key=f"{owner}@example.com",
        role="owner",
        created_at=now,
        updated_at=now,
    )
    async with SqliteStore(path, durable=False) as store:
        await store.create_manufacturer(manufacturer, account)


async def _settle(shared: Round, audit: Audit, ended: datetime, billing_day: int) -> tuple[int, list[str]]:
    """What the killed process held, and what is wrong: before its leases end, after that, and when all is taken."""
    whole = UsageTake(resource=RESOURCE, amount=0, limit=-1, bucket=0, since=0)
    clock = ManualClock(ended)
    async with SqliteStore(shared.path, durable=False) as store:
        held = await store.unspent_usage(shared.owner, whole)
        counted = sum(entry.used for entry in await store.usage_history(shared.owner))
        known, found = sum(audit.net().values()), []
        doubt = sum(call.amount for call in audit.refunds if call.end == NEVER)
        if not known - doubt <= counted - held <= known + audit.in_doubt:
            found.append(f"before the end of the leases {counted} counted, {held} of it held; {known} granted and kept")
        await store.reclaim_leases(ended + timedelta(days=1_001))
        if left := await store.unspent_usage(shared.owner, whole):
            found.append(f"{left} units are still held after their lease ended")
        after = sum(entry.used for entry in await store.usage_history(shared.owner))
        if after != counted - held:
            found.append(f"{held} of {counted} counted were held, but {after} are left when their lease has ended")
        async with ManufacturerRBACManager(policy_of(leased=0), store=store, clock=clock) as rbac:
            periods = await rbac.get_usage_history(shared.owner)
            found += audit.unaccounted({int(period.period_end.timestamp()): period.used for period in periods})
            look = await rbac.check_usage_limit(shared.owner, RESOURCE)
            if look.remaining and not (await rbac.check_usage_limit(shared.owner, RESOURCE, look.remaining)).allowed:
                found.append(f"{look.remaining} units remain, but are not to be had")
            if (await rbac.check_usage_limit(shared.owner, RESOURCE, 1)).allowed:
                found.append("one more was granted over the limit")
            if look.resets_at != next_month_start(ended, billing_day):
                found.append(f"the cycle ends {look.resets_at}")
    return held, found


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """The report."""
    sums = ("calls", "granted", "refunded", "tier_changes", "cycles", "held", "in_doubt")
    return {
        "rounds": len(outcomes),
        "by_mode": {mode: sum(1 for o in outcomes if o.mode == mode) for mode in MODES},
        "processes": PROCESSES,
        "killed": len(outcomes),
        "killed_with_units_in_hand": sum(1 for outcome in outcomes if outcome.held),
        "failures": [
            {"round": n, "mode": o.mode, "problems": o.problems} for n, o in enumerate(outcomes) if o.problems
        ],
        **{name: sum(getattr(outcome, name) for outcome in outcomes) for name in sums},
        "stalest_limit_seconds": round(max((o.stalest for o in outcomes), default=0.0), 3),
        "seconds": round(sum(o.seconds for o in outcomes)),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1_000)
    rounds = parser.parse_args().rounds
    REPORT.parent.mkdir(exist_ok=True)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as directory, redis_server(directory) as redis:
        for number in range(rounds):
            outcomes.append(one_round(Path(directory), number, redis=redis))
            for problem in outcomes[-1].problems:
                print(f"round {number}, {outcomes[-1].mode}: {problem}", flush=True)
            if number % 25 == 24 or number == rounds - 1:
                report = summary(outcomes)
                REPORT.write_text(json.dumps(report, indent=2) + "\n")
                print(f"{report['rounds']} rounds, {len(report['failures'])} failed, {report['seconds']} s", flush=True)
    text = summary(outcomes)
    print(json.dumps({key: value for key, value in text.items() if key != "failures"}))
    return 1 if text["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
