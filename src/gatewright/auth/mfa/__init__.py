"""Second factors: TOTP, backup codes, passkeys and trusted devices."""

from gatewright.auth.mfa.enrollment import Enrollment
from gatewright.auth.mfa.totp import TotpMatch, match_totp, new_totp_secret, provisioning_uri, qr_code
from gatewright.auth.mfa.verifier import CODE_COUNT, SecondFactors, new_backup_codes, normalise_backup_code

__all__ = [
    "CODE_COUNT",
    "Enrollment",
    "SecondFactors",
    "TotpMatch",
    "match_totp",
    "new_backup_codes",
    "new_totp_secret",
    "normalise_backup_code",
    "provisioning_uri",
    "qr_code",
]
