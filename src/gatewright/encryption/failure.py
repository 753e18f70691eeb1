"""The one way in which opening something fails."""

from __future__ import annotations

from gatewright.errors import DecryptionError

MESSAGE = "The data could not be decrypted."


def decryption_failed() -> DecryptionError:
    """The error for every payload that does not open; which check refused it is never said."""
    return DecryptionError(MESSAGE)
