"""Compliance checks of encryption at rest, including FIPS mode.

The library has no public call for its mode. In FIPS mode, however, it raises documented errors for algorithms that
FIPS 140-3 does not approve, so the check tries MD5 and ChaCha20-Poly1305. Whether the module has a validation
certificate cannot be determined by a program.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import __version__ as cryptography_version
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend as openssl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from gatewright.encryption.envelope import Algorithm, known_subkey, new_subkey
from gatewright.encryption.records import ComplianceFinding, ComplianceReport
from gatewright.encryption.vault import KeyVault
from gatewright.errors import DecryptionError
from gatewright.storage.keys import GenerationStatus, StoredKeyGeneration


def fips_enforced() -> bool:
    """Whether the library refuses MD5 and ChaCha20-Poly1305, as it does in FIPS mode only."""
    md5 = hashes.MD5()  # noqa: S303 - only to see whether it is refused
    return _refused(lambda: hashes.Hash(md5)) and _refused(lambda: ChaCha20Poly1305(bytes(32)))


def fips_sentence() -> str:
    """The result of :func:`fips_enforced` as text, for reports."""
    if fips_enforced():
        return "FIPS mode is on: unapproved algorithms (MD5, ChaCha20-Poly1305) are refused"
    return "FIPS mode is off: unapproved algorithms are not refused"


def _refused(use: Callable[[], object]) -> bool:
    try:
        use()
    except (UnsupportedAlgorithm, InternalError):
        return True
    return False


# Known answers: NIST's GCM test case 14 (key, nonce and plaintext of zeros), and ChaCha20-Poly1305 of the same.
_ZEROS = bytes(32)
_KNOWN_ANSWERS = {
    Algorithm.AES_256_GCM: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    Algorithm.CHACHA20_POLY1305: "9f07e7be5551387a98ba977c732d080dc34a88047320f52aa2c6683ef8084d2f",
}


class ComplianceChecker:
    """The compliance checks of one manager.

    Args:
        vault: the manager's keys.
        secret_files: files and directories that only their owner may access.
        require_fips: whether a library without FIPS mode is a failure.
    """

    def __init__(self, vault: KeyVault, *, secret_files: Iterable[Path] = (), require_fips: bool = False) -> None:
        self._vault = vault
        self._secret_files = secret_files
        self._require_fips = require_fips
        self._findings: list[ComplianceFinding] = []

    async def run(self) -> ComplianceReport:
        """Run every check."""
        generations = await self._vault.generations()
        newest = generations[-1]
        self._algorithm()
        self._commitment()
        self._root()
        self._age(newest)
        self._revoked(generations)
        await self._data_keys()
        self._files(self._secret_files)
        self._legacy()
        self._library()
        return ComplianceReport(
            compliant=not any(finding.status == "failed" for finding in self._findings),
            findings=self._findings,
            checked_at=self._vault.clock.now(),
            algorithm=self._vault.algorithm.value,
            key_version=newest.version,
        )

    def _algorithm(self) -> None:
        """The cipher returns the published test vector."""
        algorithm = self._vault.algorithm
        ciphers: dict[Algorithm, type[AESGCM] | type[ChaCha20Poly1305]] = {
            Algorithm.AES_256_GCM: AESGCM,
            Algorithm.CHACHA20_POLY1305: ChaCha20Poly1305,
        }
        answer = ciphers[algorithm](_ZEROS).encrypt(bytes(12), bytes(16), None).hex()
        correct = answer == _KNOWN_ANSWERS[algorithm]
        verdict = "matches" if correct else "does not match"
        self._add(
            "algorithm",
            correct,
            f"{algorithm.value} with 256-bit keys {verdict} its published test vector.",
            "Reinstall the cryptography package. Do not encrypt until this check passes.",
            severity="critical",
        )

    def _commitment(self) -> None:
        """A payload is refused under another key before its ciphertext is read."""
        prefix = new_subkey(os.urandom(32), self._vault.algorithm, 0, remaining=0).prefix
        try:
            known_subkey(os.urandom(32), self._vault.algorithm, prefix)
            refused = False
        except DecryptionError:
            refused = True
        self._add(
            "key_commitment",
            refused,
            "A payload can be decrypted only with the key that sealed it.",
            "Report this as a bug in Gatewright.",
            severity="critical",
        )

    def _root(self) -> None:
        ephemeral = self._vault.key_is_ephemeral
        self._add(
            "root_key",
            not ephemeral,
            "The root key was generated for this process. Data cannot be decrypted after a restart."
            if ephemeral
            else "A 256-bit root key is configured.",
            "Set GATEWRIGHT_ENCRYPTION_KEY (create one with `gatewright init`).",
            severity="high",
        )
        self._add(
            "key_rotation",
            self._vault.rotation_enabled,
            f"Data keys {'rotate' if self._vault.rotation_enabled else 'do not rotate'} automatically.",
            "Create the manager with key_rotation_enabled=True.",
        )

    def _age(self, newest: StoredKeyGeneration) -> None:
        age, limit = self._vault.clock.now() - newest.created_at, self._vault.rotation_age
        self._add(
            "key_age",
            age < limit,
            f"The newest data keys ({newest.key_id}) are {age.days} days old. The limit is {limit.days} days.",
            "Run `gatewright keys rotate encryption`.",
        )

    def _revoked(self, generations: Iterable[StoredKeyGeneration]) -> None:
        for generation in generations:
            if generation.status == GenerationStatus.REVOKED:
                self._info(
                    "revoked_keys",
                    f"Generation {generation.key_id} is revoked, but its keys are kept for re-encryption.",
                    "When no record uses them any more, destroy them: `gatewright keys revoke --destroy`.",
                )

    async def _data_keys(self) -> None:
        """How data keys are stored, wrapped and used."""
        store = self._vault.key_store
        if store is None:
            self._info(
                "key_store",
                "Data keys are derived from the root key: they cannot be destroyed individually, and their messages are"
                " counted in this process only.",
                "Use a durable key store.",
            )
            return
        root_ids = self._vault.root_ids
        other_root = total = most = 0
        after: tuple[str, int] | None = None
        while page := await store.list_data_keys(after=after):
            after = (page[-1].manufacturer_id, page[-1].version)
            total += len(page)
            other_root += sum(key.root_id != root_ids[0] for key in page)
            most = max(most, *(key.uses for key in page))
        self._add(
            "key_wrapping",
            not other_root,
            f"{total - other_root} of {total} data keys are wrapped by the current root key.",
            "Finish the root key rotation: `gatewright keys rotate-root`.",
        )
        self._add(
            "nonce_count",
            most < self._vault.max_messages,
            f"The most used data key has {most} messages reserved. The limit is {self._vault.max_messages}.",
            "Rotate the data keys: `gatewright keys rotate`.",
            severity="high",
        )

    def _files(self, paths: Iterable[Path]) -> None:
        for path in paths:
            try:
                mode = path.stat().st_mode
            except OSError as error:
                self._add("file_permissions", False, f"{path} cannot be read: {error.strerror}.", "Check the path.")
                continue
            open_to_others = stat.S_IMODE(mode) & 0o077
            self._add(
                "file_permissions",
                not open_to_others,
                f"{path} has mode {stat.S_IMODE(mode):04o}.",
                f"Make it private: chmod {'700' if stat.S_ISDIR(mode) else '600'} {path}",
                severity="high",
            )

    def _legacy(self) -> None:
        if self._vault.legacy_keys:
            self._info(
                "legacy_payloads",
                f"{self._vault.legacy_keys} version 1.0 key(s) are accepted. Their payloads are not bound to an owner.",
                "Re-encrypt the remaining payloads, then remove GATEWRIGHT_LEGACY_FERNET_KEYS.",
            )

    def _library(self) -> None:
        version = openssl.openssl_version_text()
        detail = f"cryptography {cryptography_version} uses {version}; {fips_sentence()}."
        if self._require_fips:
            remedy = "Build cryptography against an OpenSSL with a validated FIPS provider, and enable it."
            self._add("fips_mode", fips_enforced(), detail, remedy, severity="high")
        else:
            self._info("fips_mode", detail, None)

    def _add(self, check: str, passed: bool, detail: str, remedy: str | None, *, severity: str = "warning") -> None:
        self._findings.append(
            ComplianceFinding(
                check=check,
                status="passed" if passed else "failed",
                severity="info" if passed else severity,
                detail=detail,
                remedy=None if passed else remedy,
            )
        )

    def _info(self, check: str, detail: str, remedy: str | None) -> None:
        self._findings.append(
            ComplianceFinding(check=check, status="info", severity="info", detail=detail, remedy=remedy)
        )
