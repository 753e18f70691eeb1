"""Password policy (NIST SP 800-63B): length, common and breached passwords, words of the account.

There are no composition rules, because they make passwords worse. The list of common passwords comes from the frequency
lists of zxcvbn (MIT license). It has no passwords of under eight characters, which the minimum length rejects.
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
from functools import lru_cache, partial
from importlib.resources import files
from urllib.parse import urlsplit

from gatewright import event_kinds
from gatewright.auth.passwords.hashing import MAX_PASSWORD_LENGTH, PasswordHashing, normalize_password
from gatewright.clock import Clock, SystemClock
from gatewright.errors import ConfigurationError, FieldError
from gatewright.events import EventSink, Severity, emitter

FIRST_TRIED = 1_000
"""The most frequent passwords, which are also rejected with digits or punctuation around them."""

MAX_AROUND = 6
"""Maximum number of digits and punctuation characters around a frequent password that are ignored."""

_LEET_COMMON = str.maketrans("01345@$!", "oleasasi")
_CORE = re.compile(r"^[\W\d_]*(.*?)[\W\d_]*$", re.DOTALL)


def is_common(password: str) -> bool:
    """Whether the password is on the list, ignoring case, or is a very frequent one with little around it."""
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


MAX_RESPONSE = 1_048_576
"""Maximum bytes of a response that are read."""


class BreachedPasswords:
    """Checks passwords with a range service. If the service is unavailable, passwords are accepted.

    Args:
        url: the range URL, HTTPS unless the service is local. The first five hex digits of the SHA-1 are appended.
        timeout: seconds to wait for a response.
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
        """Whether the password appeared in a data breach."""
        digest = hashlib.sha1(normalize_password(password), usedforsecurity=False).hexdigest().upper()
        try:
            response = await asyncio.get_running_loop().run_in_executor(self._pool, self._fetch, digest[:5])
        except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
            self._emit(event_kinds.AUTH_BREACHED_PASSWORDS_UNAVAILABLE, Severity.WARNING, fault=type(error).__name__)
            return False
        return _contains(response, digest[5:])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, prefix: str) -> str:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url + prefix, headers={"Add-Padding": "true", "User-Agent": "gatewright"}
        )
        with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
            return str(response.read(MAX_RESPONSE).decode("ascii", "replace"))


def _contains(response: str, suffix: str) -> bool:
    """Whether a line ``SUFFIX:COUNT`` has this suffix and a count above 0. Padding lines have 0."""
    found = False
    for line in response.splitlines():
        name, _, count = line.strip().partition(":")
        if hmac.compare_digest(name.upper().encode(), suffix.encode()) and count.strip().isdecimal():
            found = found or int(count[:12]) > 0
    return found


HINT = "Three or four unrelated words, or a generated password, are strong. Symbols are not required."

BreachCheck = Callable[[str], Awaitable[bool]]
"""Whether a password appeared in a data breach."""

_LEET = str.maketrans("0134578@$!+", "oleastbasit")
_WORD = re.compile(r"[^\W_]+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_MAX_CONTEXT = 320
_MAX_FRAGMENTS = 96


def minimum_length(setting: int | None, *, mfa_required: bool, alone: bool) -> int:
    """The minimum length: the setting, or 8 if MFA is required, 12 for a manager built alone, and 15 otherwise."""
    if setting is not None:
        return setting
    if mfa_required:
        return 8
    return 12 if alone else 15


class PasswordPolicy:
    """Checks new passwords.

    Args:
        hashing: its threads look up common passwords.
        min_length: minimum number of characters (code points after NFKC).
        breached: also check for breached passwords.
    """

    def __init__(self, hashing: PasswordHashing, *, min_length: int = 12, breached: BreachCheck | None = None) -> None:
        self.min_length = min_length
        self._hashing = hashing
        self._breached = breached

    async def check(self, password: object, *, words: Iterable[str] = (), field: str = "password") -> list[FieldError]:
        """The problems of a password, as errors of ``field``. Empty if the password is acceptable.

        Args:
            password: any value; anything but text is an error.
            words: words that must not make up the password, such as the email address and the company name.
        """
        refuse = partial(_error, field)
        if not isinstance(password, str) or not password:
            return [refuse("PASSWORD_MISSING", "A password is required.")]
        if len(password) > MAX_PASSWORD_LENGTH:
            return [refuse("PASSWORD_TOO_LONG", f"The password is too long: at most {MAX_PASSWORD_LENGTH} characters.")]
        text = unicodedata.normalize("NFKC", password)
        if len(text) < self.min_length:
            return [refuse("PASSWORD_TOO_SHORT", f"The password needs at least {self.min_length} characters. {HINT}")]
        if is_built_from(text, words):
            return [refuse("PASSWORD_CONTEXT", f"The password is built from your email or company name. {HINT}")]
        if is_sequence(text):
            return [refuse("PASSWORD_PATTERN", f"The password is a repetition or a sequence. {HINT}")]
        if await self._hashing.run(lambda: is_common(text)):
            return [refuse("PASSWORD_COMMON", f"The password is on lists of common passwords. {HINT}")]
        if self._breached is not None and await self._breached(password):
            return [refuse("PASSWORD_BREACHED", f"The password appeared in a data breach of another service. {HINT}")]
        return []


def is_built_from(password: str, words: Iterable[str]) -> bool:
    """Whether a password is built from ``words``: an email address, a company name, or their parts and initials.

    Case, digits, punctuation, accents, leetspeak and reversal are ignored, and so are up to three other letters. A
    phrase that merely contains one of the words is acceptable.
    """
    fragments = _fragments(words)
    if not fragments:
        return False
    digits = sum(character.isdigit() for character in password)
    plain = unicodedata.normalize("NFKC", password).casefold()
    for spelling in {_letters(plain), _letters(plain.translate(_LEET))}:
        for text in (spelling, spelling[::-1]):
            if _is_covered(text, fragments, digits):
                return True
    return False


def _fragments(words: Iterable[str]) -> list[str]:
    """The words, their initials, and each text without its spaces; letters only, at least two each."""
    found: dict[str, None] = {}
    for text in words:
        folded = unicodedata.normalize("NFKC", text[:_MAX_CONTEXT]).casefold()
        for spelling in (folded, folded.translate(_UMLAUTS)):
            parts = _WORD.findall(spelling)
            joined = ["".join(part[0] for part in parts), "".join(parts)] if len(parts) > 1 else []
            for part in (*joined, *parts):
                found[_letters(part)] = None
                found[_letters(part.translate(_LEET))] = None
    return [fragment for fragment in found if len(fragment) >= 2][:_MAX_FRAGMENTS]


def _letters(text: str) -> str:
    """The letters of a text without accents."""
    decomposed = unicodedata.normalize("NFKD", text).translate(_LETTERS)
    return "".join(character for character in decomposed if character.isalpha())


def _is_covered(text: str, fragments: list[str], digits: int) -> bool:
    """Whether the fragments cover all but three letters of ``text``, and too much of it for a coincidence."""
    best = [0] * (len(text) + 1)  # best[n]: letters of text[:n] that fragments can cover
    longest = 0
    for end in range(1, len(text) + 1):
        best[end] = best[end - 1]
        for fragment in fragments:
            if text.endswith(fragment, 0, end):
                longest = max(longest, len(fragment))
                best[end] = max(best[end], best[end - len(fragment)] + len(fragment))
    covered = best[-1]
    rest = len(text) - covered
    if not covered or rest >= 4:
        return False
    return longest >= 4 or (covered >= 3 * rest and (covered >= 6 or digits <= 8))


def is_sequence(password: str) -> bool:
    """Whether a password repeats itself (``abcabcabc``, ``secretsecret``) or is a sequence (``456789``)."""
    text = password.casefold()
    sizes = range(1, max(4, len(text) // 2) + 1)
    if any(text == (text[:size] * (len(text) // size + 1))[: len(text)] for size in sizes):
        return True
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(text)}
    return steps in ({1}, {-1}) or _wraps_around(text)


def _wraps_around(text: str) -> bool:
    """Whether digits count up and start over: ``123456789012``."""
    if not text.isdecimal() or not text.isascii():
        return False
    return all((int(after) - int(before)) % 10 == 1 for before, after in itertools.pairwise(text))


def _error(field: str, error_type: str, message: str) -> FieldError:
    return FieldError(field=field, error_type=error_type, message=message)
