"""The spool: audit entries waiting on disk while the store is unavailable.

Each process writes its own segments, and locks them while it runs. A new process adopts the segments of dead ones.
Entries are acknowledged after ``fsync``. Each line has a CRC-32, to detect lines that were written partially in a
power failure and never acknowledged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from gatewright.errors import StoreUnavailableError

_SUFFIX = ".spool"


class Spool:
    """Bodies of entries in order. Blocking: call it in a thread.

    Args:
        directory: created with mode 0700 if missing.
        max_bytes: the maximum size of the segments of this process.
    """

    def __init__(self, directory: str | Path, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.directory = Path(directory)
        self.max_bytes = max_bytes
        self._segments: list[_Segment] = []
        self._writing: _Segment | None = None

    def open(self) -> None:
        """Adopt the segments of dead processes."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
            segment = _Segment.adopt(path)
            if segment is not None:
                self._segments.append(segment)

    @property
    def pending(self) -> bool:
        """Whether entries are waiting."""
        return bool(self._segments)

    @property
    def size(self) -> int:
        """The number of bytes that are waiting."""
        return sum(segment.size - segment.offset for segment in self._segments)

    def append(self, bodies: Sequence[bytes]) -> None:
        """Append entries, all or none. They are on disk when this returns.

        Raises:
            StoreUnavailableError: the spool or its disk is full.
        """
        lines = b"".join(b"%08x %s\n" % (zlib.crc32(body), body) for body in bodies)
        if self.size + len(lines) > self.max_bytes:
            raise StoreUnavailableError(
                "The store is unavailable, and the audit spool is full. Try again shortly.",
                code="AUDIT_SPOOL_FULL",
                retry_after=5,
            )
        try:
            if self._writing is None:
                self._writing = _Segment.create(self.directory)
                self._segments.append(self._writing)
            self._writing.append(lines)
        except OSError as error:
            raise StoreUnavailableError(
                f"The audit spool in {self.directory} cannot be written: {error.strerror}.",
                code="AUDIT_SPOOL_FULL",
                retry_after=5,
            ) from error

    def peek(self, limit: int) -> list[bytes]:
        """The oldest entries, at most ``limit``. :meth:`drop` removes them."""
        while self._segments:
            bodies = self._segments[0].peek(limit)
            if bodies:
                return bodies
            self._finish()
        return []

    def drop(self) -> None:
        """Remove the entries of the last :meth:`peek`."""
        segment = self._segments[0]
        segment.advance()
        if segment.offset >= segment.size:
            self._finish()

    def close(self) -> None:
        """Close the files. Waiting entries remain for the next process."""
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        self._writing = None

    def _finish(self) -> None:
        segment = self._segments.pop(0)
        if segment is self._writing:
            self._writing = None
        segment.remove()


class _Segment:
    """One file, locked while it is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.offset = 0
        self._peeked = 0

    @classmethod
    def create(cls, directory: Path) -> _Segment:
        path = directory / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        parent = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path) -> _Segment | None:
        """Open the segment of a dead process. None if another process has locked it."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def append(self, lines: bytes) -> None:
        try:
            written = 0
            while written < len(lines):
                written += os.pwrite(self._descriptor, lines[written:], self.size + written)
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(lines)

    def peek(self, limit: int) -> list[bytes]:
        bodies: list[bytes] = []
        at, rest = self.offset, b""
        while len(bodies) < limit and at < self.size:
            block = os.pread(self._descriptor, 1 << 20, at)
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            at += len(block)
            for count, line in enumerate(lines, 1):
                body = _checked(line)
                if body is not None:
                    bodies.append(body)
                if len(bodies) == limit:
                    at -= len(rest) + sum(len(later) + 1 for later in lines[count:])
                    rest = b""
                    break
        # A line without its end was written partially, and never acknowledged.
        self._peeked = at
        return bodies

    def advance(self) -> None:
        self.offset = self._peeked

    def close(self) -> None:
        os.close(self._descriptor)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.close()


def _checked(line: bytes) -> bytes | None:
    check, _, body = line.partition(b" ")
    try:
        return body if body and int(check, 16) == zlib.crc32(body) else None
    except ValueError:
        return None
