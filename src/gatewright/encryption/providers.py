"""Secret providers: where root keys and other secrets come from. One Protocol; a KMS fits it too."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gatewright.errors import KeyUnavailableError

SHORTEST_SECRET = 32
"""Characters (or bytes) of a secret, unless the caller asks for less."""

LARGEST_SECRET = 65_536
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


class Secret:
    """Bytes that do not show themselves: not in ``repr``, ``str``, formats or pickles."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The secret itself."""
        return self._value

    def text(self) -> str:
        """The secret as text."""
        return self._value.decode()

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __format__(self, _: str) -> str:
        return "(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("secrets are not pickled: that would write them in clear")


class SecretProvider(Protocol):
    """Gives secrets by name, such as ``encryption_key``."""

    @property
    def name(self) -> str:
        """What to call it in reports; no secret."""
        ...

    async def get(self, name: str, *, shortest: int = SHORTEST_SECRET) -> Secret:
        """The secret called ``name``, of at least ``shortest`` bytes.

        Raises:
            KeyUnavailableError: ``SECRET_MISSING``, ``SECRET_UNREADABLE``, ``SECRET_EXPOSED`` (others may read
                it) or ``SECRET_TOO_SHORT``; the message says what to do.
        """
        ...

    async def check(self) -> None:
        """Whether it could give secrets now; raises KeyUnavailableError when not."""
        ...


class EnvironmentProvider:
    """Secrets in environment variables: ``encryption_key`` is ``GATEWRIGHT_ENCRYPTION_KEY``.

    Args:
        prefix: what the variables begin with.
        environment: where they are.
    """

    def __init__(self, prefix: str = "GATEWRIGHT_", *, environment: Mapping[str, str] | None = None) -> None:
        self._prefix = prefix
        self._environment = os.environ if environment is None else environment

    @property
    def name(self) -> str:
        return f"environment variables {self._prefix}*"

    async def get(self, name: str, *, shortest: int = SHORTEST_SECRET) -> Secret:
        variable = self._prefix + name.upper()
        value = self._environment.get(variable, "").strip()
        if not value:
            raise _unavailable("SECRET_MISSING", f"{variable} is not set.", f"Set {variable}.")
        return _long_enough(value.encode(), variable, shortest)

    async def check(self) -> None:
        return None


class FileProvider:
    """One secret in one file that nobody else may read (mode 0600 or 0400).

    Args:
        path: the file. A trailing line break is not part of the secret.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    @property
    def name(self) -> str:
        return f"file {self._path}"

    async def get(self, name: str, *, shortest: int = SHORTEST_SECRET) -> Secret:
        value = await asyncio.to_thread(_read_private, self._path, shared=False)
        return _long_enough(value, str(self._path), shortest)

    async def check(self) -> None:
        await asyncio.to_thread(_read_private, self._path, shared=False)


class DirectoryProvider:
    """A directory with a file for each secret, as container platforms mount them (``/run/secrets``).

    Files may be readable to their group, and to others only where the directory lets no other user in.

    Args:
        path: the directory.
        prefix: what the files' names begin with.
    """

    def __init__(self, path: str | Path, *, prefix: str = "") -> None:
        self._path = Path(path)
        self._prefix = prefix

    @property
    def name(self) -> str:
        return f"directory {self._path}"

    async def get(self, name: str, *, shortest: int = SHORTEST_SECRET) -> Secret:
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise _unavailable("SECRET_MISSING", f"{name!r} is no name of a secret.", "Use letters, digits and _.")
        path = self._path / (self._prefix + name)
        value = await asyncio.to_thread(_read_private, path, shared=True)
        return _long_enough(value, str(path), shortest)

    async def check(self) -> None:
        if not await asyncio.to_thread(self._path.is_dir):
            raise _unavailable("SECRET_MISSING", f"{self._path} is no directory.", "Mount or make it.")


class PassphraseProvider:
    """Every secret derived from one passphrase by scrypt (RFC 7914), for development.

    Args:
        passphrase: at least 8 characters.
        cost: the parameter N of scrypt, a power of two; memory is 1 KiB times N.
    """

    def __init__(self, passphrase: str, *, cost: int = 2**15) -> None:
        if len(passphrase) < 8:
            raise _unavailable("SECRET_TOO_SHORT", "The passphrase has fewer than 8 characters.", "Use a longer one.")
        self._passphrase = passphrase
        self._cost = cost

    @property
    def name(self) -> str:
        return "passphrase"

    def __repr__(self) -> str:
        return "PassphraseProvider(hidden)"

    async def get(self, name: str, *, shortest: int = SHORTEST_SECRET) -> Secret:
        return Secret(await asyncio.to_thread(self._stretched, name, max(32, shortest)))

    async def check(self) -> None:
        return None

    def _stretched(self, name: str, length: int) -> bytes:
        salt = b"gatewright passphrase 1 " + name.encode()
        memory = 2 * 128 * 8 * self._cost
        return hashlib.scrypt(self._passphrase.encode(), salt=salt, n=self._cost, r=8, p=1, maxmem=memory, dklen=length)


def _read_private(path: Path, *, shared: bool) -> bytes:
    """The contents of a file, if nobody may read it who should not. Checks the file that it opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _unavailable("SECRET_MISSING", f"{path} does not exist.", "Make it, or correct the path.") from None
    except OSError as error:
        raise _unavailable(
            "SECRET_UNREADABLE", f"{path} cannot be read: {error.strerror}.", "Let the service's user read it."
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unavailable("SECRET_UNREADABLE", f"{path} is no file.", "Give the path of a file.")
        _refuse_exposed(path, status, shared=shared)
        value = os.read(descriptor, LARGEST_SECRET + 1)
    finally:
        os.close(descriptor)
    if len(value) > LARGEST_SECRET:
        raise _unavailable("SECRET_UNREADABLE", f"{path} is larger than a secret could be.", "Correct the path.")
    return value.rstrip(b"\r\n")


def _refuse_exposed(path: Path, status: os.stat_result, *, shared: bool) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (os.geteuid(), 0):
        raise _unavailable(
            "SECRET_EXPOSED", f"{path} belongs to another user.", "Let it belong to root or to the service's user."
        )
    others = mode & 0o077
    if shared:
        sheltered = not stat.S_IMODE(path.parent.stat().st_mode) & 0o001
        others = mode & (0o022 if sheltered else 0o027)
    if others:
        raise _unavailable(
            "SECRET_EXPOSED", f"{path} has mode {mode:04o}: others may use it.", f"Close it: chmod 600 {path}"
        )


def _long_enough(value: bytes, where: str, shortest: int) -> Secret:
    if not value:
        raise _unavailable("SECRET_MISSING", f"{where} is empty.", "Put the secret in it.")
    if len(value) < shortest:
        raise _unavailable(
            "SECRET_TOO_SHORT",
            f"{where} has {len(value)} bytes, of at least {shortest}.",
            "Make a new one: openssl rand -hex 32",
        )
    return Secret(value)


def _unavailable(code: str, message: str, remedy: str) -> KeyUnavailableError:
    return KeyUnavailableError(message, code=code, recommended_action=remedy)
