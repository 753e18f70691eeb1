"""Second factors: TOTP, backup codes, passkeys and trusted devices."""

from gatewright.auth.mfa.enrollment import Enrollment
from gatewright.auth.mfa.totp import TotpMatch, match_totp, new_totp_secret, provisioning_uri, qr_code
from gatewright.auth.mfa.verifier import CODE_COUNT, FactorVerifier, new_backup_codes, normalize_backup_code

__all__ = [
    "CODE_COUNT",
    "Enrollment",
    "FactorVerifier",
    "TotpMatch",
    "match_totp",
    "new_backup_codes",
    "new_totp_secret",
    "normalize_backup_code",
    "provisioning_uri",
    "qr_code",
]
