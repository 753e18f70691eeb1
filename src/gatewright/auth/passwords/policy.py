"""Password policy (NIST SP 800-63B): length, common and breached passwords, words of the account.

Its sources are the frequency lists of zxcvbn (MIT license): leaked passwords and frequent words, those of at
least eight characters, since a shorter password is refused for its length.

No composition rules: they make passwords worse.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import itertools
import lzma
import re
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.resources import files
from urllib.parse import urlsplit

from gatewright import event_kinds
from gatewright.auth.passwords.hashing import MAX_PASSWORD_LENGTH, PasswordHashing, normalise_password
from gatewright.clock import Clock, SystemClock
from gatewright.errors import ConfigurationError, FieldError
from gatewright.events import EventSink, Severity, emitter

FIRST_TRIED = 1_000
"""How many of the most frequent passwords also count with digits and punctuation around them."""

MAX_AROUND = 6
"""How many such characters around one do not make it another password."""

_LEET_COMMON = str.maketrans("01345@$!", "oleasasi")
_CORE = re.compile(r"^[\W\d_]*(.*?)[\W\d_]*$", re.DOTALL)


def is_common(password: str) -> bool:
    """Whether the password, without case, is on the list, or one of the very first with little around it."""
    words, first = _lists()
    folded = password.casefold()
    if folded in words or folded.translate(_LEET_COMMON) in words:
        return True
    match = _CORE.match(folded)
    core = match.group(1) if match else folded
    return len(folded) - len(core) <= MAX_AROUND and (core in first or core.translate(_LEET_COMMON) in first)


@lru_cache(maxsize=1)
def _lists() -> tuple[frozenset[str], frozenset[str]]:
    data = lzma.decompress(files(__package__).joinpath("data", "common_passwords.txt.xz").read_bytes()).decode()
    first, _, rest = data.partition("\n\n")
    return frozenset(rest.split("\n")), frozenset(first.split("\n"))


MAX_ANSWER = 1_048_576
"""Bytes of an answer that are read."""


class BreachedPasswords:
    """Asks a range service whether a password is known; if it does not answer, passwords are accepted.

    Args:
        url: its range address, HTTPS (or this machine); the first five hex digits of the SHA-1 are appended.
        timeout: seconds.
    """

    def __init__(
        self, url: str, *, timeout: float = 2.0, sink: EventSink | None = None, clock: Clock | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
            raise ConfigurationError(
                f"GATEWRIGHT_BREACHED_PASSWORDS_URL={url}: must be an https:// address;"
                " set it to the range URL of the service, or remove it.",
                context={"setting": "GATEWRIGHT_BREACHED_PASSWORDS_URL"},
            )
        self._url = url.rstrip("/") + "/"
        self._timeout = timeout
        self._emit = emitter(sink, clock or SystemClock())
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="gatewright-breached")

    async def __call__(self, password: str) -> bool:
        """Whether the password is known from a breach."""
        digest = hashlib.sha1(normalise_password(password), usedforsecurity=False).hexdigest().upper()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, digest[:5])
        except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
            self._emit(event_kinds.AUTH_BREACHED_PASSWORDS_UNAVAILABLE, Severity.WARNING, fault=type(error).__name__)
            return False
        return _contains(answer, digest[5:])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, prefix: str) -> str:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url + prefix, headers={"Add-Padding": "true", "User-Agent": "gatewright"}
        )
        with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
            return str(response.read(MAX_ANSWER).decode("ascii", "replace"))


def _contains(answer: str, suffix: str) -> bool:
    """Whether a line ``SUFFIX:COUNT`` has the suffix and a count above 0 (padding lines have 0)."""
    found = False
    for line in answer.splitlines():
        name, _, count = line.strip().partition(":")
        if hmac.compare_digest(name.upper().encode(), suffix.encode()) and count.strip().isdecimal():
            found = found or int(count[:12]) > 0
    return found


HINT = "Three or four unrelated words, or a password made by a password manager, are strong and need no symbols."

BreachCheck = Callable[[str], Awaitable[bool]]
"""Whether a password is known from a breach."""

_LEET = str.maketrans("0134578@$!+", "oleastbasit")
_WORD = re.compile(r"[^\W_]+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_MAX_CONTEXT = 320
_MAX_PIECES = 96


def minimum_length(setting: int | None, *, mfa_required: bool, alone: bool) -> int:
    """Characters at least: the setting, or 8 where MFA is required, 12 for a manager built alone, else 15."""
    if setting is not None:
        return setting
    if mfa_required:
        return 8
    return 12 if alone else 15


class PasswordPolicy:
    """Says what is wrong with a new password.

    Args:
        hashing: its pool reads the list of common passwords.
        min_length: characters at least, counted as the person sees them (code points after NFKC).
        breached: an optional further source.
    """

    def __init__(self, hashing: PasswordHashing, *, min_length: int = 12, breached: BreachCheck | None = None) -> None:
        self.min_length = min_length
        self._hashing = hashing
        self._breached = breached

    async def check(self, password: object, *, words: Iterable[str] = (), field: str = "password") -> list[FieldError]:
        """What is wrong, as errors of ``field``; nothing when the password is good.

        Args:
            password: anything; what is not text is an error.
            words: the person's email address, the company's name, and so on.
        """
        if not isinstance(password, str) or not password:
            return [_error(field, "PASSWORD_MISSING", "A password is required.")]
        if len(password) > MAX_PASSWORD_LENGTH:
            return [_error(field, "PASSWORD_TOO_LONG", f"A password has at most {MAX_PASSWORD_LENGTH} characters.")]
        text = unicodedata.normalize("NFKC", password)
        if len(text) < self.min_length:
            return [_error(field, "PASSWORD_TOO_SHORT", f"Use at least {self.min_length} characters. {HINT}")]
        if made_of(text, words):
            message = f"Do not build the password from your e-mail address or company name. {HINT}"
            return [_error(field, "PASSWORD_CONTEXT", message)]
        if is_run(text):
            message = f"Repeated characters and words, and rows of neighbours, are guessed first. {HINT}"
            return [_error(field, "PASSWORD_PATTERN", message)]
        if await self._hashing.run(lambda: is_common(text)):
            return [_error(field, "PASSWORD_COMMON", f"This password is on the lists that attackers try first. {HINT}")]
        if self._breached is not None and await self._breached(password):
            return [_error(field, "PASSWORD_BREACHED", f"This password is known from a breach elsewhere. {HINT}")]
        return []


def made_of(password: str, words: Iterable[str]) -> bool:
    """Whether a password is built from ``words``: an email address, a company name, or their words and initials.

    Letter case, digits, punctuation, accents, leetspeak and reversal are ignored. Up to three letters of the
    person's own do not make it a password; a phrase that only contains one of the words is fine.
    """
    pieces = _pieces(words)
    if not pieces:
        return False
    digits = sum(character.isdigit() for character in password)
    plain = unicodedata.normalize("NFKC", password).casefold()
    for spelling in {_letters(plain), _letters(plain.translate(_LEET))}:
        for text in (spelling, spelling[::-1]):
            if _is_covered(text, pieces, digits):
                return True
    return False


def _pieces(words: Iterable[str]) -> list[str]:
    """Words, their initials and whole texts run together, as letters only; at least two letters each."""
    found: dict[str, None] = {}
    for text in words:
        folded = unicodedata.normalize("NFKC", text[:_MAX_CONTEXT]).casefold()
        for spelling in (folded, folded.translate(_UMLAUTS)):
            parts = _WORD.findall(spelling)
            whole = ["".join(part[0] for part in parts), "".join(parts)] if len(parts) > 1 else []
            for piece in (*whole, *parts):
                found[_letters(piece)] = None
                found[_letters(piece.translate(_LEET))] = None
    return [piece for piece in found if len(piece) >= 2][:_MAX_PIECES]


def _letters(text: str) -> str:
    """The letters of a text without accents."""
    decomposed = unicodedata.normalize("NFKD", text).translate(_LETTERS)
    return "".join(character for character in decomposed if character.isalpha())


def _is_covered(text: str, pieces: list[str], digits: int) -> bool:
    """Whether the pieces leave fewer than four letters of ``text``, and are more than a short word by chance."""
    best = [0] * (len(text) + 1)  # best[n]: letters of text[:n] that pieces can cover
    longest = 0
    for end in range(1, len(text) + 1):
        best[end] = best[end - 1]
        for piece in pieces:
            if text.endswith(piece, 0, end):
                longest = max(longest, len(piece))
                best[end] = max(best[end], best[end - len(piece)] + len(piece))
    covered = best[-1]
    left = len(text) - covered
    if not covered or left >= 4:
        return False
    return longest >= 4 or (covered >= 3 * left and (covered >= 6 or digits <= 8))


def is_run(password: str) -> bool:
    """Whether it is a piece over and over (``abcabcabc``, ``secretsecret``) or one row of neighbors (``456789``)."""
    text = password.casefold()
    sizes = range(1, max(4, len(text) // 2) + 1)
    if any(text == (text[:size] * (len(text) // size + 1))[: len(text)] for size in sizes):
        return True
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(text)}
    return steps in ({1}, {-1}) or _counts_round(text)


def _counts_round(text: str) -> bool:
    """Digits that count up and begin again: ``123456789012``."""
    if not text.isdecimal() or not text.isascii():
        return False
    return all((int(after) - int(before)) % 10 == 1 for before, after in itertools.pairwise(text))


def _error(field: str, error_type: str, message: str) -> FieldError:
    return FieldError(field=field, error_type=error_type, message=message)
