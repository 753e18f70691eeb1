"""An attacker with write access to the database, but without the root secret, cannot rewrite the audit log."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gatewright.errors import StorageError
from gatewright.monitoring import AuditVerification, SecurityMonitor
from gatewright.storage import SqliteStore, available
from gatewright.testing import ManualClock
from tests.monitoring.conftest import ROOT, eventually
from tests.monitoring.test_audit import altered, emitted, rebuilt

OTHER = b"a root secret that was in use before"
Change = Callable[[sqlite3.Connection], object]


def sql(script: str) -> Change:
    return lambda connection: connection.executescript(script)


async def changed(path: Path, *changes: Change) -> None:
    """An attacker with the database alone changes it and recomputes every hash."""
    with sqlite3.connect(path / "store.db") as connection:
        for change in changes:
            change(connection)
        await rebuilt(connection)
        connection.execute("DELETE FROM audit_checkpoints")
        connection.executescript("UPDATE audit_head SET size = size")


def opened(store: SqliteStore, path: Path, **options: Any) -> SecurityMonitor:
    return SecurityMonitor(store, **{"root_secret": ROOT, "spool_dir": path / "spool", **options})


UNBIND = sql("DELETE FROM audit_bindings")
REWRITES: dict[str, tuple[tuple[Change, ...], int, str]] = {
    "a row": ((lambda c: altered(c, 300),), 0, "binding_mismatch"),
    "the first row": ((lambda c: altered(c, 0),), 0, "binding_mismatch"),
    "a row, and later ones dropped": (
        (lambda c: altered(c, 300), sql("DELETE FROM audit_entries WHERE idx > 300")),
        301,
        "tail_missing",
    ),
    "the tail cut": ((sql("DELETE FROM audit_entries WHERE idx >= 699"),), 699, "tail_missing"),
    "a row added": (
        (
            sql(
                "INSERT INTO audit_entries SELECT 700, 'x', at, kind, severity, manufacturer_id, account_id,"
                " ip_address,"
                " request_id, CAST(replace(body, event_id, 'x') AS BLOB), leaf_hash FROM audit_entries WHERE idx = 1"
            ),
        ),
        700,
        "entries_unbound",
    ),
    "a forged binding": (
        (
            sql("DELETE FROM audit_entries WHERE idx >= 500"),
            sql("UPDATE audit_bindings SET size = 500, mac = zeroblob(32)"),
        ),
        0,
        "binding_mismatch",
    ),
    "an earlier start": ((sql("UPDATE audit_bindings SET bound_from = 100"),), 100, "binding_mismatch"),
}


@pytest.mark.parametrize("name", list(REWRITES))
async def test_a_rewrite_by_the_database_alone_is_found(
    name: str, monitor: SecurityMonitor, store: SqliteStore, tmp_path: Path
) -> None:
    changes, index, reason = REWRITES[name]
    emitted(monitor, 700)
    whole = await monitor.audit.verify()
    assert whole and whole.bound_from == 0
    assert any("root secret" in line for line in whole.held_against)
    await changed(tmp_path, *changes)
    found = await monitor.audit.verify()
    assert (found.valid, found.first_bad_index, found.reason) == (False, index, reason), found.detail
    emitted(monitor, 900, 700)  # the service continues, and what it appends does not bless what was changed
    await monitor.flush()
    assert not await monitor.audit.verify()
    async with opened(store, tmp_path) as again:
        assert not await again.audit.verify()


async def test_a_rewrite_is_reported_with_the_next_append(
    monitor: SecurityMonitor, store: SqliteStore, tmp_path: Path
) -> None:
    emitted(monitor, 10)
    await monitor.flush()
    await changed(tmp_path, lambda c: altered(c, 5))
    emitted(monitor, 1, 10)
    await monitor.flush()
    await eventually(lambda: monitor.audit.last_verification is not None)
    (incident,) = await monitor.list_incidents(kind="audit_tampered")
    assert incident.severity == "critical"


async def test_what_was_changed_gets_no_signature(monitor: SecurityMonitor, tmp_path: Path) -> None:
    emitted(monitor, 10)
    assert (await monitor.audit.checkpoint()).bound_from == 0
    await changed(tmp_path, lambda c: altered(c, 5))
    with pytest.raises(StorageError) as caught:
        await monitor.audit.checkpoint()
    assert caught.value.code == "AUDIT_DAMAGED"


async def test_a_rotated_root_secret_still_binds(store: SqliteStore, tmp_path: Path) -> None:
    async with opened(store, tmp_path, root_secret=OTHER) as before:
        emitted(before, 300)
    async with opened(store, tmp_path, previous_root_secrets=[OTHER]) as rotated:
        assert await rotated.audit.verify()
        emitted(rotated, 10, 300)
        found = await rotated.audit.verify()
        assert found and found.bound_from == 0
    async with opened(store, tmp_path) as forgotten:
        assert (await forgotten.audit.verify()).reason == "signature_invalid"


async def test_a_previous_secret_named_too_late_mends_the_verdict(store: SqliteStore, tmp_path: Path) -> None:
    async with opened(store, tmp_path, root_secret=OTHER) as before:
        emitted(before, 3)
    async with opened(store, tmp_path) as forgotten:
        emitted(forgotten, 3, 3)
        found = await forgotten.audit.verify()
        assert not found
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("DELETE FROM audit_checkpoints")
    async with opened(store, tmp_path) as forgotten:
        found = await forgotten.audit.verify()
        assert (found.first_bad_index, found.reason) == (0, "binding_mismatch")
        assert "GATEWRIGHT_PREVIOUS_SECRET_KEYS" in found.detail
    async with opened(store, tmp_path, previous_root_secrets=[OTHER]) as mended:
        assert await mended.audit.verify()


async def test_entries_without_the_secret_are_found(store: SqliteStore, tmp_path: Path) -> None:
    async with opened(store, tmp_path) as monitor:
        emitted(monitor, 5)
    async with SecurityMonitor(store) as stranger:
        emitted(stranger, 5, 5)
        await stranger.flush()
        found = await stranger.audit.verify()
        assert found and found.bound_from is None
        assert "not bound" in found.held_against[0]
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("DELETE FROM audit_checkpoints")
    async with opened(store, tmp_path) as monitor:
        found = await monitor.audit.verify()
        assert (found.first_bad_index, found.reason) == (5, "entries_unbound")


# --- logs from before -------------------------------------------------------------------------------------------


async def test_a_log_from_before_says_from_where_on_it_is_bound(tmp_path: Path, clock: ManualClock) -> None:
    async with SqliteStore(tmp_path / "store.db", durable=False) as store, SecurityMonitor(store, clock=clock) as old:
        emitted(old, 40)
    with sqlite3.connect(tmp_path / "store.db") as connection:  # as the version before this migration left it
        number = next(number for number, (name, _) in available().items() if "audit_bindings" in name)
        connection.execute("DROP TABLE audit_bindings")
        connection.execute("DELETE FROM schema_migrations WHERE number = ?", (number,))
        connection.execute("DELETE FROM audit_checkpoints")
    async with SqliteStore(tmp_path / "store.db", durable=False) as store, opened(store, tmp_path) as monitor:
        found = await monitor.audit.verify()
        assert found and found.bound_from is None
        assert "no entry is bound yet" in found.held_against[0]
        emitted(monitor, 10, 40)
        found = await monitor.audit.verify()
        assert found and found.bound_from == 40
        assert "bound from entry 40 on" in found.held_against[0]
        assert "earlier entries" in found.held_against[0]
        await changed(tmp_path, lambda c: altered(c, 5))  # from now on a change to those shows as well
        assert (await monitor.audit.verify()).reason == "binding_mismatch"


# --- what the database alone cannot tell ------------------------------------------------------------------------


@pytest.fixture
async def anchored(store: SqliteStore, tmp_path: Path) -> AsyncIterator[SecurityMonitor]:
    async with opened(store, tmp_path, anchor_file=tmp_path / "apart" / "anchor") as monitor:
        emitted(monitor, 100)
        await monitor.audit.checkpoint()
        yield monitor


@pytest.mark.parametrize("more", [0, 200])
@pytest.mark.parametrize(
    "changes",
    [
        [UNBIND],
        [UNBIND, lambda c: altered(c, 5)],
        [UNBIND, sql("DELETE FROM audit_entries")],
        [UNBIND, sql("DELETE FROM audit_entries WHERE idx > 5")],
    ],
)
async def test_deleting_the_bindings_is_found_by_the_anchor(
    anchored: SecurityMonitor, tmp_path: Path, changes: list[Change], more: int
) -> None:
    assert await anchored.audit.verify()
    await changed(tmp_path, *changes)
    emitted(anchored, more, 100)
    found = await anchored.audit.verify()
    assert found.reason in {"binding_removed", "tail_missing", "checkpoint_mismatch"}, found


async def test_an_anchor_is_made_once_and_believed_with_a_signature_only(
    store: SqliteStore, anchored: SecurityMonitor, tmp_path: Path
) -> None:
    path = tmp_path / "apart" / "anchor"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    kept = path.read_bytes()
    emitted(anchored, 10, 100)
    await anchored.audit.checkpoint()
    assert path.read_bytes() == kept
    path.write_bytes(kept.replace(b"bound 0", b"bound 7"))
    assert await anchored.audit.verify()


async def older_state(store: SqliteStore, tmp_path: Path, *, checkpoint_file: Path | None) -> AuditVerification:
    """The database is restored to its state 50 entries ago: every hash and MAC in it is authentic."""
    async with opened(store, tmp_path, checkpoint_file=checkpoint_file) as monitor:
        emitted(monitor, 100)
        await monitor.audit.checkpoint()
    await store.close()
    shutil.copy(tmp_path / "store.db", tmp_path / "then.db")
    async with (
        SqliteStore(tmp_path / "store.db", durable=False) as later,
        opened(later, tmp_path, checkpoint_file=checkpoint_file) as monitor,
    ):
        emitted(monitor, 50, 100)
    shutil.copy(tmp_path / "then.db", tmp_path / "store.db")
    async with (
        SqliteStore(tmp_path / "store.db", durable=False) as back,
        opened(back, tmp_path, checkpoint_file=checkpoint_file) as monitor,
    ):
        return await monitor.audit.verify()


async def test_an_older_state_is_not_told_by_the_database_alone(store: SqliteStore, tmp_path: Path) -> None:
    assert await older_state(store, tmp_path, checkpoint_file=None)


async def test_an_older_state_is_told_by_the_checkpoint_file(store: SqliteStore, tmp_path: Path) -> None:
    found = await older_state(store, tmp_path, checkpoint_file=tmp_path / "elsewhere" / "checkpoints")
    assert (found.first_bad_index, found.reason) == (100, "tail_missing")


async def test_every_line_of_the_checkpoint_file_counts(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "checkpoints"
    async with opened(store, tmp_path, checkpoint_file=path) as monitor:
        emitted(monitor, 100)
        await monitor.audit.checkpoint()
    lines = path.read_bytes().splitlines(keepends=True)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.executescript("DELETE FROM audit_bindings; DELETE FROM audit_entries WHERE idx >= 50")
    await changed(tmp_path)
    async with opened(store, tmp_path) as monitor:  # something signs the shorter log
        short = await monitor.audit.checkpoint()
    path.write_bytes(b"".join([*lines, b'"' + short.note.replace("\n", "\\n").encode() + b'"\n']))
    async with opened(store, tmp_path, checkpoint_file=path) as monitor:
        assert (await monitor.audit.verify()).reason == "tail_missing"


# --- the checkpoint file ----------------------------------------------------------------------------------------


def is_gone(path: Path) -> None:
    path.unlink()


def is_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (is_gone, "checkpoint_file_missing"),
        (lambda path: path.write_bytes(b""), "checkpoint_file_empty"),
        (lambda path: path.write_bytes(b"\n\n"), "checkpoint_file_empty"),
        (lambda path: path.write_bytes(b'"no checkpoint"\n{}\n\xff\n'), "checkpoint_file_empty"),
        (lambda path: path.write_bytes(b'"torn'), "checkpoint_file_empty"),
        (is_a_directory, "checkpoint_file_unreadable"),
    ],
)
async def test_a_configured_checkpoint_file_that_tells_nothing_is_a_finding(
    store: SqliteStore, tmp_path: Path, fault: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "elsewhere" / "checkpoints"
    async with opened(store, tmp_path, checkpoint_file=path) as monitor:
        assert await monitor.audit.verify()
        emitted(monitor, 10)
        found = await monitor.audit.verify()
        assert found and any(f"{path}: 1 checkpoints" in line for line in found.held_against)
        fault(path)
        found = await monitor.audit.verify()
        assert (found.valid, found.reason, found.first_bad_index) == (False, reason, None)
        assert str(path) in found.detail
        assert any(f"{path}: 0 checkpoints" in line for line in found.held_against)
        (incident,) = await monitor.list_incidents()
        assert (incident.kind, incident.severity) == ("audit_witness_lost", "high")


async def test_what_is_wrong_with_the_log_comes_before_a_missing_file(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    async with opened(store, tmp_path, checkpoint_file=path) as monitor:
        emitted(monitor, 10)
        await monitor.flush()
        path.unlink()
        await changed(tmp_path, lambda c: altered(c, 5))
        assert (await monitor.audit.verify()).reason == "binding_mismatch"


async def test_a_file_that_was_lost_is_not_begun_again_in_silence(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    async with opened(store, tmp_path, checkpoint_file=path) as monitor:
        emitted(monitor, 10)
        await monitor.audit.checkpoint()
        path.unlink()
        emitted(monitor, 10, 10)
        await monitor.audit.checkpoint()
        (event,) = await monitor.audit.search(kind="monitoring:audit:unwitnessed")
        assert event.data["reason"] == "checkpoint_file_missing"
        assert path.exists()
