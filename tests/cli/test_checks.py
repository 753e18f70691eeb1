"""The checks of the doctor that need nothing to be opened."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest

from gatewright.cli.checks import machine, settings as settings_checks
from gatewright.settings import Settings

TEXT = resources.files("gatewright").joinpath("policy.toml").read_text("utf-8")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _settings(tmp_path: Path, **values: object) -> Settings:
    keys = {"secret_key": secrets.token_hex(32), "encryption_key": secrets.token_hex(32)}
    return Settings(**{"data_dir": tmp_path, **keys, **values})


def _statuses(checks: object) -> list[str]:
    return [check.status for check in checks]  # type: ignore[attr-defined]  # any iterable of checks


def test_good_keys(tmp_path: Path) -> None:
    assert _statuses(settings_checks.check_keys(_settings(tmp_path))) == ["ok"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"secret_key": None}, "GATEWRIGHT_SECRET_KEY is missing"),
        ({"encryption_key": "short"}, "GATEWRIGHT_ENCRYPTION_KEY is weak"),
        ({"encryption_key": "aa" * 32}, "GATEWRIGHT_ENCRYPTION_KEY is weak"),
        ({"secret_key": "0123456789abcdef" * 4, "encryption_key": "0123456789abcdef" * 4}, "the same key"),
    ],
)
def test_bad_keys_are_findings_without_the_key(tmp_path: Path, values: dict[str, object], word: str) -> None:
    settings = _settings(tmp_path, **values)
    found = [c for c in settings_checks.check_keys(settings) if c.status == "finding"]
    assert [word in c.detail for c in found] == [True]
    assert found[0].remedy
    assert "0123456789abcdef" not in str(found)


def test_weak_settings_are_findings(tmp_path: Path) -> None:
    found = settings_checks.check_settings(
        _settings(tmp_path, debug=True, cookie_secure=False, inspection_mode="shadow")
    )
    assert sorted(_statuses(found)) == ["finding", "finding", "note", "note"]


def test_production_settings(tmp_path: Path) -> None:
    settings = _settings(tmp_path, mode="production", public_url="https://gw.example", notifier="smtp")
    assert _statuses(settings_checks.check_settings(settings)) == ["ok"]
    mute = _settings(tmp_path, mode="production", public_url="https://gw.example")
    assert "finding" in _statuses(settings_checks.check_settings(mute))


def test_a_bad_policy_is_a_finding_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('default_tier = "gold"\n[permissions]\n[tiers.free]\n')
    (found,) = settings_checks.check_policy(_settings(tmp_path, policy_file=path))
    assert found.status == "finding"
    assert "policy.toml:1" in found.detail
    assert [check.status for check in settings_checks.check_policy(_settings(tmp_path))] == ["ok"]


def test_attacks_that_are_not_refused_are_to_know(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TEXT.replace('mode = "block"', 'mode = "shadow"'))
    by_policy = _settings(tmp_path, policy_file=path)
    assert _statuses(settings_checks.check_policy(by_policy)) == ["ok", "note"]
    assert not any("attacks are not refused" in check.detail for check in settings_checks.check_settings(by_policy))
    by_setting = _settings(tmp_path, policy_file=path, inspection_mode="off")
    assert any("in mode off" in check.detail for check in settings_checks.check_settings(by_setting))
    assert _statuses(settings_checks.check_policy(by_setting)) == ["ok"]


def test_exclusions_that_ended_or_soon_will_are_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    entry = """
[[inspection.exclusions]]
route = "POST /products"
field = "$.{name}"
threats = ["xss"]
reason = "cleaned by the shop"
author = "anna"
until = 2030-0{month}-15
"""
    entries = [entry.format(name=name, month=month) for name, month in (("old", 1), ("soon", 2), ("later", 3))]
    path.write_text(TEXT + "".join(entries))
    found = list(settings_checks.check_policy(_settings(tmp_path, policy_file=path), datetime(2030, 2, 10, tzinfo=UTC)))
    assert [check.status for check in found] == ["ok", "finding", "note"]
    assert "$.old (xss), by anna until 2030-01-15: cleaned by the shop" in found[1].detail
    assert "$.soon" in found[2].detail


def test_files_that_others_may_read_are_findings(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # what is in a closed directory is closed
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "gatewright.db").write_text("")
    (data / "gatewright.db").chmod(0o644)
    found = [c for c in machine.check_files(_settings(data)) if c.status == "finding"]
    assert [c.remedy for c in found] == [f"chmod 700 {data}", f"chmod 600 {data / 'gatewright.db'}"]
    data.chmod(0o700)
    assert set(_statuses(machine.check_files(_settings(data)))) == {"ok"}, "the directory covers what is in it"


def test_named_key_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "etc"
    place.mkdir(mode=0o755)
    (place / "key").write_text(secrets.token_hex(32))
    (place / "key").chmod(0o640)
    settings = _settings(tmp_path)
    monkeypatch.setenv("GATEWRIGHT_SECRET_KEY_FILE", str(place / "key"))
    assert [c.remedy for c in machine.check_files(settings) if c.status == "finding"] == [f"chmod 600 {place / 'key'}"]
    monkeypatch.setenv("GATEWRIGHT_SECRET_KEY_FILE", str(place / "none"))
    assert any("No such file" in c.detail for c in machine.check_files(settings))


def test_the_clock_is_held_against_the_log() -> None:
    assert machine.check_clock(NOW - timedelta(minutes=1), NOW).status == "ok"
    assert machine.check_clock(None, NOW).status == "ok"
    assert machine.check_clock(NOW + timedelta(minutes=1), NOW).status == "finding"
    assert machine.check_clock(None, datetime(1970, 1, 1, tzinfo=UTC)).status == "finding"


def test_the_machine_is_described() -> None:
    subjects = [check.subject for check in machine.check_machine()]
    assert subjects == ["python", "openssl", "detector"]
    assert all(check.status in ("ok", "note") for check in machine.check_memory_locked_down())
