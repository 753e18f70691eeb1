"""The policy: the contract's matrix by default, and one precise line for everything that is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest

from gatewright.errors import ConfigurationError
from gatewright.inspection_policy import ThreatName, steps_of
from gatewright.policy import load_policy, parse_policy
from gatewright.threats import ThreatType

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
        ('inherits = "free"', 'inherits = "enterprise"', "cycle"),
        ("level = 1", "level = 9", "must be from 1 to 4"),
        ("[detection]\nlevel", "[detection]\nlevl", "did you mean level?"),
        ('default_tier = "free"\n', "", "default_tier: this key is required"),
        ('default_tier = "free"', 'default_tier = "gold"', "unknown tier 'gold'"),
        ("api_calls = { limit = 10_000", "api_calls = { limit = 10", "below the 1000 inherited from free"),
        ("api_calls = { limit = 10_000", "api_calls = { limit = -5", "must be -1 (unlimited), 0 or more"),
        ('limit = 5, window = "month"', 'limit = 5, window = "rolling"', "hours are required for a rolling window"),
        ('limit = 5, window = "month"', 'limit = 5, window = "week"', "data_exports.window = 'week'"),
        ('"bulk_operations", "white', '"bulk_operatons", "white', "did you mean bulk_operations?"),
        ("default = { limit = 1_000,", "default = { limit = 0,", "at least 1"),
        ("limit = 500, window", "limt = 500, window", "did you mean limit?"),
        ("device = { limit = 60,", "device = { limt = 60,", "did you mean limit?"),
        ("device = { limit = 60,", "device = { limit = 0,", "throttles.device"),
        ("lock_after = 10", "lock_after = 50", "at most 10"),
        ("lock = 900", "lock = 900_000", "throttles.lock = 900000"),
        ("lock_after = 10", "lok_after = 10", "did you mean lock_after?"),
        ('mode = "block"', 'mode = "blok"', "detection.mode = 'blok'"),
        ("end_at = 0.9", "end_at = 0.1", "reorder them"),
        ("absolute = 7_776_000", "absolute = 5", "must be at least idle"),
        ("concurrent = 20", "concurrent = 0", "must be at least 1"),
        ("warn_at = [0.8, 0.95]", "warn_at = [80, 95]", "between 0 and 1"),
        ("[quotas.leases]", "[quotas.leases]\napi_calls = { slice = 0 }", "slice must be at least 1"),
        ('highest_tier = "professional"', 'highest_tier = "gold"', "unknown tier 'gold'"),
        ("mfa_check = 0.05", "mfa_check = 0", "above 0 seconds"),
        ("requests_per_minute = 600", "requests_per_minute = 0", "at least 1"),
        ('[roles.viewer]\npermissions = ["view', '[roles.viewer]\npermissions = ["vie', "vie"),
        ("[features]", "[features]\ndark_mode = 3", "features.dark_mode = 3: expected bool"),
        ("[budgets]", "[budgets", "invalid TOML"),
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


EXCLUSION = """
[[inspection.routes]]
route = "/one"
mode = "shadow"

[[inspection.routes]]
route = "POST /two/{id}"
[inspection.routes.threats]
xss = "shadow"

[[inspection.exclusions]]
route = "POST /one"
field = "$.a"
threats = "all"
reason = "tried by hand"
author = "anna"
until = 2030-01-31

[[inspection.exclusions]]
route = "POST /products"
field = "$.products[*].html"
threats = ["xss"]
reason = "cleaned by the shop"
author = "ben"
until = 2030-02-01
"""


def test_inspection_by_route_and_exclusions_are_data() -> None:
    inspection = parse_policy(TEXT.replace("[inspection]\n", EXCLUSION)).inspection
    assert [dict(entry.threats) for entry in inspection.routes] == [{}, {"xss": "shadow"}]
    assert inspection.exclusions[1].threats == ("xss",) and inspection.exclusions[1].until == date(2030, 2, 1)
    assert inspection.exclusions[0].ends_at == datetime(2030, 2, 1, tzinfo=UTC).timestamp() - 1e-6
    assert set(get_args(ThreatName)) == {kind.value for kind in ThreatType}


@pytest.mark.parametrize(
    ("find", "write", "says", "at"),
    [
        ('threats = ["xss"]', 'threats = ["xs"]', "exclusions[1].threats[0] = 'xs'", "did you mean xss?"),
        ('threats = "all"', "threats = []", "inspection.exclusions[0].threats", "is empty"),
        ('field = "$.products[*].html"', 'field = "products"', "inspection.exclusions[1].field", "a path such as"),
        ("until = 2030-02-01", "until = 2030-02-01T10:00:00", "exclusions[1].until", "expected date"),
        ("until = 2030-02-01\n", "\n", "exclusions[1].until", "this key is required"),
        ('author = "ben"', 'author = " "', "exclusions[1].author = ' '", "who is responsible"),
        ('author = "ben"', 'autor = "ben"', "exclusions[1].autor", "did you mean author?"),
        ('route = "POST /products"', 'route = "products"', "exclusions[1].route", "path pattern"),
        ('route = "POST /products"\n', "\n", "exclusions[1].route", "path pattern"),
        ('mode = "shadow"', 'mode = "shade"', "inspection.routes[0].mode = 'shade'", "did you mean shadow?"),
        ('mode = "shadow"', "", "inspection.routes[0].mode", "has no effect"),
        ('xss = "shadow"', 'xss = "shade"', "inspection.routes[1].threats.xss = 'shade'", "shadow?"),
        ('xss = "shadow"', 'xs = "shadow"', "inspection.routes[1].threats", "did you mean xss?"),
        ('route = "POST /two/{id}"', 'rout = "/two"', "inspection.routes[1].rout", "did you mean route?"),
    ],
)
def test_a_wrong_entry_of_a_list_is_told_with_its_number_and_line(find: str, write: str, says: str, at: str) -> None:
    text = TEXT.replace("[inspection]\n", EXCLUSION)
    changed = text[: text.index("[[inspection.routes]]")] + text[text.index("[[inspection.routes]]") :].replace(
        find, write, 1
    )
    assert changed != text
    with pytest.raises(ConfigurationError) as refused:
        parse_policy(changed, "mine.toml")
    message = str(refused.value)
    assert says in message and at in message and "\n" not in message
    line = changed.splitlines()[int(message.split(":")[1]) - 1]
    assert line in (write, find) or line.startswith(("[[inspection", "[inspection.routes.threats"))


@pytest.mark.parametrize(
    ("find", "write"),
    [("drift = 0.25", "drift = 0"), ("false_share = 0.2", "false_share = 20"), ("findings = 5", "findings = 0")],
)
def test_bounds_of_the_watch(find: str, write: str) -> None:
    with pytest.raises(ConfigurationError, match=r"detection\.watch"):
        parse_policy(TEXT.replace(find, write, 1))


@pytest.mark.parametrize("field", ["", "a", "$a", "$.", "$..a", "$[x]", "$['a", "$.a b", "$.a[*", "$" + ".a" * 300])
def test_what_is_no_path_of_a_field(field: str) -> None:
    assert steps_of(field) is None


def test_steps_of_a_field() -> None:
    assert steps_of("$") == []
    assert steps_of("$.a-b[3][*].*['x.y']") == [
        ("key", "a-b"), ("item", 3), ("item", None), ("key", None), ("key", "x.y")
    ]  # fmt: skip
