"""Path and LDAP-filter structure: a value that escapes its place.

Separators may be slashes or back-slashes, doubled, with single dots between them, written ``..;/`` or encoded twice.
A relative link in documentation (``../images/logo.png``) leaves a directory too, so one step out is no finding by
itself: two are where nothing but the path is in the value, and any step is before a file of the system.
"""

from __future__ import annotations

import re

LONGEST_FILTER = 4_096
"""Characters that are read."""

_PARENTHESIS = re.compile(r"[()]")
_CONDITION = re.compile(r"\(\s*[a-zA-Z][\w.;-]{0,40}\s*(?:[~<>]?=|:[\w.:]{0,40}=)")
_OPERATOR = re.compile(r"\(\s*[&|!]\s*(?:\(|$)|\(\s*[&|]\s*\w*\s*=?")
_ENDS = re.compile(r"\)+\s*(?:%00|\x00)")


def breaks_filter(text: str) -> bool:
    """Whether a parenthesis closes more than was open and a condition, an operator or a null byte follows."""
    text = text[:LONGEST_FILTER]
    depth = 0
    for found in _PARENTHESIS.finditer(text):
        depth += 1 if found.group() == "(" else -1
        if depth < 0:
            behind = text[found.end() :].lstrip(")")
            return bool(_CONDITION.match(behind) or _OPERATOR.match(behind) or _ENDS.match(text[found.start() :]))
    return False


_LONGEST_ALONE = 160
PLACES = 256
"""Paths of one text that are examined."""

_PATH = re.compile(r"[^\s\"'<>|,()\[\]{}]{2,512}")
_SEPARATOR = re.compile(r"(?:[/\\]|%2f|%5c|%252f|%255c|%c0%af|%c1%9c|;(?=[/\\]))+", re.IGNORECASE)
_DOTS = re.compile(r"(?:\.|%2e|%252e|%c0%ae|%00(?=\.)){2}(?:%00)?;?|\.{4}", re.IGNORECASE)

_SECRETS = frozenset(
    (
        "passwd shadow gshadow master.passwd sudoers win.ini boot.ini system.ini web.config web.xml .htaccess "
        ".htpasswd id_rsa id_dsa id_ecdsa id_ed25519 authorized_keys .bash_history .env wp-config.php hosts issue "
        "group environ cmdline httpd.conf apache2.conf nginx.conf php.ini my.cnf sam system32 winnt access.log "
        "error.log access_log error_log known_hosts .git .ssh .aws credentials config.php configuration.php "
        "settings.php database.yml web-inf crontab fstab hostname resolv.conf motd version mounts self global.asa "
        "autoexec.bat cmd.exe etc proc"
    ).split()
)

_ODD_STEP = re.compile(r"^[./\\]*(?:/\.\.\\|\\\.\.//?|\.\.//+|\.\./\\|\.\.\\/|\.\.\\\\|\.{3,}[/\\])[./\\]*(?:[\w{]|$)")
"""A step up in a form that only a filter misreads: no real link looks like that."""


def leaves_its_root(text: str) -> bool:
    """Whether a path in the text climbs over its own start to a file of the system, or climbs far."""
    stripped = text.strip()
    if len(stripped) <= _LONGEST_ALONE and _ODD_STEP.match(stripped):
        return True
    for count, found in enumerate(_PATH.finditer(text)):
        if count >= PLACES:
            return False
        piece = found.group()
        if ".." not in piece and "%" not in piece:
            continue
        depth, secret = _resolved(piece.rpartition("=")[2] or piece)
        if depth < 0 and secret:
            return True
        if depth <= -3 or (depth <= -2 and piece == stripped):
            return True
    return False


def _resolved(path: str) -> tuple[int, bool]:
    """How deep below its start the path goes at its least, and whether it names a file of the system."""
    depth, least, secret = 0, 0, False
    for part in _SEPARATOR.split(path):
        if not part or part == ".":
            continue
        if _DOTS.fullmatch(part):
            depth -= 1
            least = min(least, depth)
            continue
        depth += 1
        name = part.lower().partition("%00")[0].partition("\0")[0].partition("?")[0]
        secret = secret or name in _SECRETS
    return least, secret
