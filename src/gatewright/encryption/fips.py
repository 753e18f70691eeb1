"""Whether OpenSSL runs in FIPS mode, judged by what it does.

There is no public call that asks the library for the mode. But in FIPS mode it refuses what FIPS 140-3 does not
approve, and says so by documented errors; that is what is looked at: MD5 and ChaCha20-Poly1305. Whether the module in
use is a validated one, and of which certificate, no program can tell.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def fips_enforced() -> bool:
    """Whether the library refuses MD5 and ChaCha20-Poly1305, as it does in FIPS mode and not otherwise."""
    md5 = hashes.MD5()  # noqa: S303 - to see it refused
    return _refused(lambda: hashes.Hash(md5)) and _refused(lambda: ChaCha20Poly1305(bytes(32)))


def fips_sentence() -> str:
    """What :func:`fips_enforced` found, for reports."""
    if fips_enforced():
        return "FIPS mode is on: MD5 and ChaCha20-Poly1305, which are not approved, are refused"
    return "FIPS mode is off: algorithms that are not approved are not refused"


def _refused(use: Callable[[], object]) -> bool:
    try:
        use()
    except (UnsupportedAlgorithm, InternalError):
        return True
    return False
