"""Identity: who is calling. Passwords, tokens, sessions, second factors, API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.auth.api_key_rules import checksum, new_key, split_key
    from gatewright.auth.api_keys import ApiKeyIdentity
    from gatewright.auth.client_signals import (
        GeoIP2FastPlaces,
        Place,
        client_info,
        distance_between,
        network_key,
        read_agent,
        same_client_key,
        travel_speed,
    )
    from gatewright.auth.lockout import AttemptLimiter, AttemptSubject
    from gatewright.auth.mailer import WAITING, Mailer
    from gatewright.auth.manager import ManufacturerAuthManager
    from gatewright.auth.mfa.passkeys import PasskeyChallenge
    from gatewright.auth.mfa.relying_party import RelyingParty
    from gatewright.auth.mfa.totp import (
        STEP_SECONDS,
        code_of,
        match_totp,
        new_totp_secret,
        normalize_totp,
        provisioning_uri,
        qr_code,
        step_of,
    )
    from gatewright.auth.options import AccessOptions, AuthOptions
    from gatewright.auth.passwords.hashing import Argon2Parameters, PasswordCheck, PasswordHashing, normalize_password
    from gatewright.auth.passwords.policy import (
        FIRST_TRIED,
        BreachedPasswords,
        PasswordPolicy,
        is_built_from,
        is_common,
        is_sequence,
        minimum_length,
    )
    from gatewright.auth.records import (
        ApiKeyInfo,
        AuthResult,
        ClientInfo,
        Factor,
        ManufacturerAccount,
        ManufacturerSession,
        MFAEnrolment,
        PasskeyInfo,
        RiskAction,
        SessionRisk,
        TrustedDevice,
    )
    from gatewright.auth.registration import check_business
    from gatewright.auth.services import AuthDependencies
    from gatewright.auth.sessions.risk import RiskPolicy
    from gatewright.auth.sessions.service import SessionRules
    from gatewright.auth.sign_in_limits import SignInLimits
    from gatewright.auth.status_cache import SessionCache
    from gatewright.auth.tokens.external_issuers import ExternalIssuer
    from gatewright.auth.tokens.jwks import KeySet, load_key
    from gatewright.auth.tokens.jws import decode_segment, encode_segment, parse, read_object
    from gatewright.auth.tokens.keys import HmacKey, JoseKey, check_algorithm, generate, restore
    from gatewright.auth.tokens.revocations import Revocations, VerifiedToken, VerifiedTokenCache

_NAMES = {
    "gatewright.auth.api_key_rules": (
        "checksum",
        "new_key",
        "split_key",
    ),
    "gatewright.auth.api_keys": ("ApiKeyIdentity",),
    "gatewright.auth.client_signals": (
        "GeoIP2FastPlaces",
        "Place",
        "client_info",
        "distance_between",
        "network_key",
        "read_agent",
        "same_client_key",
        "travel_speed",
    ),
    "gatewright.auth.lockout": (
        "AttemptLimiter",
        "AttemptSubject",
    ),
    "gatewright.auth.mailer": (
        "Mailer",
        "WAITING",
    ),
    "gatewright.auth.manager": ("ManufacturerAuthManager",),
    "gatewright.auth.mfa.passkeys": ("PasskeyChallenge",),
    "gatewright.auth.mfa.relying_party": ("RelyingParty",),
    "gatewright.auth.mfa.totp": (
        "STEP_SECONDS",
        "code_of",
        "match_totp",
        "new_totp_secret",
        "normalize_totp",
        "provisioning_uri",
        "qr_code",
        "step_of",
    ),
    "gatewright.auth.options": (
        "AccessOptions",
        "AuthOptions",
    ),
    "gatewright.auth.passwords.hashing": (
        "Argon2Parameters",
        "PasswordCheck",
        "PasswordHashing",
        "normalize_password",
    ),
    "gatewright.auth.passwords.policy": (
        "BreachedPasswords",
        "FIRST_TRIED",
        "PasswordPolicy",
        "is_built_from",
        "is_common",
        "is_sequence",
        "minimum_length",
    ),
    "gatewright.auth.records": (
        "ApiKeyInfo",
        "AuthResult",
        "ClientInfo",
        "Factor",
        "MFAEnrolment",
        "ManufacturerAccount",
        "ManufacturerSession",
        "PasskeyInfo",
        "RiskAction",
        "SessionRisk",
        "TrustedDevice",
    ),
    "gatewright.auth.registration": ("check_business",),
    "gatewright.auth.services": ("AuthDependencies",),
    "gatewright.auth.sessions.risk": ("RiskPolicy",),
    "gatewright.auth.sessions.service": ("SessionRules",),
    "gatewright.auth.sign_in_limits": ("SignInLimits",),
    "gatewright.auth.status_cache": ("SessionCache",),
    "gatewright.auth.tokens.external_issuers": ("ExternalIssuer",),
    "gatewright.auth.tokens.jwks": (
        "KeySet",
        "load_key",
    ),
    "gatewright.auth.tokens.jws": (
        "decode_segment",
        "encode_segment",
        "parse",
        "read_object",
    ),
    "gatewright.auth.tokens.keys": (
        "HmacKey",
        "JoseKey",
        "check_algorithm",
        "generate",
        "restore",
    ),
    "gatewright.auth.tokens.revocations": (
        "Revocations",
        "VerifiedToken",
        "VerifiedTokenCache",
    ),
}

__all__ = [
    "FIRST_TRIED",
    "STEP_SECONDS",
    "WAITING",
    "AccessOptions",
    "ApiKeyIdentity",
    "ApiKeyInfo",
    "Argon2Parameters",
    "AttemptLimiter",
    "AttemptSubject",
    "AuthDependencies",
    "AuthOptions",
    "AuthResult",
    "BreachedPasswords",
    "ClientInfo",
    "ExternalIssuer",
    "Factor",
    "GeoIP2FastPlaces",
    "HmacKey",
    "JoseKey",
    "KeySet",
    "MFAEnrolment",
    "Mailer",
    "ManufacturerAccount",
    "ManufacturerAuthManager",
    "ManufacturerSession",
    "PasskeyChallenge",
    "PasskeyInfo",
    "PasswordCheck",
    "PasswordHashing",
    "PasswordPolicy",
    "Place",
    "RelyingParty",
    "Revocations",
    "RiskAction",
    "RiskPolicy",
    "SessionCache",
    "SessionRisk",
    "SessionRules",
    "SignInLimits",
    "TrustedDevice",
    "VerifiedToken",
    "VerifiedTokenCache",
    "check_algorithm",
    "check_business",
    "checksum",
    "client_info",
    "code_of",
    "decode_segment",
    "distance_between",
    "encode_segment",
    "generate",
    "is_built_from",
    "is_common",
    "is_sequence",
    "load_key",
    "match_totp",
    "minimum_length",
    "network_key",
    "new_key",
    "new_totp_secret",
    "normalize_password",
    "normalize_totp",
    "parse",
    "provisioning_uri",
    "qr_code",
    "read_agent",
    "read_object",
    "restore",
    "same_client_key",
    "split_key",
    "step_of",
    "travel_speed",
]

__getattr__ = lazy_names(__name__, _NAMES)
