"""`gatewright policy`: checking and explaining."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatewright.cli.main import main
from gatewright.cli.policy import explain_tier
from gatewright.errors import ValidationError
from gatewright.policy import load_policy


def test_the_default_policy_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check"]) == 0
    out = capsys.readouterr().out
    assert "upload_products" in out
    assert "The policy is valid." in out


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is True
    assert told["policy"]["default_tier"] == "free"


def test_a_wrong_policy_is_one_line_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('default_tier = "free"\n[permissions]\n[tiers.free]\npermissions = ["fly"]\n')
    assert main(["policy", "check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"gatewright: CONFIGURATION_ERROR: {path}:4: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("tier", "what", "role", "allowed", "words"),
    [
        ("free", "upload_products", None, True, "the tier free includes it"),
        ("enterprise", "upload_products", None, True, "and enterprise inherits from it"),
        ("free", "export_data", None, False, "the lowest tier with it is professional"),
        ("professional", "export_data", "viewer", False, "but the role does not include it"),
        ("professional", "export_data", "analyst", True, "and the role includes it"),
        ("free", "data_exports", None, True, "has 5 per month of data_exports"),
        ("enterprise", "product_uploads", None, True, "has unlimited of product_uploads"),
    ],
)
def test_explain(tier: str, what: str, role: str | None, allowed: bool, words: str) -> None:
    told = explain_tier(load_policy(), tier, what, role)
    assert told["allowed"] is allowed
    assert words in told["explanation"]


@pytest.mark.parametrize(("what", "role"), [("fly", None), ("export_data", "pilot")])
def test_what_the_policy_does_not_know_is_named(what: str, role: str | None) -> None:
    with pytest.raises(ValidationError, match=role or what):
        explain_tier(load_policy(), "free", what, role)


def test_explain_exits_1_when_not_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "free", "export_data"]) == 1
    assert main(["policy", "explain", "professional", "export_data", "--json"]) == 0
    assert '"allowed": true' in capsys.readouterr().out


def test_a_policy_of_ones_own_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        'default_tier = "basic"\n[permissions]\nfly = "Fly"\n[tiers.basic]\npermissions = ["fly"]\n'
        '[tiers.basic.limits]\nflights = { limit = 3, window = "rolling", hours = 12 }\n'
        '[adjustments]\nhighest_tier = "basic"\n'
    )
    monkeypatch.setenv("GATEWRIGHT_POLICY_FILE", str(path))
    assert main(["policy", "explain", "basic", "flights"]) == 0
    assert "3 in 12 h of flights" in capsys.readouterr().out
