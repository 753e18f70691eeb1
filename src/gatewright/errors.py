"""The exception hierarchy: one root, stable codes, no secrets.

Each error carries what happened (``message``), a stable ``code``, a ``category`` and a ``recommended_action``.
``context`` is safe to log: it never contains a password, token, code or key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from gatewright.records import Record


class FieldError(Record, frozen=True, kw_only=True):
    """A problem with a single field.

    Attributes:
        field: the name or path of the field, such as ``address.zip``.
        error_type: a stable code, such as ``INVALID_EMAIL_FORMAT``.
        message: the rule that was broken and how to fix it.
    """

    field: str
    error_type: str
    message: str


class SecurityError(Exception):
    """Base class of every error that Gatewright raises.

    Args:
        message: what happened, in a sentence that contains no secrets.
        code: a stable SCREAMING_SNAKE code. Defaults to the code of the class.
        context: details for logs and callers, without secrets. Its entries can be read as attributes.
        recommended_action: what to do about it. Defaults to the action of the class.
        request_id: the request during which it happened.
    """

    default_code: ClassVar[str] = "SECURITY_ERROR"
    category: ClassVar[str] = "validation"
    http_status: int = 400
    recommended_action: str = "Check the request and try again."

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        context: Mapping[str, Any] | None = None,
        recommended_action: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.context: dict[str, Any] = dict(context or {})
        self.timestamp = datetime.now(UTC)
        self.request_id = request_id
        if recommended_action is not None:
            self.recommended_action = recommended_action

    if not TYPE_CHECKING:  # type checkers see the attributes that each class declares, and no others

        def __getattr__(self, name: str) -> Any:
            """Context entries as attributes (``error.manufacturer_id``)."""
            context = self.__dict__.get("context")
            if context is not None and name in context:
                return context[name]
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


class _RetryAfter(SecurityError):
    """An error that goes away with time.

    Args:
        retry_after: seconds to wait before retrying, 0 or more.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = max(0.0, float(retry_after))


# --- authentication ---------------------------------------------------------------------------------------------


class AuthenticationError(SecurityError):
    """The caller could not be authenticated."""

    default_code = "AUTHENTICATION_FAILED"
    category = "authentication"
    http_status = 401
    recommended_action = "Sign in and try again."


class InvalidCredentialsError(AuthenticationError):
    """Wrong email or password (or code, or key). Which of the two is wrong is never revealed."""

    default_code = "INVALID_CREDENTIALS"
    recommended_action = "Check the email address and password, or reset the password."


class TokenExpiredError(AuthenticationError):
    """The token was valid, but its ``exp`` has passed."""

    default_code = "TOKEN_EXPIRED"
    recommended_action = "Refresh the token, or sign in again."


class InvalidTokenError(AuthenticationError):
    """The value is not a valid token issued by this service, whatever its type."""

    default_code = "INVALID_TOKEN"
    recommended_action = "Sign in again to get a new token."


class TokenRevokedError(InvalidTokenError):
    """The token was valid and has been revoked."""

    default_code = "TOKEN_REVOKED"


class RefreshTokenReuseError(AuthenticationError):
    """A refresh token was used twice. Its family is revoked and its session has ended."""

    default_code = "REFRESH_TOKEN_REUSED"
    recommended_action = "Sign in again. If this was not you, change your password and review your sessions."


class MFARequiredError(AuthenticationError):
    """The operation requires a second factor, or a more recent one."""

    default_code = "MFA_REQUIRED"
    recommended_action = "Confirm with a second factor and try again."


class AccountLockedError(_RetryAfter, AuthenticationError):
    """Too many failed attempts. ``retry_after`` is in seconds."""

    default_code = "ACCOUNT_LOCKED"
    http_status = 429
    recommended_action = "Wait until the lockout ends, sign in from a trusted device, or reset the password."


class SessionHijackError(AuthenticationError):
    """The session was used from a client that policy does not accept for it."""

    default_code = "SESSION_HIJACK_SUSPECTED"
    recommended_action = "Sign in again from this device."


# --- limits -----------------------------------------------------------------------------------------------------


class RateLimitExceededError(_RetryAfter):
    """Too many requests. ``retry_after`` is in seconds."""

    default_code = "RATE_LIMIT_EXCEEDED"
    category = "authorization"
    http_status = 429
    recommended_action = "Wait for the number of seconds in Retry-After, then try again."


# --- authorization ----------------------------------------------------------------------------------------------


class AuthorizationError(SecurityError):
    """The caller is authenticated but not allowed to do this."""

    default_code = "FORBIDDEN"
    category = "authorization"
    http_status = 403
    recommended_action = "Ask the account owner or the platform for access."


class InsufficientPermissionsError(AuthorizationError):
    """The caller lacks a permission."""

    default_code = "INSUFFICIENT_PERMISSIONS"

    manufacturer_id: str
    permission: str
    tier: str | None
    operation_context: str


class QuotaExceededError(AuthorizationError):
    """A quota is exhausted. ``resets_at`` is an aware datetime in UTC."""

    default_code = "QUOTA_EXCEEDED"
    http_status = 429
    recommended_action = "Wait until the quota resets, or move to a higher tier."

    manufacturer_id: str
    resource: str
    current: int
    limit: int
    resets_at: datetime
    operation_context: str


# --- threats ----------------------------------------------------------------------------------------------------


class SecurityThreatDetectedError(SecurityError):
    """The request contains an attack. The response names no rule; the evidence is in the log."""

    default_code = "THREAT_DETECTED"
    category = "threat"
    http_status = 403
    recommended_action = "Remove the suspicious content, or report a false positive with the request id."


# --- validation -------------------------------------------------------------------------------------------------


class ValidationError(SecurityError):
    """The input is invalid. ``errors`` has a :class:`FieldError` for every problem."""

    default_code = "VALIDATION_FAILED"
    category = "validation"
    http_status = 422
    recommended_action = "Correct the fields named in the error and try again."

    def __init__(self, message: str, *, errors: Sequence[FieldError] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.errors: list[FieldError] = list(errors)


class DuplicateAccountError(ValidationError):
    """The email address or manufacturer id is taken. Library callers only: HTTP never reveals it."""

    default_code = "DUPLICATE_ACCOUNT"
    http_status = 409
    recommended_action = "Sign in instead, or choose another address."


class UnknownResourceError(ValidationError):
    """The policy defines no quota with that name."""

    default_code = "UNKNOWN_RESOURCE"
    recommended_action = "Use a resource that the policy defines, or add this one to policy.toml."


class UnknownThreatTypeError(ValidationError):
    """There is no threat type with that name. Returning False would hide a typo."""

    default_code = "UNKNOWN_THREAT_TYPE"
    recommended_action = "Use one of the values of gatewright.ThreatType."


# --- encryption -------------------------------------------------------------------------------------------------


class EncryptionError(SecurityError):
    """Encryption or key management failed."""

    default_code = "ENCRYPTION_FAILED"
    category = "encryption"
    http_status = 500
    recommended_action = "Check the keys with `gatewright doctor`."


class DecryptionError(EncryptionError):
    """The payload could not be decrypted. The reason is not revealed."""

    default_code = "DECRYPTION_FAILED"


class KeyUnavailableError(EncryptionError):
    """A key is missing, unreadable, too short or destroyed."""

    default_code = "KEY_UNAVAILABLE"
    http_status = 503


# --- storage ----------------------------------------------------------------------------------------------------


class StorageError(SecurityError):
    """The store could not be read or written."""

    default_code = "STORAGE_FAILED"
    category = "storage"
    http_status = 500
    recommended_action = "Check the store with `gatewright doctor`."


class StoreUnavailableError(_RetryAfter, StorageError):
    """The store is unavailable or too busy. ``retry_after`` is in seconds."""

    default_code = "STORE_UNAVAILABLE"
    http_status = 503
    recommended_action = "Try again shortly."


# --- configuration ----------------------------------------------------------------------------------------------


class ConfigurationError(SecurityError):
    """A setting or policy is invalid. The message names the key, the value, the rule and the fix."""

    default_code = "CONFIGURATION_ERROR"
    category = "configuration"
    http_status = 500
    recommended_action = "Correct the setting named in the error and restart."
