"""Settings: every variable GATEWRIGHT_* in one class, with secrets by environment, file or reference.

A secret ``X`` may be given as ``GATEWRIGHT_X``, as ``GATEWRIGHT_X_FILE`` (a path), or as a file
``gatewright_x`` in the directory ``GATEWRIGHT_SECRETS_DIR``. Production mode refuses to start with a weak
configuration, and the error names the setting to change.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import ipaddress
import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gatewright.errors import ConfigurationError


def exposure(path: Path) -> tuple[str, str] | None:
    """The fault in the permissions of a key file or key directory, and the command that fixes it, or None.

    A file is checked even inside a private directory, because files are moved, copied and mounted elsewhere.

    Raises:
        OSError: the path cannot be read.
    """
    status = path.stat()
    mode, ours = stat.S_IMODE(status.st_mode), status.st_uid == os.geteuid()
    if stat.S_ISDIR(status.st_mode):
        # A directory mounted by an orchestrator belongs to root and lists its files, which is harmless.
        if not mode & (0o077 if ours else 0o022):
            return None
        return f"{path} has mode {mode:04o}: other users can access it", f"chmod 700 {shlex.quote(str(path))}"
    if not mode & 0o077 or (not ours and not mode & 0o037 and status.st_gid in {os.getegid(), *os.getgroups()}):
        return None  # private, or mounted for one of our groups (as by Kubernetes with fsGroup)
    return f"{path} has mode {mode:04o}: other users can access it", f"chmod 600 {shlex.quote(str(path))}"


PREFIX = "GATEWRIGHT_"
MINIMUM_KEY_BYTES = 32


class Settings(BaseSettings):
    """The configuration of an installation.

    Each field is read from ``GATEWRIGHT_`` plus its name in capitals. Lists are separated by commas.

    Raises:
        ConfigurationError: a value is invalid. The message names the variable, value, rule and fix.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", validate_default=True, frozen=True)

    mode: Literal["development", "production"] = "development"
    debug: bool = False

    # --- secrets ------------------------------------------------------------------------------------------------
    secret_key: SecretStr | None = Field(None, description="root secret of tokens, codes and cookies; 32 random bytes")
    previous_secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    encryption_key: SecretStr | None = Field(None, description="root key of data at rest; 32 bytes in hex or base64")
    previous_encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    legacy_fernet_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    smtp_password: SecretStr | None = None

    # --- state --------------------------------------------------------------------------------------------------
    data_dir: Path = Path("gatewright-data")
    database: str = Field("sqlite", description="`sqlite`, `sqlite:///path` or `:memory:`")
    key_database: str | None = Field(
        None, description="`sqlite:///path` of a separate store for data keys; default: with the records"
    )
    redis_url: str | None = None
    durable: bool = True

    # --- policy and detection -----------------------------------------------------------------------------------
    policy_file: Path | None = None
    rules_dir: Path | None = None
    model_file: Path | None = None
    inspection_mode: Literal["off", "shadow", "block"] = "block"
    posture_mode: Literal["suggest", "enforce"] = "suggest"
    protected_networks: Annotated[tuple[str, ...], NoDecode] = ()
    checkpoint_file: Path | None = None
    audit_verify_hours: float = Field(24, ge=0, le=24 * 366)

    # --- tokens and sessions ------------------------------------------------------------------------------------
    issuer: str = "gatewright"
    audience: str = "gatewright"
    token_algorithm: Literal["HS256", "ES256", "EdDSA", "RS256"] = "HS256"  # noqa: S105 - a name, not a secret
    access_token_minutes: float = Field(15, gt=0, le=24 * 60)
    refresh_token_days: float = Field(30, gt=0, le=366)
    refresh_grace_seconds: float = Field(10, ge=0, le=60)
    revocation_window_seconds: float = Field(30, ge=0, le=300)
    signing_key_rotation_days: float = Field(90, gt=0)

    # --- passwords and MFA --------------------------------------------------------------------------------------
    password_min_length: int | None = Field(None, ge=8, le=64)
    mfa_required: bool = False
    argon2_time_cost: int = Field(2, ge=1, le=20)
    argon2_memory_kib: int = Field(19_456, ge=8, le=4_194_304)
    argon2_parallelism: int = Field(1, ge=1, le=16)
    hashing_queue_limit: int = Field(256, ge=1)
    breached_passwords_url: str | None = None
    mfa_issuer: str = "Gatewright"
    recent_mfa_seconds: float = Field(900, gt=0)

    # --- the web ------------------------------------------------------------------------------------------------
    public_url: str = "http://127.0.0.1:8000"
    account_pages_url: str | None = None
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    client_ip_header: str = Field(
        "X-Forwarded-For",
        pattern="^[A-Za-z0-9-]{1,64}$",
        description="the header in which trusted proxies send the client address",
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, le=1_073_741_824)
    max_header_bytes: int = Field(65_536, ge=4096, le=1_048_576)
    max_header_count: int = Field(100, ge=20, le=1_000)
    header_timeout_seconds: float = Field(10, gt=0, le=300)
    body_timeout_seconds: float = Field(20, gt=0, le=3_600)
    keep_alive_seconds: float = Field(5, gt=0, le=300)
    max_connections: int = Field(800, ge=10, le=100_000)
    cookie_secure: bool = True
    passkey_rp_id: str | None = None
    places: Literal["off", "geoip2fast"] = "off"
    places_file: Path | None = None

    # --- mail ---------------------------------------------------------------------------------------------------
    notifier: Literal["console", "file", "smtp"] = "console"
    outbox_file: Path | None = None
    smtp_host: str = "localhost"
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_user: str | None = None
    smtp_from: str = "no-reply@localhost"

    # --- logs ---------------------------------------------------------------------------------------------------
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**{**_unknown_variables_refused(), **values})
        except pydantic.ValidationError as error:
            raise _explain(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls)

    def model_post_init(self, _: Any) -> None:
        self.key_database_path  # noqa: B018 - validate it now rather than on first use
        if self.mode == "production":
            _refuse_weak_production(self)

    @field_validator(
        *("previous_secret_keys", "previous_encryption_keys", "legacy_fernet_keys", "trusted_proxies"),
        "protected_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("protected_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text} is not an address or CIDR network such as 192.0.2.0/24") from None
        return value

    @property
    def database_path(self) -> str:
        """The file of the embedded store, or ``:memory:``."""
        if self.database == "sqlite":
            return str(self.data_dir / "gatewright.db")
        return self.database.removeprefix("sqlite:///")

    @property
    def key_database_path(self) -> str | None:
        """The file of the separate key store, or None if data keys are stored with the records.

        Raises:
            ConfigurationError: not a ``sqlite:///path``, or the same file as the records.
        """
        if self.key_database is None:
            return None
        path = self.key_database.removeprefix("sqlite:///")
        if path == self.key_database or not path or Path(path).resolve() == Path(self.database_path).resolve():
            raise ConfigurationError(
                f"{PREFIX}KEY_DATABASE={self.key_database}: must be sqlite:///path, and not the file of the records; "
                "choose another file, preferably on another disk, or remove the variable.",
                context={"setting": f"{PREFIX}KEY_DATABASE"},
            )
        return path

    def secret_text(self, name: str) -> str | None:
        """The secret ``name`` as configured. Managers decode keys and stretch passphrases themselves."""
        value = getattr(self, name)
        return None if value is None else str(value.get_secret_value())

    def secret(self, name: str) -> bytes | None:
        """The secret ``name`` (``secret_key``, ...) as bytes, decoded if it is hex or base64."""
        value = getattr(self, name)
        return None if value is None else key_bytes(value.get_secret_value())


def key_bytes(text: str) -> bytes:
    """A key as bytes. 64 hex digits, or base64 of at least 32 bytes, are decoded; other text is encoded as is."""
    stripped = text.strip()
    if re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,}", stripped):
        return bytes.fromhex(stripped)
    try:
        decoded = base64.b64decode(
            stripped.replace("-", "+").replace("_", "/") + "=" * (-len(stripped) % 4), validate=True
        )
    except binascii.Error:
        return stripped.encode()
    return decoded if len(decoded) >= MINIMUM_KEY_BYTES else stripped.encode()


class _FileSource(PydanticBaseSettingsSource):
    """``GATEWRIGHT_X_FILE``, then ``gatewright_x`` in ``GATEWRIGHT_SECRETS_DIR``."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if path is None:
            directory = os.environ.get(f"{PREFIX}SECRETS_DIR")
            if directory is None:
                return None, field_name, False
            candidate = Path(directory) / f"{PREFIX.lower()}{field_name}"
            if not candidate.is_file():
                return None, field_name, False
            path, variable = str(candidate), f"{PREFIX}SECRETS_DIR"
        try:
            return Path(path).read_text().strip(), field_name, False
        except OSError as error:
            raise ConfigurationError(
                f"{variable}={path}: must be a readable file ({error.strerror}); correct or remove the variable."
            ) from None

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


def _unknown_variables_refused() -> Mapping[str, Any]:
    """Refuse unknown variables: each is most likely a typo."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    allowed = known | {f"{name}_FILE" for name in known} | {f"{PREFIX}SECRETS_DIR"}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in allowed and not variable.startswith(f"{PREFIX}TEST_"):
            close = difflib.get_close_matches(variable, sorted(known), n=1)
            hint = (
                f"did you mean {close[0]}?"
                if close
                else "remove it, or see docs/reference/settings.md for the settings."
            )
            raise ConfigurationError(f"{variable}: unknown setting; {hint}")
    return {}


def _explain(error: pydantic.ValidationError) -> ConfigurationError:
    """The first error in one line: variable, value (secrets hidden), rule and fix."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    field = Settings.model_fields.get(name)
    secret = field is not None and "Secret" in str(field.annotation)
    value = "(hidden)" if secret else repr(first.get("input"))
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    variable = f"{PREFIX}{name.upper()}"
    return ConfigurationError(
        f"{variable}={value}: {first['msg']}; correct {variable}, or remove it for the default.{more}",
        context={"setting": variable},
    )


def _refuse_weak_production(settings: Settings) -> None:
    def refuse(variable: str, value: str, rule: str, remedy: str) -> None:
        raise ConfigurationError(
            f"{PREFIX}{variable}={value}: {rule}; {remedy}.", context={"setting": PREFIX + variable}
        )

    generate = "generate one with `gatewright init` or `openssl rand -hex 32`"
    for name in ("secret_key", "encryption_key"):
        key = settings.secret(name)
        if key is None:
            refuse(name.upper(), "(missing)", "production requires a key", generate)
        elif len(key) < MINIMUM_KEY_BYTES or len(set(key)) < 8:
            refuse(name.upper(), "(hidden)", "too weak: production requires at least 256 random bits", generate)
    if settings.secret("secret_key") == settings.secret("encryption_key"):
        refuse("ENCRYPTION_KEY", "(hidden)", "tokens and data at rest must use different keys", generate)
    if settings.debug:
        refuse("DEBUG", "true", "debug output must be off in production", f"set {PREFIX}DEBUG=false")
    if not settings.cookie_secure:
        refuse("COOKIE_SECURE", "false", "cookies must not be sent over plain HTTP", f"set {PREFIX}COOKIE_SECURE=true")
    if not settings.public_url.startswith("https://"):
        refuse("PUBLIC_URL", settings.public_url, "production must use HTTPS", "set it to the https:// URL")
    for variable, path in secret_paths():
        with contextlib.suppress(OSError):  # missing or unreadable files are reported elsewhere
            if (fault := exposure(path)) is not None:
                rule = f"{fault[0]}; in production only the service may read keys (files 0600, directories 0700)"
                refuse(variable.removeprefix(PREFIX), str(path), rule, f"run `{fault[1]}` and restart")


def secret_paths() -> list[tuple[str, Path]]:
    """The files and directories that secrets are read from, with their variables."""
    names = [name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)]
    variables = [f"{PREFIX}{name.upper()}_FILE" for name in names]
    found = [(variable, Path(os.environ[variable])) for variable in variables if variable in os.environ]
    if (directory := os.environ.get(f"{PREFIX}SECRETS_DIR")) is not None:
        paths = [Path(directory), *(Path(directory) / f"{PREFIX.lower()}{name}" for name in names)]
        found += [(f"{PREFIX}SECRETS_DIR", path) for path in paths if path.exists()]
    return found
