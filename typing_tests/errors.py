"""The attributes that errors promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from gatewright import FieldError, SecurityError
from gatewright.errors import (
    AccountLockedError,
    QuotaExceededError,
    RateLimitExceededError,
    StoreUnavailableError,
    ValidationError,
)


def base(error: SecurityError) -> None:
    assert_type(error.code, str)
    assert_type(error.http_status, int)
    assert_type(error.recommended_action, str)
    error.retry_after  # type: ignore[attr-defined]


def retry(error: AccountLockedError | RateLimitExceededError | StoreUnavailableError) -> None:
    assert_type(error.retry_after, float)


def quota(error: QuotaExceededError) -> None:
    assert_type(error.resource, str)
    assert_type(error.limit, int)


def fields(error: ValidationError) -> Sequence[FieldError]:
    assert_type(error.errors[0], FieldError)
    return error.errors
