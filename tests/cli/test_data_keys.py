"""The life of data keys at the command line: re-encrypt, replace in an emergency, shred, move; and exports."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gatewright.cli.bootstrap import opened
from gatewright.cli.main import main
from gatewright.encryption import ListSource
from gatewright.errors import DecryptionError
from tests.cli.conftest import Command

PASSWORD = "gravel-otter-lantern-4471"
PROFILE = {"tax_id": "12-3456789", "website": "https://maker.example.com"}


def with_foundation(work: Any) -> Any:
    async def run() -> Any:
        async with opened() as foundation:
            return await work(foundation)

    return asyncio.run(run())


def create(name: str, **profile: str) -> None:
    async def register(foundation: Any) -> None:
        data = {"email": f"{name}@{name}.example", "password": PASSWORD, "company_name": f"Maker {name}"}
        await foundation.auth.register_manufacturer({**data, "manufacturer_id": name, **profile})

    with_foundation(register)


def profile_of(name: str) -> Any:
    return with_foundation(lambda foundation: foundation.profiles.read(name, clear=True))


def key_ids_of_profiles(place: Path) -> set[str]:
    with closing(sqlite3.connect(place / "gatewright.db")) as connection:
        found = connection.execute("SELECT profile FROM manufacturers WHERE profile IS NOT NULL").fetchall()
    return {json.loads(text)["encryption_metadata"]["key_id"] for (text,) in found}


def events(installed: Command, tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    out = tmp_path / "events.jsonl"
    installed("audit", "export", "--out", str(out))
    return [found for found in map(json.loads, out.read_text().splitlines()) if found["kind"] == kind]


# --- re-encryption ----------------------------------------------------------------------------------------------


def test_records_come_under_the_newest_keys(
    installed: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        create(name, **PROFILE)
    new = installed("keys", "rotate", "encryption")["encryption"]["new_key_id"]
    done = installed("keys", "reencrypt", "--rate", "100000", "--batch-size", "1")
    assert done["complete"] and done["sources"][0]["source"] == "profiles" and done["sources"][0]["reencrypted"] == 2
    assert key_ids_of_profiles(place) == {new} and profile_of("one")["tax_id"] == PROFILE["tax_id"]
    assert main(["keys", "reencrypt"]) == 0
    assert "profiles" in capsys.readouterr().out


def test_what_does_not_open_is_named_and_the_exit_code_says_so(
    installed: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create("broken", **PROFILE)
    with closing(sqlite3.connect(place / "gatewright.db")) as connection, connection:
        text = connection.execute("SELECT profile FROM manufacturers WHERE manufacturer_id = 'broken'").fetchone()[0]
        envelope = json.loads(text)
        envelope["encryption_metadata"]["field"] = "another"
        connection.execute(
            "UPDATE manufacturers SET profile = ? WHERE manufacturer_id = 'broken'", (json.dumps(envelope),)
        )
    installed("keys", "rotate", "encryption")
    assert installed("keys", "reencrypt", code=1)["sources"][0]["failed_ids"] == ["broken"]
    assert main(["keys", "reencrypt"]) == 1
    assert "could not be decrypted: broken" in capsys.readouterr().out
    assert main(["keys", "emergency-rotate", "--reason", "test", "--settle", "0"]) == 1
    assert "NOT revoked" in capsys.readouterr().out


SOURCES: list[Any] = []
"""Records of an application, which ``--source`` names."""


def records_of_an_application(foundation: Any) -> list[Any]:
    assert foundation.encryption is not None
    return SOURCES


def test_records_of_the_application_are_taken_along(installed: Command, capsys: pytest.CaptureFixture[str]) -> None:
    async def seal(foundation: Any) -> Any:
        return await foundation.encryption.encrypt_manufacturer_data({"drawing": "A7"}, manufacturer_id="one")

    envelopes = [with_foundation(seal)]
    SOURCES[:] = [ListSource(envelopes)]
    old = envelopes[0]["encryption_metadata"]["key_id"]
    for name in ("records_of_an_application", "SOURCES"):
        done = installed(
            *("keys", "emergency-rotate", "--reason", "leaked", "--settle", "0"), "--source", f"{__name__}:{name}"
        )
        assert done["encryption"]["complete"] and done["encryption"]["reencryptions"][-1]["reencrypted"] == 1
    assert envelopes[0]["encryption_metadata"]["key_id"] != old
    for wrong in ("nonsense", "no.such.module:x", f"{__name__}:nothing", f"{__name__}:PROFILE", "os:sep"):
        assert main(["keys", "reencrypt", "--source", wrong]) == 2
        assert f"--source {wrong}" in capsys.readouterr().err


# --- emergencies ------------------------------------------------------------------------------------------------


def test_all_keys_in_use_are_replaced_by_one_command(
    installed: Command, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create("one", **PROFILE)
    before = installed("keys", "list")
    with closing(sqlite3.connect(place / "gatewright.db")) as connection:
        stolen = json.loads(connection.execute("SELECT profile FROM manufacturers WHERE profile > ''").fetchone()[0])
    done = installed("keys", "emergency-rotate", "--reason", "memory dumped", "--settle", "0", "--destroy")
    old_kid, old_id = before["signing"][0]["kid"], before["encryption"][0]["key_id"]
    assert done["signing"]["ended"] == [old_kid] and done["encryption"]["key_id"] == old_id
    assert done["encryption"]["complete"] and done["encryption"]["destroyed"]
    after = installed("keys", "list")
    assert [key["kid"] for key in after["signing"]] == [done["signing"]["signs"]]
    assert {key["key_id"]: key["status"] for key in after["encryption"]}[old_id] == "destroyed"
    assert profile_of("one")["tax_id"] == PROFILE["tax_id"]
    with pytest.raises(DecryptionError):
        with_foundation(lambda foundation: foundation.encryption.decrypt_manufacturer_data(stolen))
    (told,) = events(installed, tmp_path, "encryption:key:destroyed")
    assert "memory dumped (cli" in told["data"]["reason"]
    capsys.readouterr()
    assert main(["keys", "emergency-rotate", "--reason", "once more", "--settle", "0"]) == 0
    assert "is revoked" in capsys.readouterr().out


def test_one_compromised_key_is_replaced_and_the_others_stay(installed: Command) -> None:
    before = installed("keys", "list")
    kid, key_id = before["signing"][0]["kid"], before["encryption"][0]["key_id"]
    assert installed("keys", "emergency-rotate", kid, "--reason", "leaked").keys() == {"signing"}
    done = installed("keys", "emergency-rotate", key_id, "--reason", "leaked", "--settle", "0")
    assert done.keys() == {"encryption"} and done["encryption"]["revoked"]
    again = installed("keys", "emergency-rotate", key_id, "--reason", "leaked", "--settle", "0")
    assert again["encryption"]["rotation"] is None and again["encryption"]["complete"], "may be repeated"
    assert main(["keys", "emergency-rotate", "key_none", "--reason", "typing error"]) == 2


# --- shredding --------------------------------------------------------------------------------------------------


def test_a_manufacturer_is_shredded_after_its_id_was_typed(
    installed: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gone", "kept"):
        create(name, **PROFILE)
    monkeypatch.setattr("sys.stdin", io.StringIO("kept\n"))
    assert main(["keys", "shred", "gone"]) == 2
    assert "NOT_CONFIRMED" in capsys.readouterr().err and profile_of("gone")["tax_id"] == PROFILE["tax_id"]
    monkeypatch.setattr("sys.stdin", io.StringIO("gone\n"))
    assert main(["keys", "shred", "gone", "--reason", "contract ended"]) == 0
    asked = capsys.readouterr()
    assert "Maker gone" in asked.err and "1 keys of gone destroyed" in asked.out
    with pytest.raises(DecryptionError):
        profile_of("gone")
    assert profile_of("kept")["tax_id"] == PROFILE["tax_id"]
    (told,) = events(installed, tmp_path, "encryption:keys:shredded")
    assert told["manufacturer_id"] == "gone" and told["data"]["reason"].startswith("contract ended (cli")
    assert installed("keys", "shred", "gone", "--yes")["keys_destroyed"] == 0
    assert main(["keys", "shred", "gone", "--yes"]) == 0
    assert "no keys" in capsys.readouterr().out
    assert main(["keys", "shred", "nobody", "--yes"]) == 2
    assert "UNKNOWN_MANUFACTURER" in capsys.readouterr().err
    done = installed("keys", "emergency-rotate", "--reason", "test", "--settle", "0")
    assert done["encryption"]["complete"] and done["encryption"]["reencryptions"][0]["shredded"] == 1


def test_keys_whose_manufacturer_is_in_no_list_can_be_shredded(installed: Command) -> None:
    with_foundation(lambda f: f.encryption.encrypt_manufacturer_data({"n": 1}, manufacturer_id="elsewhere"))
    assert installed("keys", "shred", "elsewhere", "--yes")["keys_destroyed"] == 1


# --- a key store of its own -------------------------------------------------------------------------------------


def test_keys_move_apart_from_the_records(
    installed: Command,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Records made before open afterwards, the records alone open nothing, and a forgotten setting is noticed."""
    for name in ("gone", "kept"):
        create(name, **PROFILE)
    assert main(["keys", "move"]) == 2
    assert "GATEWRIGHT_KEY_DATABASE" in capsys.readouterr().err
    keys = tmp_path / "elsewhere" / "keys.db"
    keys.parent.mkdir(mode=0o700)
    monkeypatch.setenv("GATEWRIGHT_KEY_DATABASE", f"sqlite:///{keys}")
    assert main(["keys", "list"]) == 2
    assert "KEYS_ELSEWHERE" in capsys.readouterr().err, "the variable is set, the keys are not there yet"
    moved = installed("keys", "move")
    assert moved["to"] == str(keys) and moved["generations"] == 1 and moved["data_keys"] == 2
    assert main(["keys", "move"]) == 0
    assert "No keys to move" in capsys.readouterr().out
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    copy = tmp_path / "copy"
    shutil.copytree(place, copy)
    installed("keys", "shred", "gone", "--yes")
    assert profile_of("kept")["tax_id"] == PROFILE["tax_id"]
    assert [one["data"]["data_keys"] for one in events(installed, tmp_path, "encryption:keys:moved")] == [2]
    monkeypatch.setenv("GATEWRIGHT_DATA_DIR", str(copy))  # the records as they were before
    assert profile_of("kept")["tax_id"] == PROFILE["tax_id"]
    with pytest.raises(DecryptionError):
        profile_of("gone")
    monkeypatch.delenv("GATEWRIGHT_KEY_DATABASE")
    assert main(["keys", "list"]) == 2
    assert "KEYS_ELSEWHERE" in capsys.readouterr().err


def key_store_checks(command: Command, *, code: int = 0) -> list[tuple[str, str]]:
    found = [check for check in command("doctor", code=code)["checks"] if check["subject"] == "key store"]
    return [(check["status"], check["detail"]) for check in found]


def test_the_doctor_looks_at_where_the_keys_are(
    installed: Command, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("one", **PROFILE)
    monkeypatch.setenv("GATEWRIGHT_COOKIE_SECURE", "true")
    ((status, detail),) = key_store_checks(installed)
    assert status == "note" and "are stored with the records" in detail
    monkeypatch.setenv("GATEWRIGHT_KEY_DATABASE", f"sqlite:///{tmp_path / 'not mounted' / 'keys.db'}")
    assert ("finding", f"{tmp_path / 'not mounted'} does not exist") in key_store_checks(installed, code=1)
    monkeypatch.setenv("GATEWRIGHT_KEY_DATABASE", f"sqlite:///{place / 'keys.db'}")
    installed("keys", "move")
    ((status, detail),) = key_store_checks(installed)
    assert status == "note" and "in the data directory" in detail
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    monkeypatch.setenv("GATEWRIGHT_KEY_DATABASE", f"sqlite:///{tmp_path / 'elsewhere' / 'keys.db'}")
    shutil.copy2(place / "keys.db", tmp_path / "elsewhere" / "keys.db")
    ((status, detail),) = key_store_checks(installed)
    assert status == "ok" and "separate from the records" in detail
    shutil.copy2(place / "keys.db", place / "left.db")
    with closing(sqlite3.connect(place / "gatewright.db")) as connection, connection:
        connection.execute("ATTACH ? AS other", (str(place / "left.db"),))
        connection.execute("INSERT INTO data_keys SELECT * FROM other.data_keys")
        connection.execute("INSERT INTO key_generations SELECT * FROM other.key_generations")
        connection.execute("INSERT INTO root_keys SELECT * FROM other.root_keys")
    assert ("finding", "data keys remain in the store of records") in key_store_checks(installed, code=1)
    installed("keys", "move")
    assert [status for status, _ in key_store_checks(installed)] == ["ok"]


def test_a_wrong_place_for_keys_is_refused_at_once(
    installed: Command, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("keys.db", "sqlite:///", f"sqlite:///{place / 'gatewright.db'}", "mongodb://keys"):
        monkeypatch.setenv("GATEWRIGHT_KEY_DATABASE", wrong)
        assert main(["keys", "list"]) == 2
        assert "must be sqlite:///path" in capsys.readouterr().err


# --- exports ----------------------------------------------------------------------------------------------------


def test_everything_of_a_manufacturer_is_exported(
    installed: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        create(name, **PROFILE)

    async def use(foundation: Any) -> str:
        signed_in = await foundation.auth.authenticate_manufacturer("one@one.example", PASSWORD)
        owner = signed_in.manufacturer.account_id
        await foundation.rbac.update_manufacturer_tier("one", "professional", reason="keys need api_access")
        await foundation.auth.setup_mfa("one", account_id=owner)
        made = await foundation.auth.create_api_key(
            "one", "shop", permissions=["upload_products"], expires_at=None, account_id=owner
        )
        return str(made.key)

    key = with_foundation(use)
    out = tmp_path / "one.json"
    told = installed("manufacturer", "export", "one", "--out", str(out))
    assert told["file"] == str(out) and told["accounts"] == 1 and told["records"] == 1
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = out.read_text()
    held = json.loads(text)
    assert held["records"][0]["data"]["tax_id"] == PROFILE["tax_id"] and held["records"][0]["readable"]
    assert held["manufacturer"]["company_name"] == "Maker one" and held["api_keys"][0]["name"] == "shop"
    (person,) = held["accounts"]
    assert person["email"] == "one@one.example" and person["has_password"] and person["backup_codes_left"] == 10
    assert len(held["sessions"]) == 1 and {"auth:login:succeeded"} <= {event["kind"] for event in held["events"]}
    assert {event["manufacturer_id"] for event in held["events"]} == {"one"} and "two@two" not in text
    for secret in (key, "argon2", "secret_hash", "cookie_hash"):
        assert secret not in text
    (told,) = events(installed, tmp_path, "admin:manufacturer:exported")
    assert told["manufacturer_id"] == "one" and told["actor"].startswith("cli") and told["data"]["records"] == 1
    assert main(["manufacturer", "export", "one", "--out", str(out)]) == 2
    assert "FILE_EXISTS" in capsys.readouterr().err
    assert main(["manufacturer", "export", "one", "--out", str(tmp_path / "again.json")]) == 0
    assert "Hand it over safely" in capsys.readouterr().out
    assert main(["manufacturer", "export", "nobody", "--out", str(tmp_path / "none.json")]) == 2
    assert "UNKNOWN_MANUFACTURER" in capsys.readouterr().err and not (tmp_path / "none.json").exists()


def test_one_person_is_exported_without_the_manufacturers_data(
    installed: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create("one", **PROFILE)
    account = installed("manufacturer", "show", "one")["accounts"][0]["account_id"]
    out = tmp_path / "person.json"
    installed("manufacturer", "export", "one", "--account", account, "--out", str(out))
    held = json.loads(out.read_text())
    assert held["account_id"] == account and [p["account_id"] for p in held["accounts"]] == [account]
    assert PROFILE["tax_id"] not in out.read_text() and "records" not in held
    assert main(["manufacturer", "export", "one", "--account", "acc_none", "--out", str(tmp_path / "x.json")]) == 2
    assert "UNKNOWN_ACCOUNT" in capsys.readouterr().err
