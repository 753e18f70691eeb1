"""The policy: the contract's matrix by default, and one precise line for everything that is wrong."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from gatewright.errors import ConfigurationError
from gatewright.policy import load_policy, parse_policy

TEXT = resources.files("gatewright").joinpath("policy.toml").read_text("utf-8")


def test_the_default_is_the_contract() -> None:
    policy = load_policy()
    assert policy.tiers_by_rank() == ["free", "professional", "enterprise"]
    assert policy.permissions_of_tier("free") == {"upload_products", "view_basic_analytics"}
    assert len(policy.permissions_of_tier("enterprise")) == len(policy.permissions) == 8
    assert policy.required_tier("bulk_operations") == "enterprise"
    assert policy.required_tier("unheard_of") is None
    limits = {t: {r: v.limit for r, v in policy.limits_of_tier(t).items()} for t in policy.tiers}
    assert limits["free"] == {"product_uploads": 100, "ml_tool_requests": 50, "api_calls": 1000, "data_exports": 5}
    assert limits["enterprise"]["product_uploads"] == -1
    assert load_policy() is policy


def test_a_tier_has_the_limits_it_does_not_change() -> None:
    policy = parse_policy(TEXT.replace("ml_tool_requests = { limit = 500,", "training_hours = { limit = 500,"))
    assert policy.limits_of_tier("professional")["ml_tool_requests"].limit == 50


@pytest.mark.parametrize(
    ("find", "write", "says"),
    [
        (
            '{ limit = 50, window = "month" }',
            '{ limit = "x", window = "month" }',
            "ml_tool_requests.limit = 'x': expected int",
        ),
        ('inherits = "free"', 'inherits = "fre"', "did you mean free?"),
        ('inherits = "free"', 'inherits = "enterprise"', "circle"),
        ("level = 1", "level = 9", "must be from 1 to 4"),
        ("[detection]\nlevel", "[detection]\nlevl", "did you mean level?"),
        ('default_tier = "free"\n', "", "default_tier: this key is required"),
        ('default_tier = "free"', 'default_tier = "gold"', "no tier is called 'gold'"),
        ("api_calls = { limit = 10_000", "api_calls = { limit = 10", "less than the 1000 of free"),
        ("api_calls = { limit = 10_000", "api_calls = { limit = -5", "must be -1 (unlimited), 0 or more"),
        ('limit = 5, window = "month"', 'limit = 5, window = "rolling"', "hours go with a rolling window"),
        ('limit = 5, window = "month"', 'limit = 5, window = "week"', "data_exports.window = 'week'"),
        ('"bulk_operations", "white', '"bulk_operatons", "white', "did you mean bulk_operations?"),
        ("default = { limit = 1_000,", "default = { limit = 0,", "at least 1"),
        ("limit = 500, window", "limt = 500, window", "did you mean limit?"),
        ("device = { limit = 60,", "device = { limt = 60,", "did you mean limit?"),
        ("device = { limit = 60,", "device = { limit = 0,", "throttles.device"),
        ("lock_after = 10", "lock_after = 50", "at most 10 guesses"),
        ("lock = 900", "lock = 900_000", "throttles.lock = 900000"),
        ("lock_after = 10", "lok_after = 10", "did you mean lock_after?"),
        ('mode = "block"', 'mode = "blok"', "detection.mode = 'blok'"),
        ("end_at = 0.9", "end_at = 0.1", "put them in order"),
        ("absolute = 7_776_000", "absolute = 5", "must be at least idle"),
        ("concurrent = 20", "concurrent = 0", "must be at least 1"),
        ("warn_at = [0.8, 0.95]", "warn_at = [80, 95]", "between 0 and 1"),
        ("[quotas.leases]", "[quotas.leases]\napi_calls = { slice = 0 }", "slice must be at least 1"),
        ('highest_tier = "professional"', 'highest_tier = "gold"', "no tier is called 'gold'"),
        ("mfa_check = 0.05", "mfa_check = 0", "above 0 seconds"),
        ("requests_per_minute = 600", "requests_per_minute = 0", "at least 1"),
        ('[roles.viewer]\npermissions = ["view', '[roles.viewer]\npermissions = ["vie', "vie"),
        ("[features]", "[features]\ndark_mode = 3", "features.dark_mode = 3: expected bool"),
        ("[budgets]", "[budgets", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(find: str, write: str, says: str) -> None:
    assert find in TEXT
    with pytest.raises(ConfigurationError) as refused:
        parse_policy(TEXT.replace(find, write, 1), "mine.toml")
    message = str(refused.value)
    assert says in message and message.startswith("mine.toml:") and "\n" not in message


def test_the_line_is_the_one_that_is_wrong() -> None:
    changed = TEXT.replace("level = 1", "level = 9")
    line = next(n for n, text in enumerate(changed.splitlines(), 1) if text.startswith("level"))
    with pytest.raises(ConfigurationError, match=f"^mine.toml:{line}: detection.level = 9"):
        parse_policy(changed, "mine.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="GATEWRIGHT_POLICY_FILE"):
        load_policy(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'default_tier = "fr\xe9e"')
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_policy(tmp_path / "latin.toml")
    (tmp_path / "copy.toml").write_text(TEXT)
    assert load_policy(tmp_path / "copy.toml") == load_policy()
