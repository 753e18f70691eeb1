"""The compliance report: every check, with remedies for failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.encryption import (
    ComplianceFinding,
    ComplianceReport,
    ManufacturerEncryptionManager,
)
from gatewright.errors import StorageError
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.encryption.conftest import ROOT
from tests.encryption.test_keys import NEW_ROOT, BreaksDown

Manager = ManufacturerEncryptionManager


def of(report: ComplianceReport, check: str) -> ComplianceFinding:
    (finding,) = (f for f in report.findings if f.check == check)
    return finding


@pytest.mark.parametrize("algorithm", ["AES-256-GCM", "ChaCha20-Poly1305"])
async def test_a_sound_setup_passes(key_store: SqliteStore, algorithm: str) -> None:
    async with Manager(ROOT, store=key_store, algorithm=algorithm) as manager:
        await manager.encrypt_manufacturer_data({}, manufacturer_id="a")
        report = await manager.validate_encryption_compliance()
    assert report.compliant and report["algorithm"] == algorithm and report.key_version == 1
    statuses = {finding.check: finding.status for finding in report.findings}
    assert statuses == {
        "algorithm": "passed",
        "key_commitment": "passed",
        "root_key": "passed",
        "key_rotation": "passed",
        "key_age": "passed",
        "key_wrapping": "passed",
        "nonce_count": "passed",
        "fips_mode": "info",
    }
    assert "1 of 1" in of(report, "key_wrapping").detail and "1024" in of(report, "nonce_count").detail
    assert "FIPS mode is off" in of(report, "fips_mode").detail


async def test_each_fault_is_found_with_its_remedy(tmp_path: Path, clock: ManualClock, sink: ListSink) -> None:
    exposed = tmp_path / "exposed.key"
    exposed.write_text("x" * 32)
    exposed.chmod(0o644)
    manager = Manager(
        None,
        False,
        legacy_fernet_keys=["A" * 43 + "="],
        secret_files=[exposed, tmp_path / "none"],
        require_fips=True,
        clock=clock,
        sink=sink,
    )
    await manager.initialize()
    await manager.revoke_key((await manager.list_keys())[0].key_id, reason="test")
    clock.advance(days=91)
    report = await manager.validate_encryption_compliance()
    assert not report.compliant
    failed = [finding for finding in report.findings if finding.status == "failed"]
    assert {finding.check for finding in failed} == {
        "root_key",
        "key_rotation",
        "key_age",
        "file_permissions",
        "fips_mode",
    }
    assert all(finding.remedy for finding in failed)
    assert {"key_store", "revoked_keys", "legacy_payloads"} <= {f.check for f in report.findings if f.status == "info"}
    told = [event for event in sink.events if event.kind == "encryption:compliance:failed"]
    assert len(told) == len(failed)


async def test_a_root_rotation_that_was_not_finished_is_found(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "keys.db", durable=False) as store:
        async with Manager(ROOT, store=store, max_messages_per_key=5) as manager:
            for name in "abc":
                await manager.encrypt_manufacturer_data({}, manufacturer_id=name)
            with pytest.raises(StorageError):
                await manager.rotate_root_key(BreaksDown(NEW_ROOT, after=0))
            full = await manager.validate_encryption_compliance()
            assert of(full, "nonce_count").status == "failed"
        async with Manager(NEW_ROOT, store=store, previous_keys=[ROOT]) as manager:
            report = await manager.validate_encryption_compliance()
            assert of(report, "key_wrapping").status == "failed" and "0 of 3" in of(report, "key_wrapping").detail
            await manager.rotate_root_key(NEW_ROOT)
            assert of(await manager.validate_encryption_compliance(), "key_wrapping").status == "passed"
