"""The audit log: search, proofs, and detection of every change."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gatewright.errors import ValidationError
from gatewright.events import SecurityEvent, event
from gatewright.monitoring import (
    AuditVerification,
    Checkpoint,
    SecurityMonitor,
    check_consistency_proof,
    check_inclusion_proof,
    entry_of,
)
from gatewright.storage import CompactMerkleTree, SqliteStore, leaf_hash
from gatewright.testing import ManualClock
from tests.monitoring.conftest import ROOT

TOTAL = 700


def emitted(monitor: SecurityMonitor, count: int, start: int = 0) -> list[SecurityEvent]:
    events = [event("auth:login:succeeded", manufacturer_id=f"m{n % 3}", n=n) for n in range(start, start + count)]
    for one in events:
        monitor.emit(one)
    return events


async def test_what_was_emitted_is_found(monitor: SecurityMonitor, clock: ManualClock) -> None:
    monitor.emit(
        event(
            "auth:login:failed",
            severity="warning",
            timestamp=clock.now(),
            manufacturer_id="m",
            account_id="a",
            session_id="s",
            ip_address="192.0.2.1",
            request_id="r",
            actor="x",
            reason="wrong password",
        )
    )
    monitor.emit(event("rbac:tier:changed", timestamp=clock.now() + timedelta(seconds=5)))
    newest, oldest = await monitor.audit.search()
    assert (oldest.index, newest.index) == (0, 1)
    assert oldest.kind == "auth:login:failed"
    assert (oldest.manufacturer_id, oldest.account_id, oldest.session_id) == ("m", "a", "s")
    assert (oldest.ip_address, oldest.request_id, oldest.actor) == ("192.0.2.1", "r", "x")
    assert oldest.data == {"reason": "wrong password"}
    assert oldest.timestamp == clock.now()
    assert [e.index for e in await monitor.audit.search(kind="auth:*")] == [0]
    assert [e.index for e in await monitor.audit.search(severity="warning")] == [0]
    assert [e.index for e in await monitor.audit.search(since=clock.now() + timedelta(seconds=1))] == [1]
    assert [e.index for e in await monitor.audit.search(until=clock.now() + timedelta(seconds=1))] == [0]
    assert [e.index for e in await monitor.audit.search(before=1, manufacturer_id="m", ip_address="192.0.2.1")] == [0]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"severity": "awful"}])
async def test_a_search_that_makes_no_sense(monitor: SecurityMonitor, query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await monitor.audit.search(**query)


async def test_an_empty_log_is_whole(monitor: SecurityMonitor) -> None:
    result = await monitor.audit.verify()
    assert result.valid
    assert result.size == 0
    checkpoint = await monitor.audit.checkpoint()
    assert checkpoint.size == 0
    assert await monitor.audit.verify(checkpoint)


async def test_a_whole_log_verifies_with_its_checkpoints(monitor: SecurityMonitor) -> None:
    kept = []
    for start in (0, 3, 256, 300, 512, 690):
        emitted(monitor, {0: 3, 3: 253, 256: 44, 300: 212, 512: 178, 690: 10}[start], start)
        kept.append(await monitor.audit.checkpoint())
    assert [c.size for c in kept] == [3, 256, 300, 512, 690, 700]
    seen: list[tuple[int, int]] = []
    result = await monitor.audit.verify(kept[1], progress=lambda done, total: seen.append((done, total)))
    assert result
    assert (result.size, result.checked, result.checked_checkpoints) == (700, 700, 7)
    assert result.first_bad_index is None
    assert seen[-1] == (700, 700)
    assert result.root == kept[-1].root


async def test_no_secret_reaches_the_log(monitor: SecurityMonitor, tmp_path: Path) -> None:
    monitor.emit(
        event(
            "auth:test:secrets",
            manufacturer_id="token=planted-1",
            password="planted-2",
            nested={"api_key": "planted-3"},
            header="Bearer planted-4-long-enough",
            raw=b"planted-5",
            odd={1: object()},
        )
    )
    (kept,) = await monitor.audit.search()
    assert "planted" not in str(kept)
    await monitor.close()
    files = [path for path in os.scandir(tmp_path) if path.is_file()]
    assert files
    for file in files:
        with open(file.path, "rb") as opened:  # noqa: ASYNC230 - a small file, at the end of the test
            assert b"planted" not in opened.read()


def test_an_event_is_always_kept_and_always_bounded() -> None:
    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("broken")

    broken = SecurityEvent(**{**event("a:b:c").to_dict(), "data": Broken(x=1)})
    assert msgspec.json.decode(entry_of(broken).body)["data"] == {"unreadable": "RuntimeError"}
    huge = entry_of(event("a:b:c", many={str(n): ["x" * 2000] * 60 for n in range(60)}))
    assert len(huge.body) < 1000
    assert "left_out" in huge.body.decode()
    odd = entry_of(event("a:b:\ud800", manufacturer_id="m\ud800" * 1000, severity="awful", note="\ud800\x00"))
    assert odd.body.decode()
    assert len(odd.kind) < 300
    assert len(odd.manufacturer_id or "") == 256
    assert odd.severity == 1
    naive = entry_of(event("a:b:c", timestamp=datetime(2026, 1, 1)))
    assert naive.at == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


async def rebuilt(connection: sqlite3.Connection) -> None:
    """An attacker with the whole database recomputes hashes, subtrees and head."""
    growth = CompactMerkleTree()
    connection.execute("DELETE FROM audit_nodes")
    bodies = connection.execute("SELECT body FROM audit_entries ORDER BY idx").fetchall()
    connection.execute("DELETE FROM audit_checkpoints WHERE size > ?", (len(bodies),))
    for index, (body,) in enumerate(bodies):
        leaf = leaf_hash(body)
        connection.execute("UPDATE audit_entries SET leaf_hash = ? WHERE idx = ?", (leaf, index))
        growth.append(leaf)
    connection.executemany("INSERT INTO audit_nodes VALUES (?, ?, ?)", growth.finished)
    connection.execute("UPDATE audit_head SET size = ?, peaks = ?", (growth.size, b"".join(growth.peaks)))


def altered(connection: sqlite3.Connection, index: int, *, with_hash: bool = False) -> None:
    (body,) = connection.execute("SELECT body FROM audit_entries WHERE idx = ?", (index,)).fetchone()
    changed = body.replace(b'"n":%d' % index, b'"n":999')
    assert changed != body
    connection.execute("UPDATE audit_entries SET body = ? WHERE idx = ?", (changed, index))
    if with_hash:
        connection.execute("UPDATE audit_entries SET leaf_hash = ? WHERE idx = ?", (leaf_hash(changed), index))


def delete(sql: str) -> Callable[[sqlite3.Connection], None]:
    return lambda connection: connection.executescript(sql) and None


TAMPERINGS: dict[str, tuple[Callable[[sqlite3.Connection], None], int, str]] = {
    "first entry altered": (lambda c: altered(c, 0), 0, "entry_altered"),
    "entry altered": (lambda c: altered(c, 300), 300, "entry_altered"),
    "last entry altered": (lambda c: altered(c, TOTAL - 1), TOTAL - 1, "entry_altered"),
    "altered with its hash": (lambda c: altered(c, 300, with_hash=True), 256, "entry_altered"),
    "altered with its hash at the end": (lambda c: altered(c, 690, with_hash=True), 600, "root_mismatch"),
    "deleted in the middle": (delete("DELETE FROM audit_entries WHERE idx = 300"), 300, "entry_missing"),
    "first deleted": (delete("DELETE FROM audit_entries WHERE idx = 0"), 0, "entry_missing"),
    "tail deleted": (delete("DELETE FROM audit_entries WHERE idx >= 650"), 650, "tail_missing"),
    "two swapped": (
        delete(
            "UPDATE audit_entries SET idx = -1 WHERE idx = 5; UPDATE audit_entries SET idx = 5 WHERE idx = 6;"
            "UPDATE audit_entries SET idx = 6 WHERE idx = -1"
        ),
        0,
        "entry_altered",
    ),
    "entry slipped in at the end": (
        delete(
            "INSERT INTO audit_entries SELECT 700, 'x', at, kind, severity, manufacturer_id, account_id, ip_address,"
            " request_id, body, leaf_hash FROM audit_entries WHERE idx = 1"
        ),
        TOTAL,
        "entry_unaccounted",
    ),
    "hidden from search": (
        delete("UPDATE audit_entries SET manufacturer_id = 'other' WHERE idx = 123"),
        123,
        "fields_altered",
    ),
    "moved in time": (delete("UPDATE audit_entries SET at = at - 100 WHERE idx = 124"), 124, "fields_altered"),
    "made harmless": (delete("UPDATE audit_entries SET severity = 4 WHERE idx = 125"), 125, "fields_altered"),
}


@pytest.mark.parametrize("name", list(TAMPERINGS))
async def test_tampering_is_found_and_located(
    name: str, store: SqliteStore, monitor: SecurityMonitor, tmp_path: Path
) -> None:
    tamper, index, reason = TAMPERINGS[name]
    emitted(monitor, 600)
    await monitor.audit.checkpoint()
    emitted(monitor, TOTAL - 600, 600)
    await monitor.flush()
    assert await monitor.audit.verify()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        tamper(connection)
    result = await monitor.audit.verify()
    assert not result
    assert (result.first_bad_index, result.reason) == (index, reason)
    (incident,) = await monitor.list_incidents(kind="audit_tampered")
    assert incident.severity == "critical"
    assert result.detail in incident.summary


async def recomputed(
    monitor: SecurityMonitor, path: Path, change: Callable[[sqlite3.Connection], None], kept: Checkpoint | None = None
) -> AuditVerification:
    with sqlite3.connect(path / "store.db") as connection:
        change(connection)
        await rebuilt(connection)
    return await monitor.audit.verify(kept)


async def test_recomputing_everything_is_betrayed_by_a_stored_checkpoint(
    monitor: SecurityMonitor, tmp_path: Path
) -> None:
    emitted(monitor, 300)
    await monitor.audit.checkpoint()
    emitted(monitor, 300, 300)
    await monitor.audit.checkpoint()
    result = await recomputed(monitor, tmp_path, lambda c: altered(c, 450))
    assert (result.first_bad_index, result.reason) == (300, "checkpoint_mismatch")


async def test_a_tail_cut_off_cleanly_is_betrayed_by_a_checkpoint_kept_elsewhere(
    monitor: SecurityMonitor, tmp_path: Path
) -> None:
    emitted(monitor, 600)
    kept = await monitor.audit.checkpoint()
    cut = delete("DELETE FROM audit_entries WHERE idx >= 500")
    result = await recomputed(monitor, tmp_path, cut, kept)
    assert (result.first_bad_index, result.reason) == (500, "tail_missing")
    assert (await monitor.audit.verify()).reason == "tail_missing"  # without it, the root secret's binding shows it


async def test_the_checkpoint_file_is_such_a_place(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "checkpoints"
    async with SecurityMonitor(store, root_secret=ROOT, checkpoint_file=path) as monitor:
        assert await monitor.audit.verify()
        emitted(monitor, 600)
    with path.open("ab") as file:
        file.write(b'"torn')
    async with SecurityMonitor(store, root_secret=ROOT, checkpoint_file=path) as monitor:
        assert await monitor.audit.verify()
        result = await recomputed(monitor, tmp_path, delete("DELETE FROM audit_entries WHERE idx >= 500"))
        assert (result.first_bad_index, result.reason) == (500, "tail_missing")


async def test_a_checkpoint_of_another_key_counts_for_nothing(store: SqliteStore) -> None:
    async with SecurityMonitor(store, root_secret=b"another root secret of an attacker") as other:
        emitted(other, 10)
        forged = await other.audit.checkpoint()
    async with SecurityMonitor(store, root_secret=ROOT) as monitor:
        result = await monitor.audit.verify(forged)
        assert (result.valid, result.reason) == (False, "signature_invalid")
        assert await monitor.list_incidents() == []  # a wrong note says nothing about the log
        assert (await monitor.audit.verify()).reason == "signature_invalid"
    before = [b"another root secret of an attacker"]
    async with SecurityMonitor(store, root_secret=ROOT, previous_root_secrets=before) as monitor:
        assert await monitor.audit.verify(forged)
    async with SecurityMonitor(store) as monitor:  # a key for this process: others' are compared, not believed
        result = await monitor.audit.verify()
        assert result.valid
        assert result.unverified_checkpoints == len(await store.list_checkpoints())


async def test_inclusion_is_proved_to_anyone_with_the_key(monitor: SecurityMonitor) -> None:
    events = emitted(monitor, 600)
    old = await monitor.audit.checkpoint()
    events += emitted(monitor, 100, 600)
    keys = [monitor.audit.verifier_key]
    for index in (0, 255, 256, 511, 599):
        proof = await monitor.audit.prove(events[index].event_id, checkpoint=old)
        assert (proof.index, proof.size) == (index, 600)
        assert check_inclusion_proof(proof, keys)
    proof = await monitor.audit.prove(events[650].event_id)
    assert check_inclusion_proof(proof, keys)
    assert not check_inclusion_proof(proof, [])
    assert not check_inclusion_proof(msgspec.structs.replace(proof, index=651), keys)
    changed = msgspec.structs.replace(proof, entry=proof.entry.replace("m2", "m1"))
    assert not check_inclusion_proof(changed, keys)
    with pytest.raises(ValidationError) as caught:
        await monitor.audit.prove(events[650].event_id, checkpoint=old)
    assert caught.value.code == "UNKNOWN_EVENT"
    with pytest.raises(ValidationError):
        await monitor.audit.prove("unknown")


async def test_consistency_of_two_checkpoints(monitor: SecurityMonitor) -> None:
    with pytest.raises(ValidationError):
        await monitor.audit.prove_consistency(await monitor.audit.checkpoint())
    kept = []
    for start in range(0, 600, 60):
        emitted(monitor, 60, start)
        kept.append(await monitor.audit.checkpoint())
    keys = [monitor.audit.verifier_key]
    for old in kept:
        proof = await monitor.audit.prove_consistency(old, kept[-1].note)
        assert check_consistency_proof(proof, keys)
        assert not check_consistency_proof(proof, ["gatewright/audit+00000000+AAAA"])
    emitted(monitor, 5, 600)
    now = await monitor.audit.prove_consistency(kept[0])
    assert check_consistency_proof(now, keys)
    assert not check_consistency_proof(msgspec.structs.replace(now, old=kept[1].note), keys)
    with pytest.raises(ValidationError):
        await monitor.audit.prove_consistency(kept[5], kept[4])
