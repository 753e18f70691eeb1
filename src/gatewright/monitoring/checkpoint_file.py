"""The checkpoint file: signed checkpoints outside the database, a JSON string a line, only ever appended to."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from gatewright.errors import StorageError, ValidationError
from gatewright.monitoring.checkpoints import Checkpoint, read_checkpoint

_TAIL = 256 * 1024
"""Bytes at the end of the file that are read: some 900 checkpoints, six days at one every ten minutes."""


class CheckpointFile:
    """A file to which checkpoints are appended, best on a disk that whoever can write the database cannot.

    Args:
        path: the file; made when missing, for its owner only, in a directory for its owner only.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, note: str) -> None:
        """Add a checkpoint and wait until it is on disk.

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
        """The newest checkpoints, oldest first; a line torn by a power cut is skipped. Raises OSError."""
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
        """Why nothing can be held against this file, as reason and detail; None when it has a checkpoint."""
        start = "Find out who removed it; then start it again with `gatewright audit checkpoint`."
        try:
            return None if self.read() else ("checkpoint_file_empty", f"{self.path} holds no checkpoint. {start}")
        except FileNotFoundError:
            return "checkpoint_file_missing", f"The checkpoint file {self.path} does not exist. {start}"
        except OSError as error:
            detail = f"The checkpoint file {self.path} cannot be read: {error.strerror}. Let this user read it."
            return "checkpoint_file_unreadable", detail
