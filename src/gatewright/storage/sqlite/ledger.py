"""The ledger of a process: spent units of its leases, in memory-mapped files that survive it.

A spent unit is one store into shared memory, which the kernel keeps when the process is killed in the next
instant. The process holds a lock on its file as long as it lives, so another one that gets the lock knows that
nothing more is spent from it. A file of an earlier boot of the machine may be older than what was spent: then all
counts as spent, so that the limit is never exceeded.
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
"""Slices that a process holds at the same time at most; beyond them the store alone decides."""
_WIDTH = 8
_SIZE = SLOTS * _WIDTH
_BOOT_FILE = "/proc/sys/kernel/random/boot_id"


class Ledger:
    """The slots of this process.

    Args:
        directory: where ledgers of this database lie; None for a private database, which ends with the process.
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
            self.name = f"{boot()}-{secrets.token_hex(8)}"
            path = directory / self.name
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(self._file, bytes(_SIZE))  # now, so that a full disk is found now
                if path.exists():
                    break
            except BlockingIOError:  # someone who tidies up was faster
                pass
            os.close(self._file)
        self._map = mmap.mmap(self._file, _SIZE)
        self.spent = memoryview(self._map).cast("q")

    def take_slot(self) -> int | None:
        """A slot that is at zero, if there is one."""
        if not self._free:
            return None
        slot = self._free.pop()
        self.spent[slot] = 0
        return slot

    def free_slot(self, slot: int) -> None:
        """The slice of this slot is no more."""
        self._free.append(slot)

    def close(self) -> None:
        """Let go of the file; it is kept where slices are still out."""
        if self._map is None or self._directory is None:
            return
        if len(self._free) == SLOTS:
            (self._directory / self.name).unlink(missing_ok=True)
        if isinstance(self.spent, memoryview):
            self.spent.release()
        self._map.close()
        os.close(self._file)
        self._map = None


def spent_in(directory: Path, name: str, slot: int) -> int | None:
    """What a process has spent so far, running or not; None if unknown."""
    if name.split("-")[0] != boot():
        return None
    try:
        with (directory / name).open("rb") as file:
            return _number(file.fileno(), slot)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def of_the_dead(directory: Path, name: str) -> Iterator[int | None]:
    """The open file of a ledger, locked, where its process is dead; None where it is alive.

    Raises:
        FileNotFoundError: there is no such ledger, or it may be older than what was spent.
    """
    if name.split("-")[0] != boot():
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


def _number(file: int, slot: int) -> int:
    data = os.pread(file, _WIDTH, slot * _WIDTH)
    return int(struct.unpack("=q", data)[0]) if len(data) == _WIDTH else 0


def read_slot(file: int, slot: int) -> int:
    """What is in a slot of an open ledger."""
    return _number(file, slot)


def sweep_away(directory: Path, wanted: set[str]) -> None:
    """Delete the ledgers of dead processes that no lease names any more."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name in wanted:
            continue
        if path.name.split("-")[0] != boot():
            path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError), of_the_dead(directory, path.name) as file:
            if file is not None:
                path.unlink(missing_ok=True)


_boot = ""


def boot() -> str:
    """What tells this run of the machine from others."""
    global _boot
    if not _boot:
        try:
            _boot = Path(_BOOT_FILE).read_text()[:8]
        except OSError:  # no Linux
            _boot = "00000000"
    return _boot
