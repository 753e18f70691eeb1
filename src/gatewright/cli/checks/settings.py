"""Checks of settings, policy and keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from gatewright.cli.checks import Check, finding, note, ok
from gatewright.errors import ConfigurationError
from gatewright.settings import MINIMUM_KEY_BYTES, Settings

MAKE_KEYS = "Create keys with `gatewright init`, or one with `openssl rand -hex 32`."


def check_settings(settings: Settings) -> Iterator[Check]:
    """Check settings that production mode would refuse or warn about."""
    if settings.mode == "production":
        yield ok("settings", "production mode; all production requirements are met")
    else:
        yield note(
            "settings",
            "development mode, which accepts weak settings",
            "Set GATEWRIGHT_MODE=production to serve real manufacturers.",
        )
    if settings.debug:
        yield finding("settings", "debug output is on", "Set GATEWRIGHT_DEBUG=false.")
    if not settings.cookie_secure:
        yield finding("settings", "cookies may be sent over plain HTTP", "Set GATEWRIGHT_COOKIE_SECURE=true.")
    if "inspection_mode" in settings.model_fields_set and settings.inspection_mode != "block":
        yield _not_blocking("settings", settings.inspection_mode)
    if settings.notifier == "console" and settings.mode == "production":
        yield finding("settings", "email messages are printed to the console", "Set GATEWRIGHT_NOTIFIER=smtp.")


def _not_blocking(subject: str, mode: str) -> Check:
    return note(
        subject,
        f"inspection is in mode {mode}: attacks are not refused",
        "Set GATEWRIGHT_INSPECTION_MODE=block once you have reviewed false positives.",
    )


def check_keys(settings: Settings) -> Iterator[Check]:
    """Check that the keys exist, are strong enough, and differ."""
    found = {}
    for name in ("secret_key", "encryption_key"):
        variable = f"GATEWRIGHT_{name.upper()}"
        key = settings.secret(name)
        if key is None:
            yield finding("keys", f"{variable} is missing", MAKE_KEYS)
        elif len(key) < MINIMUM_KEY_BYTES or len(set(key)) < 8:
            yield finding("keys", f"{variable} is weak: fewer than {MINIMUM_KEY_BYTES} random bytes", MAKE_KEYS)
        else:
            found[name] = key
    if len(found) == 2:
        if found["secret_key"] == found["encryption_key"]:
            yield finding("keys", "tokens and data at rest use the same key", MAKE_KEYS)
        else:
            yield ok("keys", "both root keys are set, at least 256 bits, and different")
    if settings.previous_encryption_keys:
        yield note(
            "keys",
            f"{len(settings.previous_encryption_keys)} previous root keys are still configured",
            "Remove them once `gatewright keys list` shows no data keys under them.",
        )


def check_policy(settings: Settings, now: datetime | None = None) -> Iterator[Check]:
    """Check that the policy is valid and its inspection exclusions have not ended.

    Args:
        now: the time to check. Defaults to the current time.
    """
    from gatewright.inspection_policy import expired, expiring
    from gatewright.policy import load_policy

    try:
        policy = load_policy(settings.policy_file)
    except ConfigurationError as error:
        yield finding("policy", error.message, "Correct it and run `gatewright policy check`.")
        return
    name = settings.policy_file or "the default policy"
    yield ok("policy", f"{name}: {len(policy.tiers)} tiers, {len(policy.permissions)} permissions")
    if "inspection_mode" not in settings.model_fields_set and policy.detection.mode != "block":
        yield _not_blocking("policy", policy.detection.mode)
    moment, exclusions = now or datetime.now(UTC), policy.inspection.exclusions
    for one in expired(exclusions, moment):
        yield finding("exclusions", f"ended: {one.described()}", "Remove it, or review it and set a new end date.")
    for one in expiring(exclusions, moment):
        yield note("exclusions", f"ends soon: {one.described()}", "Review whether it is still needed.")
