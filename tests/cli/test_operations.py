"""The commands of an operator against a real installation."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyotp
import pytest

from gatewright.cli.bootstrap import opened
from gatewright.cli.main import main
from gatewright.cli.usage import bar
from gatewright.encryption import KEY_NAMES
from gatewright.monitoring import InclusionProof, check_inclusion_proof
from gatewright.rbac import ManufacturerRBACManager
from gatewright.testing import ManualClock
from tests.cli.conftest import Command


def _with_foundation(work: Any) -> Any:
    async def run() -> Any:
        async with opened() as foundation:
            return await work(foundation)

    return asyncio.run(run())


# --- init -------------------------------------------------------------------------------------------------------


def test_init_makes_keys_and_an_admin_once(command: Command, place: Path) -> None:
    made = command("init", "--email", "root@platform.example")
    assert [Path(path).name for path in made["keys_made"]] == list(KEY_NAMES)
    admin = made["admin"]
    kept = Path(admin["credentials_file"])
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert f"ADMIN_PASSWORD='{admin['password']}'" in kept.read_text()
    again = command("init")
    assert (again["keys_made"], again["admin"]) == ([], None)


def test_the_admin_signs_in_with_the_second_factor(command: Command) -> None:
    admin = command("init", "--email", "root@platform.example")["admin"]

    async def sign_in(foundation: Any) -> Any:
        code = pyotp.TOTP(admin["totp_secret"]).now()
        refused = await foundation.auth.authenticate_manufacturer(admin["email"], admin["password"])
        done = await foundation.auth.authenticate_manufacturer(admin["email"], admin["password"], code)
        return refused.status, done.status

    assert _with_foundation(sign_in) == ("mfa_required", "authenticated")


def test_init_for_people(command: Command, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    assert "shown only once" in out
    assert "password" in out
    assert main(["init"]) == 0
    assert "existing keys kept in" in capsys.readouterr().out


def test_a_command_without_keys_says_how_to_make_them(
    place: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manufacturer", "list"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("gatewright: CONFIGURATION_ERROR: GATEWRIGHT_SECRET_KEY=(missing): ")
    assert "gatewright init" in err
    assert err.count("\n") == 1


# --- doctor -----------------------------------------------------------------------------------------------------


def test_a_fresh_installation_is_sound(command: Command) -> None:
    command("init")
    told = command("doctor")
    assert told["sound"] is True
    subjects = {check["subject"] for check in told["checks"]}
    assert {"settings", "keys", "policy", "files", "store", "clock", "detector", "audit", "openssl"} <= subjects


def test_the_doctor_finds_a_key_that_others_may_read(
    installed: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.chmod(0o755)
    (place / "keys").chmod(0o755)
    (place / "keys" / KEY_NAMES[0]).chmod(0o644)
    told = installed("doctor", code=1)
    assert any(c["status"] == "finding" and KEY_NAMES[0] in c["detail"] for c in told["checks"])
    assert main(["doctor"]) == 1
    assert "findings" in capsys.readouterr().out


def test_the_doctor_finds_missing_keys(command: Command) -> None:
    told = command("doctor", code=1)
    assert [c["detail"] for c in told["checks"] if c["status"] == "finding"] == [
        "GATEWRIGHT_SECRET_KEY is missing",
        "GATEWRIGHT_ENCRYPTION_KEY is missing",
    ]


def test_the_doctor_finds_another_secret_key(installed: Command, place: Path) -> None:
    installed("keys", "list")
    (place / "keys" / KEY_NAMES[0]).write_text("b1" * 16 + "0123456789abcdef" * 2)
    told = installed("doctor", code=1)
    assert any(c["subject"] == "parts" and "another secret key" in c["detail"] for c in told["checks"])


def test_the_doctor_reads_a_wrong_setting(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWRIGHT_SMTP_PORT", "0")
    told = command("doctor", code=1)
    assert "GATEWRIGHT_SMTP_PORT" in told["checks"][0]["detail"]


def test_the_doctor_tries_the_mail_server(installed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWRIGHT_NOTIFIER", "smtp")
    monkeypatch.setenv("GATEWRIGHT_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("GATEWRIGHT_SMTP_PORT", "1")
    told = installed("doctor", code=1)
    assert any(c["subject"] == "mail" and "127.0.0.1:1" in c["detail"] for c in told["checks"])


# --- tenants ----------------------------------------------------------------------------------------------------


def _create(command: Command, *more: str) -> dict[str, Any]:
    made: dict[str, Any] = command("manufacturer", "create", "a@acme.example", "--company", "Acme Tools", *more)
    return made


def test_a_manufacturers_life(installed: Command) -> None:
    made = _create(installed, "--tier", "professional")
    name = made["manufacturer_id"]
    assert made["tier"] == "professional"

    async def sign_in(foundation: Any) -> str:
        return str((await foundation.auth.authenticate_manufacturer("a@acme.example", made["password"])).status)

    assert _with_foundation(sign_in) == "authenticated"
    assert [m["manufacturer_id"] for m in installed("manufacturer", "list")] == [name]
    assert installed("manufacturer", "tier", name, "enterprise", "--reason", "contract")["tier"] == "enterprise"
    assert installed("manufacturer", "disable", name)["status"] == "disabled"
    assert installed("manufacturer", "enable", name)["status"] == "active"
    shown = installed("manufacturer", "show", name)
    assert shown["accounts"][0]["email"] == "a@acme.example"
    assert {used["resource"] for used in shown["usage"]} >= {"product_uploads", "data_exports"}
    assert "profile" not in shown


def test_a_password_comes_by_standard_input(installed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("four unrelated words swim\n"))
    made = _create(installed, "--password-stdin", "--id", "mfr_acme")
    assert made["manufacturer_id"] == "mfr_acme"
    assert "password" not in made


@pytest.mark.parametrize("arguments", [["show", "none"], ["tier", "none", "free"], ["disable", "none"]])
def test_an_unknown_manufacturer_is_named(
    installed: Command, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manufacturer", *arguments]) == 2
    assert capsys.readouterr().err.startswith("gatewright: UNKNOWN_MANUFACTURER: ")


def test_a_tier_that_is_none_changes_nothing(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    name = _create(installed)["manufacturer_id"]
    assert main(["manufacturer", "tier", name, "platinum"]) == 2
    assert "UNKNOWN_TIER" in capsys.readouterr().err
    assert installed("manufacturer", "show", name)["tier"] == "free"


def test_tables_of_tenants(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    name = _create(installed)["manufacturer_id"]
    for arguments in (["list"], ["show", name], ["disable", name], ["enable", name], ["tier", name, "enterprise"]):
        assert main(["manufacturer", *arguments]) == 0
        assert name in capsys.readouterr().out
    assert main(["usage", name, "--chart"]) == 0
    assert "product_uploads" in capsys.readouterr().out


def test_usage_as_json(installed: Command) -> None:
    name = _create(installed)["manufacturer_id"]
    told = installed("usage", name)
    assert {used["resource"]: used["limit"] for used in told["usage"]}["data_exports"] == 5
    assert installed("usage", "show", name)["usage"] == told["usage"]


def test_a_policy_is_explained_for_a_manufacturer(installed: Command) -> None:
    name = _create(installed)["manufacturer_id"]
    refused = installed("policy", "explain", name, "export_data", code=1)
    assert refused["reason"] == "insufficient_tier"
    allowed = installed("policy", "explain", name, "product_uploads")
    assert (allowed["current"], allowed["limit"]) == (0, 100)
    installed("manufacturer", "disable", name)
    assert installed("policy", "explain", name, "product_uploads", code=1)["reason"] == "disabled"
    assert main(["policy", "explain", "nobody", "export_data"]) == 2


# --- keys -------------------------------------------------------------------------------------------------------


def test_keys_are_listed_and_rotated(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    before = installed("keys", "list")
    done = installed("keys", "rotate", "--reason", "test")
    after = installed("keys", "list")
    assert [key["kid"] for key in before["signing"] if key["state"] == "signs"] != [done["signing"]]
    assert [key["kid"] for key in after["signing"] if key["state"] == "signs"] == [done["signing"]]
    assert [key["status"] for key in after["encryption"]] == ["active", "retired"]
    assert done["encryption"]["old_key_id"] == before["encryption"][0]["key_id"]
    assert installed("keys", "rotate", "signing").keys() == {"signing"}
    assert main(["keys", "list"]) == 0
    assert done["signing"] in capsys.readouterr().out
    assert main(["keys", "rotate"]) == 0
    assert "still decrypts" in capsys.readouterr().out


def test_a_revoked_signing_key_verifies_nothing(installed: Command) -> None:
    name = _create(installed)["manufacturer_id"]

    async def token(foundation: Any) -> str:
        data = {"manufacturer_id": name, "company_name": "M", "email": "m@m.example", "tier": "free", "roles": []}
        return str(await foundation.auth.generate_manufacturer_token(data))

    signed = _with_foundation(token)
    kid = installed("keys", "list")["signing"][0]["kid"]
    done = installed("keys", "revoke", kid, "--reason", "leaked")
    assert done["ended"] == [kid]
    assert [key["kid"] for key in installed("keys", "list")["signing"]] == [done["signs"]]

    async def check(foundation: Any) -> None:
        await foundation.auth.validate_token(signed)

    with pytest.raises(Exception, match="invalid"):
        _with_foundation(check)


def test_a_generation_of_data_keys_is_revoked_and_destroyed(
    installed: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    key_id = installed("keys", "list")["encryption"][0]["key_id"]
    assert installed("keys", "revoke", key_id, "--reason", "lost")["destroyed"] is False
    statuses = {key["key_id"]: key["status"] for key in installed("keys", "list")["encryption"]}
    assert statuses[key_id] == "revoked"
    assert main(["keys", "revoke", key_id, "--reason", "lost", "--destroy"]) == 0
    assert "destroyed" in capsys.readouterr().out
    assert main(["keys", "revoke", "key_none", "--reason", "x"]) == 2
    assert "UNKNOWN_KEY" in capsys.readouterr().err


def test_the_root_is_rotated_in_three_steps(installed: Command, place: Path) -> None:
    async def seal(foundation: Any) -> Any:
        return await foundation.encryption.encrypt_manufacturer_data({"tax_id": "12-3456789"}, manufacturer_id="m")

    envelope = _with_foundation(seal)
    first = (place / "keys" / KEY_NAMES[1]).read_text()
    assert installed("keys", "rotate-root", "--prepare")["prepared"] == str(place / "keys")
    assert (place / "keys" / KEY_NAMES[1]).read_text() != first
    done = installed("keys", "rotate-root")
    assert done["rewrapped"] >= 1
    assert installed("keys", "rotate-root")["rewrapped"] == 0
    (place / "keys" / "gatewright_previous_encryption_keys").unlink()

    async def open_it(foundation: Any) -> Any:
        return await foundation.encryption.decrypt_manufacturer_data(envelope)

    assert _with_foundation(open_it) == {"tax_id": "12-3456789"}


# --- audit ------------------------------------------------------------------------------------------------------


def test_the_log_is_verified_exported_and_proved(installed: Command, tmp_path: Path) -> None:
    name = _create(installed)["manufacturer_id"]
    out = tmp_path / "events.jsonl"
    told = installed("audit", "export", "--out", str(out))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert told["entries"] == len(lines) > 0
    assert [line["index"] for line in lines] == list(range(len(lines)))
    created = next(line for line in lines if line["kind"] == "admin:manufacturer:created")
    assert created["manufacturer_id"] == name
    assert created["actor"].startswith("cli")
    assert hashlib.sha256(b"\0" + created["entry"].encode()).hexdigest() == created["leaf_hash"]

    proof = installed("audit", "prove", created["event_id"])
    key = proof.pop("verifier_key")
    assert check_inclusion_proof(msgspec.convert(proof, InclusionProof), [key])
    note = tmp_path / "checkpoint.txt"
    assert main(["audit", "checkpoint", "--out", str(note)]) == 0
    verified = installed("audit", "verify", "--checkpoint", str(note))
    assert verified["valid"] is True


def test_a_checkpoint_is_kept_as_it_is_printed(installed: Command, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoint.json"
    printed = installed("audit", "checkpoint")
    kept.write_text(json.dumps(printed))
    assert installed("audit", "verify", "--checkpoint", str(kept))["valid"] is True
    installed("audit", "checkpoint", "--out", str(kept))
    assert installed("audit", "verify", "--checkpoint", str(kept))["valid"] is True
    kept.write_text(f"{json.dumps('of an older log')}\n{json.dumps(printed['note'])}\n")
    assert installed("audit", "verify", "--checkpoint", str(kept))["valid"] is True


def test_an_export_of_one_manufacturer(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    name = _create(installed)["manufacturer_id"]
    assert main(["audit", "export", "--manufacturer", name]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert {line["manufacturer_id"] for line in lines} == {name}
    assert main(["audit", "export", "--until", "2020-01-01"]) == 0
    assert capsys.readouterr().out == ""


def test_a_changed_entry_is_found(installed: Command, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    _create(installed)
    connection = sqlite3.connect(place / "gatewright.db")
    connection.execute(
        "UPDATE audit_entries SET body = CAST(replace(CAST(body AS TEXT), 'created', 'deleted') AS BLOB)"
    )
    connection.commit()
    connection.close()
    told = installed("audit", "verify", code=1)
    assert told["valid"] is False
    assert main(["audit", "verify"]) == 1
    assert "NOT INTACT" in capsys.readouterr().out


def test_a_text_that_is_no_checkpoint(installed: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note").write_text("hello")
    assert main(["audit", "verify", "--checkpoint", str(tmp_path / "note")]) == 2
    assert "INVALID_CHECKPOINT" in capsys.readouterr().err
    assert main(["audit", "prove", "none"]) == 2
    assert "UNKNOWN_EVENT" in capsys.readouterr().err


# --- posture, model, migrate ------------------------------------------------------------------------------------


def test_the_posture_is_assessed_and_a_measure_applied(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    async def trouble(foundation: Any) -> None:
        await foundation.monitor.create_security_incident(
            "brute_force", "high", "many failures", manufacturer_id="mfr_1"
        )

    _with_foundation(trouble)
    told = installed("posture", "assess", code=1)
    assert "brute_force" in {found["kind"] for found in told["findings"]}
    proposal = next(p for p in told["proposals"] if p["measure"]["kind"] == "require_mfa")
    assert installed("posture", "apply", proposal["proposal_id"])["status"] == "applied"

    async def in_force(foundation: Any) -> bool:
        return bool(foundation.controls.mfa_required("mfr_1"))

    assert _with_foundation(in_force) is True
    (listed,) = installed("posture", "assess", code=1)["in_force"]
    assert listed["id"] == proposal["measure"]["measure_id"]
    assert main(["posture", "assess"]) == 1
    assert "In force" in capsys.readouterr().out
    assert installed("posture", "roll-back", listed["id"])["status"] == "rolled_back"
    assert _with_foundation(in_force) is False
    assert installed("posture", "assess", code=1)["in_force"] == []
    assert main(["posture", "apply", "none"]) == 2


def test_model_versions(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(installed("model", "versions"), list)
    assert installed("model", "rollback", "0")["version"] == 0
    assert main(["model", "rollback", "7"]) == 2
    assert capsys.readouterr().err.startswith("gatewright: ")


def test_migrations_are_due_and_done(command: Command, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    due = command("migrate", "--check", code=1)["due"]
    assert due
    assert not place.exists()
    assert command("migrate")["done"] == due
    assert command("migrate", "--check")["due"] == []
    assert main(["migrate"]) == 0
    assert "up to date" in capsys.readouterr().out


# --- usage ------------------------------------------------------------------------------------------------------


def test_a_suggestion_is_applied_and_rolled_back(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    name = _create(installed)["manufacturer_id"]

    async def be_refused(foundation: Any) -> None:
        for days in (1, 3, 5, 7):
            clock = ManualClock(datetime.now(UTC) - timedelta(days=days))
            async with ManufacturerRBACManager(foundation.policy, store=foundation.store, clock=clock) as then:
                assert not (await then.check_usage_limit(name, "data_exports", 10)).allowed

    _with_foundation(be_refused)
    suggestion = installed("usage", name)["tier_suggestion"]
    assert (suggestion["current"], suggestion["suggested"]) == ("free", "professional")
    assert main(["usage", name, "--chart"]) == 0
    assert suggestion["suggestion_id"] in capsys.readouterr().out
    assert installed("usage", "apply", suggestion["suggestion_id"])["status"] == "applied"
    assert installed("manufacturer", "show", name)["tier"] == "professional"
    assert main(["usage", "roll-back", suggestion["suggestion_id"]]) == 0
    assert "rolled back" in capsys.readouterr().out
    assert installed("manufacturer", "show", name)["tier"] == "free"


def test_an_unknown_suggestion(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "apply", "none"]) == 2
    assert capsys.readouterr().err.startswith("gatewright: ")


@pytest.mark.parametrize(("value", "drawn"), [(0, ""), (10, "█" * 8), (5, "█" * 4), (0.2, "▏"), (9.9, "███████▉")])
def test_bars(value: float, drawn: str) -> None:
    assert bar(value, 10, width=8) == drawn
