"""Second factors: TOTP, backup codes, passkeys and trusted devices."""

from gatewright.auth.mfa.enrollment import Enrollment
from gatewright.auth.mfa.verifier import FactorVerifier

__all__ = ["Enrollment", "FactorVerifier"]
