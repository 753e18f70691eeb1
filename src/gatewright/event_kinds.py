"""Kinds of events, ``source:subject:action``: everything that a sink may receive.

The reference of events and the correlation rules are checked against these names."""

from __future__ import annotations

# --- admin -----------------------------------------------------------------------------------------------------------

ADMIN_GRANT_MADE = "admin:grant:made"
ADMIN_MANUFACTURER_CREATED = "admin:manufacturer:created"
ADMIN_MANUFACTURER_EXPORTED = "admin:manufacturer:exported"
ADMIN_MFA_RESET = "admin:mfa:reset"
ADMIN_STATUS_CHANGED = "admin:status:changed"
ADMIN_TIER_CHANGED = "admin:tier:changed"

# --- auth ------------------------------------------------------------------------------------------------------------

AUTH_ACCOUNT_LOCKED = "auth:account:locked"
AUTH_API_KEY_CREATED = "auth:api_key:created"
AUTH_API_KEY_REFUSED = "auth:api_key:refused"
AUTH_API_KEY_REVOKED = "auth:api_key:revoked"
AUTH_API_KEY_ROTATED = "auth:api_key:rotated"
AUTH_ATTEMPT_REFUSED = "auth:attempt:refused"
AUTH_BACKUP_CODES_GENERATED = "auth:backup_codes:generated"
AUTH_BREACHED_PASSWORDS_UNAVAILABLE = "auth:breached_passwords:unavailable"
AUTH_DEVICE_REVOKED = "auth:device:revoked"
AUTH_DEVICE_TRUSTED = "auth:device:trusted"
AUTH_LOGIN_FAILED = "auth:login:failed"
AUTH_LOGIN_SUCCEEDED = "auth:login:succeeded"
AUTH_LOGIN_THROTTLED = "auth:login:throttled"
AUTH_MAIL_FAILED = "auth:mail:failed"
AUTH_MANUFACTURER_REGISTERED = "auth:manufacturer:registered"
AUTH_MFA_BYPASS_REFUSED = "auth:mfa:bypass_refused"
AUTH_MFA_CHALLENGED = "auth:mfa:challenged"
AUTH_MFA_CLOCK_DRIFT = "auth:mfa:clock_drift"
AUTH_MFA_DISABLED = "auth:mfa:disabled"
AUTH_MFA_ENABLED = "auth:mfa:enabled"
AUTH_MFA_ENROLMENT_STARTED = "auth:mfa:enrolment_started"
AUTH_MFA_FAILED = "auth:mfa:failed"
AUTH_MFA_REPLAYED = "auth:mfa:replayed"
AUTH_MFA_RESET = "auth:mfa:reset"
AUTH_MFA_SUCCEEDED = "auth:mfa:succeeded"
AUTH_MFA_VOUCHED = "auth:mfa:vouched"
AUTH_PASSKEY_CLONED = "auth:passkey:cloned"
AUTH_PASSKEY_REGISTERED = "auth:passkey:registered"
AUTH_PASSKEY_REMOVED = "auth:passkey:removed"
AUTH_PASSKEY_USED = "auth:passkey:used"
AUTH_PASSWORD_CHANGE_FAILED = "auth:password:change_failed"
AUTH_PASSWORD_CHANGED = "auth:password:changed"
AUTH_PASSWORD_REHASHED = "auth:password:rehashed"
AUTH_PASSWORD_RESET = "auth:password:reset"
AUTH_PASSWORD_RESET_REQUESTED = "auth:password:reset_requested"
AUTH_REFRESH_REUSED = "auth:refresh:reused"
AUTH_REGISTRATION_REQUESTED = "auth:registration:requested"
AUTH_SESSION_CREATED = "auth:session:created"
AUTH_SESSION_ENDED = "auth:session:ended"
AUTH_SESSION_RISKY = "auth:session:risky"
AUTH_SESSION_ROTATED = "auth:session:rotated"
AUTH_SIGNING_KEY_CREATED = "auth:signing_key:created"
AUTH_SIGNING_KEY_REVOKED = "auth:signing_key:revoked"
AUTH_SIGNING_KEY_ROTATED = "auth:signing_key:rotated"
AUTH_STUFFING_DETECTED = "auth:stuffing:detected"
AUTH_TOKEN_REFRESHED = "auth:token:refreshed"
AUTH_TOKEN_REVOKED = "auth:token:revoked"

# --- encryption ------------------------------------------------------------------------------------------------------

ENCRYPTION_COMPLIANCE_FAILED = "encryption:compliance:failed"
ENCRYPTION_DATA_EXPORTED = "encryption:data:exported"
ENCRYPTION_DATA_REFUSED = "encryption:data:refused"
ENCRYPTION_KEY_CREATED = "encryption:key:created"
ENCRYPTION_KEY_DESTROYED = "encryption:key:destroyed"
ENCRYPTION_KEY_REVOKED = "encryption:key:revoked"
ENCRYPTION_KEY_ROTATED = "encryption:key:rotated"
ENCRYPTION_KEYS_MOVED = "encryption:keys:moved"
ENCRYPTION_KEYS_SHREDDED = "encryption:keys:shredded"
ENCRYPTION_REENCRYPTION_FINISHED = "encryption:reencryption:finished"
ENCRYPTION_REENCRYPTION_INCOMPLETE = "encryption:reencryption:incomplete"
ENCRYPTION_REENCRYPTION_STARTED = "encryption:reencryption:started"
ENCRYPTION_ROOT_ROTATED = "encryption:root:rotated"

# --- monitoring ------------------------------------------------------------------------------------------------------

MONITORING_AUDIT_TAMPERED = "monitoring:audit:tampered"
MONITORING_AUDIT_UNWITNESSED = "monitoring:audit:unwitnessed"
MONITORING_AUDIT_VERIFIED = "monitoring:audit:verified"
MONITORING_INCIDENT_OPENED = "monitoring:incident:opened"
MONITORING_INCIDENT_RESOLVED = "monitoring:incident:resolved"
MONITORING_INCIDENT_UPDATED = "monitoring:incident:updated"
MONITORING_MEASURE_APPLIED = "monitoring:measure:applied"
MONITORING_MEASURE_LIFTED = "monitoring:measure:lifted"

# --- rbac ------------------------------------------------------------------------------------------------------------

RBAC_GRANT_MADE = "rbac:grant:made"
RBAC_GRANT_REVOKED = "rbac:grant:revoked"
RBAC_MEMBER_CHANGED = "rbac:member:changed"
RBAC_MEMBER_INVITED = "rbac:member:invited"
RBAC_MEMBER_JOINED = "rbac:member:joined"
RBAC_PERMISSION_DENIED = "rbac:permission:denied"
RBAC_POLICY_REFUSED = "rbac:policy:refused"
RBAC_POLICY_RELOADED = "rbac:policy:reloaded"
RBAC_QUOTA_EXCEEDED = "rbac:quota:exceeded"
RBAC_QUOTA_NEARLY_USED = "rbac:quota:nearly_used"
RBAC_QUOTA_RESET = "rbac:quota:reset"
RBAC_RESTRICT_MADE = "rbac:restrict:made"
RBAC_RESTRICT_REVOKED = "rbac:restrict:revoked"
RBAC_SUGGESTION_APPLIED = "rbac:suggestion:applied"
RBAC_SUGGESTION_EXPIRED = "rbac:suggestion:expired"
RBAC_SUGGESTION_ROLLED_BACK = "rbac:suggestion:rolled_back"
RBAC_TIER_CHANGED = "rbac:tier:changed"

# --- storage ---------------------------------------------------------------------------------------------------------

STORAGE_CACHE_BACK = "storage:cache:back"
STORAGE_CACHE_LOST = "storage:cache:lost"
STORAGE_CACHE_MISSING = "storage:cache:missing"

# --- threats ---------------------------------------------------------------------------------------------------------

THREATS_DATA_REFUSED = "threats:data:refused"
THREATS_EXCLUSION_EXPIRED = "threats:exclusion:expired"
THREATS_FEEDBACK_GIVEN = "threats:feedback:given"
THREATS_FEEDBACK_REFUSED = "threats:feedback:refused"
THREATS_MODEL_ACCEPTED = "threats:model:accepted"
THREATS_MODEL_FALSE_ALARMS = "threats:model:false_alarms"
THREATS_MODEL_MISMATCHED = "threats:model:mismatched"
THREATS_MODEL_REFUSED = "threats:model:refused"
THREATS_MODEL_ROLLED_BACK = "threats:model:rolled_back"
THREATS_MODEL_UNAVAILABLE = "threats:model:unavailable"
THREATS_RATE_LIMIT_EXCEEDED = "threats:rate_limit:exceeded"
THREATS_REQUEST_BLOCKED = "threats:request:blocked"
THREATS_REQUEST_EXCLUDED = "threats:request:excluded"
THREATS_REQUEST_SEEN = "threats:request:seen"
THREATS_TRAFFIC_DRIFTED = "threats:traffic:drifted"

# --- web -------------------------------------------------------------------------------------------------------------

WEB_LIMIT_EXCEEDED = "web:limit:exceeded"
WEB_REQUEST_REFUSED = "web:request:refused"
WEB_REQUEST_SERVED = "web:request:served"


def every_kind() -> frozenset[str]:
    """All kinds that this version emits."""
    return frozenset(value for name, value in globals().items() if name.isupper())
