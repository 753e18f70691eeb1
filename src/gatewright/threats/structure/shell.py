"""Shell structure: a known command where a shell would run it.

A command is behind a separator (``;``, ``|``, ``&``, a line end) or opens a substitution (``$(``, a backtick,
``<(``). Its word is put together first: quotes, back-slashes, carets, empty expansions and the directory go, and so
do words that only carry another command (``sudo``, ``then``). Prose has such words too ("salt & sort"), so what
follows must look like the arguments of a command, or like its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

PLAIN = frozenset(
    (
        "whoami uname ifconfig ipconfig netstat nslookup wget curl ncat netcat bash zsh ksh powershell pwsh "
        "certutil bitsadmin mshta rundll32 regsvr32 systeminfo tasklist printenv busybox socat xxd base64 crontab "
        "phpinfo tracert traceroute useradd adduser usermod chmod chown mkfifo telnet tftp ftp rm mv nc ls dir id "
        "tac pwd ps python2 python3 cmd ping ssh scp dig lsof sudo env wmic schtasks netsh iwr iex findstr fsutil "
        "icacls hostname passwd killall openssl gcc od xargs egrep grep awk sed getent vssadmin cscript wscript "
        "bcdedit attrib takeown nltest dsquery usleep sysctl dmesg lsblk umount dd mknod nohup md5sum sha1sum "
        "lastlog lscpu lspci systemctl iptables tcpdump strace rsync arp whois logname bzip2 gzip gunzip pkill "
        "pgrep chsh chpasswd visudo runas psexec sigverif driverquery"
    ).split()
)
"""Words that hardly begin a sentence."""

WORDY = frozenset(
    (
        "cat type find sort more less head tail tee cut test set echo printf sleep timeout touch cp copy del "
        "erase move ren start stop net host mail last who top date time make tar zip unzip at eval exec source su "
        "sh export wc tr df du cd look which read print shutdown ver expr reboot halt calc notepad fetch nmap "
        "mysql sqlite3 vi vim nano man history route service ss users groups strings diff reg query call ed wall "
        "screen python ruby perl php lua node finger kill vol mount sc rev nl"
    ).split()
)
"""Words that are also plain English: these need an argument."""

KNOWN = PLAIN | WORDY

CARRIERS = frozenset(
    ("sudo time command builtin exec eval nohup env then do else nice ionice stdbuf setsid doas start call").split()
)
"""Words behind which another command is."""


EXPANSIONS = 64
"""Names and settings of one text that are examined."""

_GLOB = re.compile(r"/([a-z]{0,8}[?\[*][\w?*\[\]]{0,12})/{1,3}([\w?*\[\]-]{1,24})", re.IGNORECASE)
_WILD = re.compile(r"[?\[*]")
_DIRECTORIES = frozenset(("bin sbin usr etc var tmp dev proc home root opt").split())
_SET = re.compile(r"(?:^|[\s;|&`({])([a-z_]\w{0,15})=(?:\$?['\"][^'\"\n]{1,80}['\"]|[^\s;|&]{1,80}+)(?=\s*[;|&])", re.I)
_USED = re.compile(r"[;|&`(]\s*(?:eval\s+)?\$\{?([a-z_]\w{0,15})", re.IGNORECASE)


def runs_expanded(text: str) -> bool:
    """Whether a path with wildcards represents one of the system's, or a variable is set and then run."""
    return ("/" in text and any(_is_of_system(*found.groups()) for found in _first(_GLOB, text))) or (
        "=" in text and "$" in text and _runs_what_it_set(text)
    )


def _is_of_system(directory: str, name: str) -> bool:
    """A bare star represents any directory, and says nothing."""
    if not directory.strip("*") or not (_WILD.search(name) or "?" in directory):
        return False
    return any(fnmatchcase(known, directory.lower()) for known in _DIRECTORIES)


def _runs_what_it_set(text: str) -> bool:
    names = {found.group(1) for found in _first(_SET, text)}
    return bool(names) and any(found.group(1) in names for found in _first(_USED, text))


def _first(expression: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return [found for _, found in zip(range(EXPANSIONS), expression.finditer(text), strict=False)]


LONGEST_WORD = 80
"""Characters in which a command's word must end."""

COMMAND_PLACES = 512
"""Separators of one text that are examined."""

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
    """Whether a known command is in command position, with arguments or an end that a shell accepts."""
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
        if places > COMMAND_PLACES:
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
    """Whether no command, but a word of letters is here, as in nearly all prose."""
    word = _WORD.match(text, begin)
    return word is None or (word.group().isalnum() and word.group().lower() not in KNOWN)


def _is_command(text: str, begin: int, known: frozenset[str], *, alone: bool) -> bool:
    """Whether one of the known words is here with arguments, or, of those that prose does not know, alone."""
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
