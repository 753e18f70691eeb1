"""Read a text as a shell would: does a known command stand where a command is run?

A command stands behind a separator (``;``, ``|``, ``&``, a line end) or opens a substitution (``$(``, a backtick,
``<(``). Its word is put together first: quotes, back-slashes, carets, empty expansions and the directory go. Prose
has such words too ("salt & sort"), so what follows must look like the arguments of a command, or like its end.
"""

from __future__ import annotations

import re

from gatewright.threats.structure.words import words

LONGEST_WORD = 80
"""Characters in which a command's word must end."""

PLACES = 512
"""Separators of one text that are looked at."""

_OPENS = re.compile(r"[;|\n&]|(?<!`)`(?!`)|\$\(|[<>]\(|%0[aA]")
_SIGNS = re.compile(r"[;|\n&`$<>%]")
"""What an opening begins with: a search for single signs is six times as fast as one for openings."""

_FENCE = re.compile(r"```.{0,4000}?(?:```|$)", re.DOTALL)
_TABLE = re.compile(r"\|\s?:?--")
_MENTION = re.compile(r"`[\w./-]{1,40}`")
_SKIP = re.compile(r"(?:[\s;|&({!`]|\$\(){0,8}")
_EMPTY = re.compile(r"\$@|\$\{?[*@!#]\}?|``|''|\"\"|\$\(\)|\$[a-z0-9](?![\w(])")
_SPACE_BY_NAME = re.compile(r"\$\{?IFS(?:%\?\?)?\}?(?:\$\d)?", re.IGNORECASE)
_WORD = re.compile(r"[^\s;|&()<>`{},%]{1,80}")
_END = re.compile(r"\s*(?:$|[;|&`)<>}\n#]|%00|\\n)")
_ARGUMENT = re.compile(
    r"(?:\s+|\s*(?=[<$%])|,)(?:--?[a-zA-Z]|/|\\\\|\.{1,2}(?:/|\s|$)|~|\$|\*|%|@|\d|['\"]?[/.$~]|['\"]?[\w.-]+\.\w|\w+://|"
    r"[a-zA-Z]:[\\/]|\w+/|\w+\s+[/\-~.]|https?:|ftp:|<|>|['\"][^'\"]*['\"]\s*(?:$|[;|&`)>]))"
)
_ONE_WORD = re.compile(r"\s+\w+\s*(?:[;|&`)<>]|$)")

_PLAIN = words(
    "whoami uname ifconfig ipconfig netstat nslookup wget curl ncat netcat bash zsh ksh powershell pwsh certutil "
    "bitsadmin mshta rundll32 regsvr32 systeminfo tasklist printenv busybox socat xxd base64 crontab phpinfo tracert "
    "traceroute useradd adduser usermod chmod chown mkfifo telnet tftp ftp rm mv nc ls dir id tac nl pwd ps "
    "python python2 python3 perl ruby php lua node cmd ping ssh scp dig lsof sudo env wmic schtasks sc netsh iwr "
    "iex findstr fsutil icacls vol hostname passwd finger killall kill openssl gcc od rev xargs "
    "egrep grep awk sed getent vssadmin cscript wscript bcdedit attrib takeown nltest dsquery usleep sysctl dmesg "
    "lsblk mount umount dd mknod nohup md5sum sha1sum history"
)
"""Words that hardly begin a sentence."""

_WORDY = words(
    "cat type find sort more less head tail tee cut test set echo printf sleep timeout touch cp copy del erase move "
    "ren start stop net host mail last who top date time make tar zip unzip at eval exec source su sh export wc tr df "
    "du cd look which read print shutdown ver expr reboot halt calc notepad fetch nmap mysql sqlite3 vi "
    "vim nano man"
)
"""Words that are also plain English: these need an argument."""


_KNOWN = _PLAIN | _WORDY


def runs_command(text: str) -> bool:
    """Whether a known command stands in the place of a command, with arguments or an end that a shell would take."""
    if "$" in text:
        text = _SPACE_BY_NAME.sub(" ", text)
    if "`" in text:
        text = _MENTION.sub(" ", _FENCE.sub(" ", text))
    if "|" in text and _TABLE.search(text):
        text = text.replace("|", " ")
    as_written = "$" not in text and "''" not in text and '""' not in text
    seen = -1
    places = 0
    for sign in _SIGNS.finditer(text):
        opening = _OPENS.match(text, sign.start())
        if opening is None:
            continue
        places += 1
        if places > PLACES:
            return False
        skipped = _SKIP.match(text, opening.end())
        begin = skipped.end() if skipped else opening.end()
        prose = begin == seen or (as_written and _is_other_word(text, begin))
        if not prose and _is_command(text, begin, wordy=opening.group() != "\n"):
            return True
        seen = begin
    return False


def _is_other_word(text: str, begin: int) -> bool:
    """Whether no command, but a word of letters stands here, as in nearly all prose."""
    word = _WORD.match(text, begin)
    return word is None or (word.group().isalnum() and word.group().lower() not in _KNOWN)


def _is_command(text: str, begin: int, *, wordy: bool) -> bool:
    piece = text[begin : begin + LONGEST_WORD]
    word = _WORD.match(_EMPTY.sub("", piece)) if "$" in piece or "''" in piece or '""' in piece else _WORD.match(piece)
    if word is None:
        return False
    written = word.group()
    bare = written.translate(_QUOTES)
    name = bare.rsplit("/", 1)[-1].rsplit("\\", 1)[-1].lower().removesuffix(".exe")
    if name not in _PLAIN and not (wordy and name in _WORDY):
        return False
    rest = piece[piece.find(written) + len(written) :] if written in piece else _EMPTY.sub("", piece)[word.end() :]
    if bare != written and name in _PLAIN:
        return True
    if _ARGUMENT.match(rest):
        return True
    return wordy and name in _PLAIN and (_END.match(rest) or _ONE_WORD.match(rest)) is not None


_QUOTES = {ord(sign): None for sign in "'\"^\\"}
