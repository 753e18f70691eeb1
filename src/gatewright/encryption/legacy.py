"""Payloads of version 1.0: base64 of a Fernet token over JSON. They open; nothing new is made of that kind.

Nothing authenticates the metadata of such an envelope, so whoever can write the records can write any label into
it. Only what the token itself holds counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gatewright.encryption.canonical64 import from_base64
from gatewright.encryption.failure import decryption_failed
from gatewright.errors import ConfigurationError

ALGORITHM = "Fernet"


class LegacyReader:
    """Opens payloads of version 1.0.

    Args:
        keys: Fernet keys (44 characters of URL-safe base64), the most likely first.

    Raises:
        ConfigurationError: one of them is no Fernet key.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
        except ValueError:
            raise ConfigurationError(
                "A legacy Fernet key is malformed: it must be 32 bytes in URL-safe base64 (44 characters).",
                recommended_action="Correct GATEWRIGHT_LEGACY_FERNET_KEYS.",
            ) from None
        self._fernet = MultiFernet(fernets) if fernets else None

    def open(self, payload: str) -> Any:
        """The JSON value of a payload; raises DecryptionError when no key opens it."""
        if self._fernet is None:
            raise decryption_failed()
        try:
            return json.loads(self._fernet.decrypt(from_base64(payload)))
        except (InvalidToken, ValueError, RecursionError):
            raise decryption_failed() from None
