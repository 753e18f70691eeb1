"""Settings: what is wrong is named in one line, and a weak production start is refused."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from gatewright.errors import ConfigurationError
from gatewright.settings import Settings, key_bytes

GOOD = {
    "GATEWRIGHT_MODE": "production",
    "GATEWRIGHT_SECRET_KEY": "8f1c" * 8 + "03b7a955e2d64f21" * 2,
    "GATEWRIGHT_ENCRYPTION_KEY": "51aa" * 8 + "c7d20e9fb34618ac" * 2,
    "GATEWRIGHT_PUBLIC_URL": "https://api.example.com",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GATEWRIGHT_") and not name.startswith("GATEWRIGHT_TEST_"):
            monkeypatch.delenv(name)


def test_without_configuration_it_is_development_on_an_embedded_store() -> None:
    settings = Settings()
    assert (settings.mode, settings.database_path) == ("development", "gatewright-data/gatewright.db")
    assert settings.secret("secret_key") is None


def test_production_starts_on_good_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert Settings().mode == "production"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SECRET_KEY", "", "GATEWRIGHT_SECRET_KEY"),
        ("SECRET_KEY", "short", "256"),
        ("SECRET_KEY", "ab" * 32, "256"),
        ("ENCRYPTION_KEY", GOOD["GATEWRIGHT_SECRET_KEY"], "different keys"),
        ("DEBUG", "true", "GATEWRIGHT_DEBUG=false"),
        ("COOKIE_SECURE", "false", "GATEWRIGHT_COOKIE_SECURE=true"),
        ("PUBLIC_URL", "http://api.example.com", "HTTPS"),
    ],
)
def test_a_weak_production_start_says_which_setting_to_change(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    for name, good in GOOD.items():
        monkeypatch.setenv(name, good)
    monkeypatch.setenv(f"GATEWRIGHT_{variable}", value)
    with pytest.raises(ConfigurationError) as refused:
        Settings()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert GOOD["GATEWRIGHT_SECRET_KEY"] not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("GATEWRIGHT_DEBUGG", "1", "did you mean GATEWRIGHT_DEBUG?"),
        ("GATEWRIGHT_ZEBRA_STRIPES", "1", "unknown setting"),
        ("GATEWRIGHT_MAX_BODY_BYTES", "10", "greater than or equal to 1024"),
        ("GATEWRIGHT_MODE", "prod", "'development' or 'production'"),
        ("GATEWRIGHT_SECRET_KEY_FILE", "/nowhere/key", "must be a readable file"),
    ],
)
def test_a_bad_setting_is_one_line_with_name_value_rule_and_remedy(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as refused:
        Settings()
    assert says in str(refused.value)
    assert variable.removesuffix("_FILE") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_secrets_come_from_files_and_directories_and_are_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "gatewright_encryption_key").write_text("from-a-directory\n")
    monkeypatch.setenv("GATEWRIGHT_SECRET_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("GATEWRIGHT_SECRETS_DIR", str(tmp_path))
    settings = Settings()
    assert settings.secret("secret_key") == b"from-a-file"
    assert settings.secret("encryption_key") == b"from-a-directory"
    assert "from-a" not in repr(settings) + str(settings.model_dump())


def test_a_variable_wins_over_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gatewright_secret_key").write_text("file")
    monkeypatch.setenv("GATEWRIGHT_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("GATEWRIGHT_SECRET_KEY", "variable")
    assert Settings().secret("secret_key") == b"variable"


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWRIGHT_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert Settings().trusted_proxies == ("10.0.0.0/8", "::1")
    assert Settings(trusted_proxies=("192.0.2.1",)).trusted_proxies == ("192.0.2.1",)


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Extra inputs"):
        Settings(colour="blue")


def test_keys_are_decoded_where_they_are_hex_or_base64() -> None:
    raw = bytes(range(32))
    assert key_bytes(raw.hex()) == key_bytes(base64.b64encode(raw).decode()) == raw
    assert key_bytes(base64.urlsafe_b64encode(raw).decode().rstrip("=")) == raw
    assert key_bytes("a plain passphrase") == b"a plain passphrase"


def test_the_database_may_be_a_path() -> None:
    assert Settings(database="sqlite:////var/lib/gw.db").database_path == "/var/lib/gw.db"
    assert Settings(database=":memory:").database_path == ":memory:"
