"""Read a text as a shell would: does a known command stand where a command is run?

A command stands behind a separator (``;``, ``|``, ``&``, a line end) or opens a substitution (``$(``, a backtick,
``<(``). Its word is put together first: quotes, back-slashes, carets, empty expansions and the directory go, and so
do words that only carry another command (``sudo``, ``then``). Prose has such words too ("salt & sort"), so what
follows must look like the arguments of a command, or like its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gatewright.threats.structure.commands import CARRIERS, KNOWN, PLAIN
from gatewright.threats.structure.expansion import runs_expanded

LONGEST_WORD = 80
"""Characters in which a command's word must end."""

PLACES = 512
"""Separators of one text that are looked at."""

CARRIED = 2
"""Words that carry a command, one behind the other."""

_OPENS = re.compile(r"[;|\n&]|(?<!`)`(?!`)|\$\(|[<>]\(|%0[aA]|(?<![\w$])\$(?=['\"])")
_SIGNS = re.compile(r"[;|\n&`$<>%]")
"""What an opening begins with: a search for single signs is six times as fast as one for openings."""

_FENCE = re.compile(r"```.{0,4000}?(?:```|$)", re.DOTALL)
_TABLE = re.compile(r"\|\s?:?--")
_MENTION = re.compile(r"`[\w./-]{1,40}`")
_SKIP = re.compile(r"(?:[\s;|&({!`]|\$\()*")
_EMPTY = re.compile(r"\$@|\$\{?[*@!#]\}?|``|''|\"\"|\$\(\)|\$[a-z0-9](?![\w(])|\$(?=['\"])")
_SPACE_BY_NAME = re.compile(r"\$\{?IFS(?:%\?\?)?\}?(?:\$\d)?", re.IGNORECASE)
_PLUS_BY_SIGN = re.compile(r"[;|&`]\w{0,12}\+|\+[;|&`]")
_UNBROKEN = re.compile(r"\S+")
_WORD = re.compile(r"[^\s;|&()<>`{},%]{1,80}")
_END = re.compile(r"\s*(?:$|[;|&`)<>}\n#]|%00|\\n)")
_ARGUMENT = re.compile(
    r"(?:\s+|\s*(?=[<$]|%[a-zA-Z]{2,20}%)|,(?=[-/.~$]))(?:--?[a-zA-Z]|/|\\\\|\.{1,2}(?:/|\s|$)|~|\$|\*|%|@|\d|"
    r"['\"]?[/.$~]|['\"]?[\w.-]+\.\w|\w+://|[a-zA-Z]:[\\/]|\w+[/=]|[\w+]+\s+[/\-~.]|https?:|ftp:|<|>|"
    r"['\"][^'\"]*['\"]\s*(?:$|[;|&`)>]))"
)
_FEW_WORDS = re.compile(r"(?:\s+[\w+.:-]+){1,3}\s*(?:[;|&`)<>]|$)|\s+['\"][^'\"]{0,80}['\"]")
_OF_PROGRAMS = re.compile(r"(?:bin|system32)[/\\]+[^/\\]+$", re.IGNORECASE)
_QUOTES = {ord(sign): None for sign in "'\"^\\"}


def runs_command(text: str) -> bool:
    """Whether a known command stands in the place of a command, with arguments or an end that a shell would take."""
    return runs_expanded(text) or _stands_in_place(_as_read(text))


def _as_read(text: str) -> str:
    """Blanks by other names as blanks; fences, mentions in prose and tables, where nothing runs, put aside."""
    if "$" in text:
        text = _SPACE_BY_NAME.sub(" ", text)
    if "+" in text and _PLUS_BY_SIGN.search(text):
        text = _UNBROKEN.sub(_without_plus, text)
    if "`" in text:
        text = _MENTION.sub(" ", _FENCE.sub(" ", text))
    if "|" in text and _TABLE.search(text):
        text = text.replace("|", " ")
    return text


def _without_plus(found: re.Match[str]) -> str:
    piece = found.group()
    return piece.replace("+", " ") if "+" in piece and _PLUS_BY_SIGN.search(piece) else piece


def _stands_in_place(text: str) -> bool:
    as_written = "$" not in text and "''" not in text and '""' not in text
    seen = -1
    places = 0
    for sign in _SIGNS.finditer(text):
        if sign.start() < seen:
            continue
        opening = _OPENS.match(text, sign.start())
        if opening is None:
            continue
        places += 1
        if places > PLACES:
            return False
        of_line = opening.group() == "\n"
        for number, begin in enumerate(_places_of_word(text, opening.end())):
            prose = begin == seen or (as_written and _is_other_word(text, begin))
            known = PLAIN if of_line or number else KNOWN
            if not prose and _is_command(text, begin, known, alone=not of_line):
                return True
            seen = begin
    return False


def _places_of_word(text: str, begin: int) -> Iterator[int]:
    """Behind blanks and signs that group, and then behind each word that carries a command."""
    for _ in range(1 + CARRIED):
        skipped = _SKIP.match(text, begin)
        begin = skipped.end() if skipped else begin
        yield begin
        word = _WORD.match(text, begin)
        if word is None or word.group().lower() not in CARRIERS or not text[word.end() : word.end() + 1].isspace():
            return
        begin = word.end()


def _is_other_word(text: str, begin: int) -> bool:
    """Whether no command, but a word of letters stands here, as in nearly all prose."""
    word = _WORD.match(text, begin)
    return word is None or (word.group().isalnum() and word.group().lower() not in KNOWN)


def _is_command(text: str, begin: int, known: frozenset[str], *, alone: bool) -> bool:
    """Whether one of the known words stands here with arguments, or, of those that prose does not know, alone."""
    piece = text[begin : begin + LONGEST_WORD]
    word = _WORD.match(_EMPTY.sub("", piece)) if "$" in piece or "''" in piece or '""' in piece else _WORD.match(piece)
    if word is None:
        return False
    written = word.group()
    bare = written.translate(_QUOTES)
    name = bare.rsplit("/", 1)[-1].rsplit("\\", 1)[-1].lower().removesuffix(".exe")
    if name not in known:
        return False
    rest = piece[piece.find(written) + len(written) :] if written in piece else _EMPTY.sub("", piece)[word.end() :]
    if name in PLAIN and (bare != written or _OF_PROGRAMS.search(bare)):
        return True
    if _ARGUMENT.match(rest):
        return True
    if not alone or name not in PLAIN or written.istitle():
        return False
    return _END.match(rest) is not None or _FEW_WORDS.match(rest) is not None
