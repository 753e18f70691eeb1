"""FIPS mode is detected by the algorithms that the library refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gatewright.encryption import fips_enforced, fips_sentence

DEMANDED = """openssl_conf = init
[init]
alg_section = evp
[evp]
default_properties = fips=yes
"""
"""An OpenSSL configuration with a FIPS provider only. The provider need not exist: algorithms are refused anyway."""

PROGRAM = """
from cryptography.hazmat.backends.openssl import backend
from gatewright.encryption.compliance import fips_enforced
print(fips_enforced(), backend._fips_enabled)
"""


def test_it_is_off_where_nobody_asked_for_it() -> None:
    assert not fips_enforced() and "FIPS mode is off" in fips_sentence()


def test_it_agrees_with_what_the_library_knows_of_itself(tmp_path: Path) -> None:
    """Compares the result with the library's private flag. Only this test reads it."""
    configuration = tmp_path / "openssl.cnf"
    configuration.write_text(DEMANDED)
    environment = {**os.environ, "OPENSSL_CONF": str(configuration)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    observed, known = done.stdout.split()
    assert observed == known
