"""The exception tree: one root, stable codes, nothing secret.

Every error says what is wrong, in which category, and what to do about it. ``context`` is safe to log and
never holds a password, token, code or key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from gatewright.records import Record


class FieldError(Record, frozen=True, kw_only=True):
    """One thing wrong with one field.

    ``field`` is the field's name or path, ``error_type`` a stable code such as ``INVALID_EMAIL_FORMAT``,
    ``message`` a sentence that names the rule and the remedy.
    """

    field: str
    error_type: str
    message: str


class SecurityError(Exception):
    """Root of every error that Gatewright raises on purpose.

    Args:
        message: one sentence for the person who reads it; no secrets.
        code: stable SCREAMING_SNAKE code; the class has a default.
        context: details for logs and callers; no secrets.
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

    def __getattr__(self, name: str) -> Any:
        """Context entries read as attributes (``error.manufacturer_id``)."""
        context = self.__dict__.get("context")
        if context is not None and name in context:
            return context[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


class _RetryAfter(SecurityError):
    """An error that ends by waiting.

    Args:
        retry_after: seconds until it makes sense to try again, at least 0.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = max(0.0, float(retry_after))


# --- authentication ---------------------------------------------------------------------------------------------


class AuthenticationError(SecurityError):
    """Who is calling could not be shown."""

    default_code = "AUTHENTICATION_FAILED"
    category = "authentication"
    http_status = 401
    recommended_action = "Sign in and try again."


class InvalidCredentialsError(AuthenticationError):
    """The e-mail and password (or code, or key) do not belong together; which one is wrong is never said."""

    default_code = "INVALID_CREDENTIALS"
    recommended_action = "Check the e-mail address and password, or reset the password."


class TokenExpiredError(AuthenticationError):
    """A token of ours whose ``exp`` has passed."""

    default_code = "TOKEN_EXPIRED"
    recommended_action = "Refresh the token, or sign in again."


class InvalidTokenError(AuthenticationError):
    """Anything that is not a valid token of ours, whatever its type."""

    default_code = "INVALID_TOKEN"
    recommended_action = "Sign in again to get a new token."


class TokenRevokedError(InvalidTokenError):
    """A token that was ours and good, and was revoked."""

    default_code = "TOKEN_REVOKED"


class RefreshTokenReuseError(AuthenticationError):
    """A refresh token came twice; its family is revoked and its session ended."""

    default_code = "REFRESH_TOKEN_REUSED"
    recommended_action = "Sign in again. If this was not you, change the password and review the sessions."


class MFARequiredError(AuthenticationError):
    """The operation needs a (recent) second factor."""

    default_code = "MFA_REQUIRED"
    recommended_action = "Confirm with a second factor and try again."


class AccountLockedError(_RetryAfter, AuthenticationError):
    """Too many wrong passwords or codes; ``retry_after`` is in seconds."""

    default_code = "ACCOUNT_LOCKED"
    http_status = 429
    recommended_action = "Wait until the lock ends, sign in from a trusted device, or reset the password."


class SessionHijackError(AuthenticationError):
    """The session is used from a place that policy does not accept for it."""

    default_code = "SESSION_HIJACK_SUSPECTED"
    recommended_action = "Sign in again from this device."


# --- limits -----------------------------------------------------------------------------------------------------


class RateLimitExceededError(_RetryAfter):
    """Too many requests; ``retry_after`` is in seconds."""

    default_code = "RATE_LIMIT_EXCEEDED"
    category = "authorization"
    http_status = 429
    recommended_action = "Wait for the stated time and try again."


# --- authorization ----------------------------------------------------------------------------------------------


class AuthorizationError(SecurityError):
    """The caller is known and may not do this."""

    default_code = "FORBIDDEN"
    category = "authorization"
    http_status = 403
    recommended_action = "Ask the account owner or the platform for access."


class InsufficientPermissionsError(AuthorizationError):
    """A permission is missing; has ``manufacturer_id``, ``permission``, ``tier``, ``operation_context``."""

    default_code = "INSUFFICIENT_PERMISSIONS"


class QuotaExceededError(AuthorizationError):
    """A quota is used up; has ``manufacturer_id``, ``resource``, ``current``, ``limit``, ``resets_at``,
    ``operation_context``."""

    default_code = "QUOTA_EXCEEDED"
    http_status = 429
    recommended_action = "Wait for the next cycle or move to a higher tier."


# --- threats ----------------------------------------------------------------------------------------------------


class SecurityThreatDetectedError(SecurityError):
    """The request shows an attack. The answer names no rule; the log has the evidence."""

    default_code = "THREAT_DETECTED"
    category = "threat"
    http_status = 403
    recommended_action = "Remove the suspicious content, or report a false alarm with the request id."


# --- validation -------------------------------------------------------------------------------------------------


class ValidationError(SecurityError):
    """Input breaks a rule. ``errors`` lists every field's :class:`FieldError`."""

    default_code = "VALIDATION_FAILED"
    category = "validation"
    http_status = 422
    recommended_action = "Correct the named fields and try again."

    def __init__(self, message: str, *, errors: Sequence[FieldError] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.errors: list[FieldError] = list(errors)


class DuplicateAccountError(ValidationError):
    """The e-mail address or manufacturer id is taken (for library callers; HTTP never tells)."""

    default_code = "DUPLICATE_ACCOUNT"
    http_status = 409
    recommended_action = "Sign in instead, or choose another address."


class UnknownResourceError(ValidationError):
    """No quota of that name in the policy."""

    default_code = "UNKNOWN_RESOURCE"
    recommended_action = "Use a resource that the policy defines, or add it to policy.toml."


class UnknownThreatTypeError(ValidationError):
    """No threat type of that name; silence would hide a typing error."""

    default_code = "UNKNOWN_THREAT_TYPE"
    recommended_action = "Use one of the threat types of the reference."


# --- encryption -------------------------------------------------------------------------------------------------


class EncryptionError(SecurityError):
    """Encryption or key management failed."""

    default_code = "ENCRYPTION_FAILED"
    category = "encryption"
    http_status = 500
    recommended_action = "Check the keys with `gatewright doctor`."


class DecryptionError(EncryptionError):
    """The payload could not be opened; says no more than that."""

    default_code = "DECRYPTION_FAILED"


class KeyUnavailableError(EncryptionError):
    """A key is missing, unreadable, too short or destroyed."""

    default_code = "KEY_UNAVAILABLE"
    http_status = 503


# --- storage ----------------------------------------------------------------------------------------------------


class StorageError(SecurityError):
    """State could not be read or written."""

    default_code = "STORAGE_FAILED"
    category = "storage"
    http_status = 500
    recommended_action = "Check the store with `gatewright doctor`."


class StoreUnavailableError(_RetryAfter, StorageError):
    """The store is not there (or too busy) now; ``retry_after`` is in seconds."""

    default_code = "STORE_UNAVAILABLE"
    http_status = 503
    recommended_action = "Try again shortly."


# --- configuration ----------------------------------------------------------------------------------------------


class ConfigurationError(SecurityError):
    """A setting or policy is wrong; the message names key, value, rule and remedy in one line."""

    default_code = "CONFIGURATION_ERROR"
    category = "configuration"
    http_status = 500
    recommended_action = "Correct the named setting and start again."
