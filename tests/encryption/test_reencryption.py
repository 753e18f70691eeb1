"""Background re-encryption: interruption, resumption and concurrent writers lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewright.encryption import Envelope, ListSource, ManufacturerEncryptionManager, Reencryption, ReencryptionReport
from gatewright.errors import DecryptionError, KeyUnavailableError, ValidationError
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.encryption.conftest import ROOT
from tests.encryption.killing import filled, killed_processes, killed_tasks

Manager = ManufacturerEncryptionManager


async def test_all_records_come_under_the_newest_key(manager: Manager, sink: ListSink) -> None:
    table = await filled(manager, 120)
    await manager.rotate_encryption_key()
    seen: list[ReencryptionReport] = []
    (report,) = await manager.reencrypt_all(table, batch_size=50, progress=seen.append)
    assert report.finished and report.reencrypted == 120 and report.failed == 0 and report.target_version == 2
    assert len(seen) >= 3 and [r.scanned for r in seen] == sorted(r.scanned for r in seen)
    envelopes = table.all()
    assert {e["encryption_metadata"]["key_version"] for e in envelopes.values()} == {2}
    for key, envelope in envelopes.items():
        assert await manager.decrypt_manufacturer_data(envelope) == {"n": int(key)}
    assert {"encryption:reencryption:started", "encryption:reencryption:finished"} <= set(sink.kinds())
    (again,) = await manager.reencrypt_all([table])
    assert again.reencrypted == 0 and again.already_current == 120


async def test_what_does_not_open_is_named_and_left_as_it_is(manager: Manager) -> None:
    table = await filled(manager, 10)
    stranger = await Manager().encrypt_manufacturer_data({"n": 3}, manufacturer_id="m3")
    table.put("000003", stranger)
    table.put("000004", {"encrypted_payload": "x", "encryption_metadata": None})
    await manager.rotate_encryption_key()
    (report,) = await manager.reencrypt_all(table)
    assert report.finished and report.reencrypted == 8 and report.failed_ids == ["000003", "000004"]
    assert table.all()["000003"] == stranger


async def test_a_list_is_reencrypted_in_place(manager: Manager) -> None:
    envelopes = [await manager.encrypt_manufacturer_data(n) for n in range(5)]
    await manager.rotate_encryption_key()
    source = ListSource(envelopes)
    await manager.reencrypt_all(source, batch_size=2)
    assert [e["encryption_metadata"]["key_version"] for e in envelopes] == [2] * 5
    assert not await source.replace("0", {}, {})


async def test_killed_ten_times_and_raced_by_writers_nothing_is_lost(tmp_path: Path) -> None:
    killed_at = await killed_tasks(tmp_path, records=600, kills=10, seed=7)
    assert len(killed_at) == 10 and killed_at[-1] > 0.9, "spread over the whole run"


async def test_processes_are_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    result = await killed_processes(tmp_path, records=600, kills=2, seed=11)
    assert len(result["killed_at"]) == 2 and result["writes"] and result["reads"]


async def test_a_writer_that_is_faster_wins(manager: Manager) -> None:
    table = await filled(manager, 30)
    await manager.rotate_encryption_key()
    fresh = await manager.encrypt_manufacturer_data({"n": "new"}, manufacturer_id="m5")
    replace = table.replace

    async def outrun(record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        if record_id == "000005":
            table.put(record_id, fresh)
        return await replace(record_id, expected, envelope)

    table.replace = outrun  # type: ignore[method-assign]  # the moment that a race needs
    (report,) = await manager.reencrypt_all(table)
    assert report.contended == 1 and report.finished
    assert await manager.decrypt_manufacturer_data(table.all()["000005"]) == {"n": "new"}


async def test_a_source_that_keeps_going_back_ends_incomplete(manager: Manager, sink: ListSink) -> None:
    old = await manager.encrypt_manufacturer_data(1)
    await manager.rotate_encryption_key()

    class Stubborn(ListSource):
        async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
            return False

    (report,) = await manager.reencrypt_all(Stubborn([old]))
    assert not report.finished and report.contended == 20
    assert "encryption:reencryption:incomplete" in sink.kinds()


async def test_the_rate_is_kept(manager: Manager, clock: ManualClock) -> None:
    table = await filled(manager, 100)
    await manager.rotate_encryption_key()
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        clock.advance(seconds)

    await Reencryption(manager.vault, table, batch_size=10, records_per_second=50, pause=pause).run()
    assert sum(waited) == pytest.approx(4.0)  # one pass that writes, one that verifies
    for wrong in ({"batch_size": 0}, {"batch_size": 10_001}, {"records_per_second": 0}):
        with pytest.raises(ValidationError):
            await manager.reencrypt_all(table, **wrong)  # type: ignore[arg-type]  # wrong on purpose


async def test_an_emergency_rotates_reencrypts_and_revokes(manager: Manager) -> None:
    table = await filled(manager, 20)
    before = table.all()
    key_id = before["000000"]["encryption_metadata"]["key_id"]
    report = await manager.emergency_rotation([table], reason="key file leaked", settle=0)
    assert report.complete and report.revoked and not report.destroyed
    assert report.rotation is not None and report.rotation.old_key_id == report.key_id == key_id
    for key, envelope in table.all().items():
        assert await manager.decrypt_manufacturer_data(envelope) == {"n": int(key)}
        with pytest.raises(DecryptionError):
            await manager.decrypt_manufacturer_data(before[key])


async def test_an_emergency_that_leaves_something_behind_does_not_revoke(manager: Manager) -> None:
    table = await filled(manager, 5)
    table.put("000002", await Manager().encrypt_manufacturer_data({}, manufacturer_id="m2"))
    report = await manager.emergency_rotation([table], reason="key file leaked", settle=0, destroy=True)
    assert not report.complete and not report.revoked and report.reencryptions[0].failed_ids == ["000002"]
    assert [k.status for k in await manager.list_keys()] == ["active", "retired"]
    table.put("000002", await manager.encrypt_manufacturer_data({}, manufacturer_id="m2"))
    again = await manager.emergency_rotation(
        [table], reason="key file leaked", key_id=report.key_id, settle=0, destroy=True
    )
    assert again.complete and again.revoked and again.destroyed and again.rotation is None
    assert [k.status for k in await manager.list_keys()] == ["active", "destroyed"]
    with pytest.raises(KeyUnavailableError, match="key_none"):
        await manager.emergency_rotation([table], reason="typing error", key_id="key_none")


async def test_an_emergency_waits_for_others_and_takes_what_they_wrote_at_the_last_moment(
    key_store: SqliteStore,
) -> None:
    """Another process seals under the old generation after our pass: the look after the revocation finds it."""
    async with Manager(ROOT, store=key_store) as ours:
        table = await filled(ours, 3)
        late = await ours.encrypt_manufacturer_data({"n": "late"}, manufacturer_id="m1")
        revoke = ours.keys.revoke

        async def just_before(*arguments: Any, **named: Any) -> int:
            table.put("000001", late)
            return await revoke(*arguments, **named)

        ours.keys.revoke = just_before  # type: ignore[method-assign]  # the moment that a race needs
        report = await ours.emergency_rotation([table], reason="leaked", settle=0.001)
        assert report.complete and report.reencryptions[0].reencrypted == 4
        assert {e["encryption_metadata"]["key_version"] for e in table.all().values()} == {2}
        assert await ours.decrypt_manufacturer_data(table.all()["000001"]) == {"n": "late"}


async def test_what_was_shredded_is_no_failure(manager: Manager) -> None:
    """Records of a manufacturer without keys stay where they are: no one can read them, so nothing is left to do."""
    table = await filled(manager, 14)
    await manager.shred("m3")
    report = await manager.emergency_rotation([table], reason="key file leaked", settle=0)
    (done,) = report.reencryptions
    assert report.complete and report.revoked and (done.shredded, done.failed, done.reencrypted) == (2, 0, 12)
    assert await manager.is_shredded("m3") and not await manager.is_shredded("m4")


async def test_an_export_has_everything_of_one_manufacturer_and_names_gaps(manager: Manager, sink: ListSink) -> None:
    table = await filled(manager, 21)
    broken = table.all()["000007"]
    table.put("000007", {**broken, "encrypted_payload": broken["encrypted_payload"][:-8] + "AAAAAAAA"})
    exported = [record async for record in manager.export_manufacturer_data("m0", [table], batch_size=4)]
    assert [(r.record_id, r.readable, r.data) for r in exported] == [
        ("000000", True, {"n": 0}),
        ("000007", False, None),
        ("000014", True, {"n": 14}),
    ]
    assert sink.events[-1].kind == "encryption:data:exported" and sink.events[-1].data["records"] == 3
