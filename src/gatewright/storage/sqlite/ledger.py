"""The ledger of spent lease units, a memory-mapped file per process that survives a crash.

Spending units is one write to shared memory, which the kernel keeps even if the process is killed immediately
afterwards. Each process locks its file while it runs, so a process that acquires the lock of another knows that its
owner has exited. A file from an earlier boot may have missed writes, so all its units count as spent and the limit is
never exceeded.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path

SLOTS = 4_096
"""Maximum concurrent leases of a process. Beyond it, every unit is taken directly from the store."""
_WIDTH = 8
_SIZE = SLOTS * _WIDTH
_BOOT_FILE = "/proc/sys/kernel/random/boot_id"


class Ledger:
    """The ledger of this process: one slot of spent units per lease.

    Args:
        directory: the ledger directory of the database; None for an in-memory database.
    """

    spent: array[int] | memoryview[int]

    def __init__(self, directory: Path | None) -> None:
        self.name = ""
        self._directory = directory
        self._file = -1
        self._map: mmap.mmap | None = None
        self._free = list(range(SLOTS - 1, -1, -1))
        if directory is None:
            self.spent = array("q", bytes(_SIZE))
        else:
            self._open(directory)

    def _open(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        while True:
            self.name = f"{boot_id()}-{secrets.token_hex(8)}"
            path = directory / self.name
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(self._file, bytes(_SIZE))  # allocate the file now, so that a full disk fails here
                if path.exists():
                    break
            except BlockingIOError:  # another process is deleting the new file
                pass
            os.close(self._file)
        self._map = mmap.mmap(self._file, _SIZE)
        self.spent = memoryview(self._map).cast("q")

    def take_slot(self) -> int | None:
        """Reserve a slot and set it to zero; None if all are in use."""
        if not self._free:
            return None
        slot = self._free.pop()
        self.spent[slot] = 0
        return slot

    def free_slot(self, slot: int) -> None:
        """Return a slot after its lease has ended."""
        self._free.append(slot)

    def close(self) -> None:
        """Close the file, and delete it unless leases are outstanding."""
        if self._map is None or self._directory is None:
            return
        if len(self._free) == SLOTS:
            (self._directory / self.name).unlink(missing_ok=True)
        if isinstance(self.spent, memoryview):
            self.spent.release()
        self._map.close()
        os.close(self._file)
        self._map = None


def read_spent(directory: Path, name: str, slot: int) -> int | None:
    """Return the units a process has spent in a slot, whether it is running or not; None if unknown."""
    if name.split("-")[0] != boot_id():
        return None
    try:
        with (directory / name).open("rb") as file:
            return _read(file.fileno(), slot)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def lock_abandoned(directory: Path, name: str) -> Iterator[int | None]:
    """Open and lock the ledger of a process that has exited; None if it is still running.

    Raises:
        FileNotFoundError: the ledger does not exist, or is from an earlier boot and may have missed writes.
    """
    if name.split("-")[0] != boot_id():
        raise FileNotFoundError(name)
    file = os.open(directory / name, os.O_RDWR)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file
    finally:
        os.close(file)


def _read(file: int, slot: int) -> int:
    data = os.pread(file, _WIDTH, slot * _WIDTH)
    return int(struct.unpack("=q", data)[0]) if len(data) == _WIDTH else 0


def read_slot(file: int, slot: int) -> int:
    """Return the spent units in a slot of an open ledger."""
    return _read(file, slot)


def delete_abandoned(directory: Path, in_use: set[str]) -> None:
    """Delete the ledgers of exited processes that no lease refers to."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name in in_use:
            continue
        if path.name.split("-")[0] != boot_id():
            path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError), lock_abandoned(directory, path.name) as file:
            if file is not None:
                path.unlink(missing_ok=True)


_boot = ""


def boot_id() -> str:
    """Return an id of the current boot of the machine."""
    global _boot
    if not _boot:
        try:
            _boot = Path(_BOOT_FILE).read_text()[:8]
        except OSError:  # not Linux
            _boot = "00000000"
    return _boot
