"""Second factors: TOTP, backup codes, and the one place that checks whichever is shown."""

from gatewright.auth.mfa.codes import CODE_COUNT, new_backup_codes, normalise_backup_code
from gatewright.auth.mfa.enrolment import Enrolment
from gatewright.auth.mfa.factors import SecondFactors
from gatewright.auth.mfa.totp import TotpMatch, match_totp, new_totp_secret, provisioning_uri, qr_code

__all__ = [
    "CODE_COUNT",
    "Enrolment",
    "SecondFactors",
    "TotpMatch",
    "match_totp",
    "new_backup_codes",
    "new_totp_secret",
    "normalise_backup_code",
    "provisioning_uri",
    "qr_code",
]
