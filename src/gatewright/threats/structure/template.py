"""Parse the expressions of template engines: is one there that does more than show a value?

What templates of pages hold are names, attributes, filters and plain calls. An attack computes with literals alone
(the probe ``7*7``), reaches for the inner objects of the language, or calls something that runs commands.
"""

from __future__ import annotations

import re

from gatewright.threats.structure.words import words

PLACES = 128
"""Expressions of one text that are looked at."""

TOKENS = 2_000
"""Tokens of them that are read together: where openings nest, the same signs stand in many expressions."""

_OPENS = re.compile(r"\{\{\{?|\{%-?|\$\{\{?|#\{|<%[=-]?|@\{|@\(|\*\{|~\{|\[\[\$?\{?|\[=|%\{|\{#|\{@|\$!?\{")
_CLOSES = re.compile(r"\}\}|%\}|\}|%>|\)\s*(?=$|[^.\w(\[])|\]\]")
_LONGEST = 600
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>'[^']{0,400}'|\"[^\"]{0,400}\")|(?P<name>[A-Za-z_$@#][\w$]*)|"
    r"(?P<sign>\*\*|\?new|\?api|::|[-+*/%~|.\[\](),:=<>!&?;#\\]))"
)
_INNER = words(
    "constructor getclass classloader forname getruntime processbuilder runtime mainmodule child_process popen "
    "subprocess os.system system exec passthru shell_exec phpinfo eval file_get_contents readfile get_flashed_messages "
    "lipsum cycler joiner _self _context attr subclasses mro globals builtins import_module __import__ "
    "getmethod invoke newinstance getenginebyname scriptenginemanager getprototypeof defineproperty require "
    "assert call_user_func registerundefinedfiltercallback evaluate memberaccess ognl execute objectconstructor "
    "jythonruntime getwriter whoami fetchobject spawn backtick io kernel instance_eval"
)
_HARMLESS_ALONE = frozenset({"system", "io", "runtime", "require", "exec", "kernel", "assert", "evaluate", "execute"})
"""Of these, names that templates show too: here they must be called."""

_LITERAL_BEGINS = frozenset("0123456789'\"")

_RUN_BY_NAME = words("system exec passthru shell_exec popen call_user_func assert phpinfo")
"""Functions that filters are given by name."""


def runs_expression(text: str) -> bool:
    """Whether an expression computes with literals alone, or reaches for inner objects or commands."""
    left = TOKENS
    for count, opening in enumerate(_OPENS.finditer(text)):
        if count >= PLACES or left <= 0:
            return False
        body = text[opening.end() : opening.end() + _LONGEST]
        closing = _CLOSES.search(body)
        if closing is None:
            continue
        tokens = _tokens(body)
        if _computes(body[: closing.start()]) or _reaches(tokens):
            return True
        left -= len(tokens)
    return False


def _tokens(expression: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place = 0
    while len(found) < 120:
        token = _TOKEN.match(expression, place)
        if token is None:
            break
        place = token.end()
        kind = token.lastgroup or ""
        found.append((kind, token.group(kind)))
    return found


def _computes(expression: str) -> bool:
    """Literals with an operator between them, and no name. Minus and slash stand in dates and networks too."""
    expression = expression.strip().strip("()=- ")
    if expression[:1] not in _LITERAL_BEGINS:
        return False
    kinds = _tokens(expression)
    if len(kinds) < 3 or any(kind == "name" for kind, _ in kinds):
        return False
    literals = sum(kind in ("number", "text") for kind, _ in kinds)
    return literals >= 2 and any(sign in ("*", "+", "~", "**") for kind, sign in kinds if kind == "sign")


def _reaches(tokens: list[tuple[str, str]]) -> bool:
    """A name or a text among the tokens that leads to inner objects or to commands."""
    for number, (kind, said) in enumerate(tokens):
        behind = tokens[number + 1][1] if number + 1 < len(tokens) else ""
        if kind == "name":
            name = said.lower()
            if name.startswith("__") and name.endswith("__") and len(name) > 5:
                return True
            if name in _INNER and (name not in _HARMLESS_ALONE or behind == "("):
                return True
        elif kind == "text":
            inside = said[1:-1].lower()
            if inside.startswith("__") and inside.endswith("__") and len(inside) > 5:
                return True
            if inside in _RUN_BY_NAME and ("sign", "|") in tokens[:number]:
                return True
        elif kind == "sign" and said in ("?new", "?api"):
            return True
    return False
