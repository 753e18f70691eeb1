"""Signed checkpoints of the audit log, in the store and in a file outside it.

A checkpoint that was kept elsewhere reveals that entries were removed from the end of the log, or that the whole log
was recomputed. A hash tree alone cannot.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gatewright.errors import FieldError, StorageError, ValidationError
from gatewright.records import Record

_TAIL = 256 * 1024
"""The number of bytes read from the end of the file: some 900 checkpoints, or six days."""


class CheckpointFile:
    """A file of checkpoints, ideally on a disk that the database's writers cannot write.

    Args:
        path: the file. Created if missing, with mode 0600 in a directory with mode 0700.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, note: str) -> None:
        """Append a checkpoint and wait until it is on disk.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, msgspec.json.encode(note) + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(f"The checkpoint file {self.path} cannot be written: {error.strerror}.") from error

    def read(self) -> list[Checkpoint]:
        """The newest checkpoints, oldest first. Damaged lines are skipped. Raises OSError."""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        found = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError, ValidationError):
                found.append(read_checkpoint(msgspec.json.decode(line, type=str)))
        return found

    def fault(self) -> tuple[str, str] | None:
        """Why the log cannot be compared with this file: reason and detail. None if it contains a checkpoint."""
        start = "Find out who removed it, then start a new one with `gatewright audit checkpoint`."
        try:
            return (
                None
                if self.read()
                else ("checkpoint_file_empty", f"The checkpoint file {self.path} contains no checkpoint. {start}")
            )
        except FileNotFoundError:
            return "checkpoint_file_missing", f"The checkpoint file {self.path} does not exist. {start}"
        except OSError as error:
            detail = f"The checkpoint file {self.path} cannot be read: {error.strerror}. Let this user read it."
            return "checkpoint_file_unreadable", detail


_ED25519 = b"\x01"
_DASH = "\u2014 "
_MAX_NOTE = 8192


class Checkpoint(Record, frozen=True, kw_only=True):
    """A signed statement that the log ``origin`` had ``size`` entries and this root (hex).

    ``note`` is the signed text. ``bound_from`` is the size from which the root secret bound the log, or None.
    """

    origin: str
    size: int
    root: str
    created_at: datetime | None
    bound_from: int | None = None
    note: str

    def __str__(self) -> str:
        return self.note


class CheckpointSigner:
    """Signs checkpoints, and verifies signatures of its current and previous keys.

    Args:
        origin: the name of the log, one word.
        seed: the private key, 32 bytes.
        previous: previous private keys, whose signatures are still accepted.
    """

    def __init__(self, origin: str, seed: bytes, *, previous: Iterable[bytes] = ()) -> None:
        if not origin or len(origin) > 200 or any(ch.isspace() or ch == "+" for ch in origin):
            raise ValueError("The origin of a log must be one word of 1 to 200 characters without '+'.")
        self.origin = origin
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = [self._key.public_key(), *(Ed25519PrivateKey.from_private_bytes(old).public_key() for old in previous)]
        self.verifier_key = verifier_key(origin, public[0])
        self.verifier_keys = tuple(verifier_key(origin, key) for key in public)

    def sign(self, size: int, root: bytes, at: datetime, *, bound_from: int | None = None) -> Checkpoint:
        """Sign a checkpoint of this size and root."""
        moment = at.astimezone(UTC)
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\ntime {moment.isoformat()}\n"
        if bound_from is not None:
            text += f"bound {bound_from}\n"
        raw = self._key.public_key().public_bytes_raw()
        signature = _key_id(self.origin, raw) + self._key.sign(text.encode())
        note = f"{text}\n{_DASH}{self.origin} {base64.b64encode(signature).decode()}\n"
        return Checkpoint(
            origin=self.origin, size=size, root=root.hex(), created_at=moment, bound_from=bound_from, note=note
        )

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether one of these keys signed the checkpoint."""
        return signed_by(checkpoint.note, self.verifier_keys)


def verifier_key(origin: str, key: Ed25519PublicKey) -> str:
    """The public key in C2SP format, ``<origin>+<key id>+<base64>``. Publish it beside the log."""
    raw = key.public_bytes_raw()
    return f"{origin}+{_key_id(origin, raw).hex()}+{base64.b64encode(_ED25519 + raw).decode()}"


def note_in(kept: str) -> str:
    """Extract the note from a note, a checkpoint as JSON (as printed by the CLI and HTTP API), or the last line of a
    checkpoint file.

    Raises:
        ValidationError: the text contains no checkpoint (``INVALID_CHECKPOINT``).
    """
    if kept.lstrip()[:1] not in ("{", '"'):
        return kept
    for text in (kept, kept.strip().rpartition("\n")[2]):
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(text)
            note = found.get("note") if isinstance(found, dict) else found
            if isinstance(note, str):
                return note
    raise _no_checkpoint()


def read_checkpoint(note: str) -> Checkpoint:
    """Parse a note. Its signature is not checked.

    Raises:
        ValidationError: the text is not a checkpoint (``INVALID_CHECKPOINT``).
    """
    try:
        if len(note) > _MAX_NOTE:
            raise ValueError("too long")
        text, _, _ = note.partition("\n\n")
        origin, size, root, *extensions = text.split("\n")
        digest = base64.b64decode(root, validate=True)
        if not size.isascii() or not size.isdigit() or len(digest) != 32 or not origin:
            raise ValueError("malformed")
        time = next((line[5:] for line in extensions if line.startswith("time ")), None)
        bound = next((line[6:] for line in extensions if line.startswith("bound ")), None)
        return Checkpoint(
            origin=origin,
            size=int(size),
            root=digest.hex(),
            created_at=datetime.fromisoformat(time) if time else None,
            bound_from=int(bound) if bound is not None else None,
            note=note,
        )
    except (ValueError, binascii.Error) as error:
        raise _no_checkpoint() from error


def _no_checkpoint() -> ValidationError:
    field = FieldError(field="checkpoint", error_type="INVALID_CHECKPOINT", message="Not a checkpoint.")
    return ValidationError("This text is not a checkpoint of an audit log.", code="INVALID_CHECKPOINT", errors=[field])


def signed_by(note: str, keys: Iterable[str]) -> bool:
    """Whether the note is signed by one of the keys, in the format of :func:`verifier_key`."""
    text, separator, signatures = note.partition("\n\n")
    if not separator or len(note) > _MAX_NOTE:
        return False
    lines = signatures.split("\n")
    return any(_signed(f"{text}\n".encode(), line, key) for key in keys for line in lines)


def _signed(text: bytes, line: str, key: str) -> bool:
    try:
        name, key_id, encoded = key.split("+", 2)
        public = base64.b64decode(encoded, validate=True)
        signer, _, signature = line.removeprefix(_DASH).partition(" ")
        raw = base64.b64decode(signature, validate=True)
        if not line.startswith(_DASH) or signer != name or raw[:4].hex() != key_id or public[:1] != _ED25519:
            return False
        Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], text)
    except (ValueError, InvalidSignature):
        return False
    return True


def _key_id(origin: str, raw: bytes) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + raw).digest()[:4]
