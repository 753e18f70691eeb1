"""HTML and template structure: script, or an expression that does more than show a value.

Browsers are lenient: a slash parts attributes as a blank does, quotes may be missing, and a name may hold anything
but blanks, slashes, ``>`` and ``=``. Text that merely mentions a tag has neither handler nor scheme; a handler that
calls a named function of the page (``onclick="addToCart(5)"``) is normal page content, and is not reported either.

What templates of pages hold are names, attributes, filters and plain calls. An attack computes with literals alone
(the probe ``7*7``), reaches for the inner objects of the language, or calls something that runs commands.
"""

from __future__ import annotations

import re

TAGS = 256
"""Elements of one text that are examined."""

_TAG = re.compile(r"<[\s/]{0,8}([a-zA-Z!?][^\s/>]{0,40})")
_ATTRIBUTE = re.compile(
    r"[\s/\"'`]*([^\s/>=\"'`<]{1,60})(?:\s*=\s*(\"[^\"]{0,2000}(?:\"|$)|'[^']{0,2000}(?:'|$)|`[^`]{0,2000}(?:`|$)|[^\s>]{0,2000}))?"
)
_ATTRIBUTES = 32
_HANDLER = re.compile(r"on[a-z]{3,30}", re.IGNORECASE)
_NOISE = re.compile(r"[\x00-\x20]|&(?:tab|newline|nbsp);|/\*.{0,40}?\*/", re.IGNORECASE)
_SCHEME = re.compile(r"(?:java|vb|live)script:|data:(?:text/html|image/svg\+xml|application/x?html|text/xml)", re.I)
_LINKS = frozenset(
    (
        "href src action formaction data xlink:href background poster to from values srcdoc content code codebase "
        "dynsrc lowsrc manifest ping folder"
    ).split()
)
_PROBE = re.compile(
    r"(?:alert|prompt|confirm|print|eval|atob|fetch|import|settimeout|setinterval|execscript)\s*"
    r"(?:[(`]|\?\.|&lpar;|&#|/\*)|document\s*[.\[]|window\s*[.\[]|(?:top|self|parent|globalthis|this)\s*\[|location\s*[=.]|string\.fromcharcode|"
    r"javascript:|\\u00|\\x[0-9a-f]{2}|&#x?\d|constructor\s*[.(\[]|throw\s|onerror\s*=|new\s+image|\[\]\[|cookie|"
    r"[=,(]\s*(?:alert|prompt|confirm|eval)\b|new\s*\(?\s*function|getscript\s*\(|createelement|with\s*\(\s*document|"
    r"\.sendbeacon|xmlhttprequest|innerhtml\s*[=+]|reflect\s*\.|navigator\.vibrate|ownerdocument|defaultview|^\s*['\"`]?\s*name\b",
    re.IGNORECASE,
)


def runs_script(text: str) -> bool:
    """Whether an element has a handler that calls script at once, or leads to a scheme that is script."""
    return any(_running(text, tag) for _, tag in zip(range(TAGS), _TAG.finditer(text), strict=False))


def _running(text: str, tag: re.Match[str]) -> bool:
    place = tag.end()
    for _ in range(_ATTRIBUTES):
        found = _ATTRIBUTE.match(text, place)
        if found is None:
            return False
        place = found.end()
        name, value = found.group(1).lower(), found.group(2)
        if value and (
            (_HANDLER.fullmatch(name) and _PROBE.search(value))
            or (name in _LINKS and _SCHEME.search(_NOISE.sub("", value[:400])))
        ):
            return True
    return False


EXPRESSIONS = 128
"""Expressions of one text that are examined."""

TOKENS = 2_000
"""Tokens of them that are read together: where openings nest, the same signs are in many expressions."""

_OPENS = re.compile(r"\{\{\{?|\{%-?|\$\{\{?|#\{|<%[=-]?|@\{|@\(|\*\{|~\{|\[\[\$?\{?|\[=|%\{|\{#|\{@|\$!?\{")
_CLOSES = re.compile(r"\}\}|%\}|\}|%>|\)\s*(?=$|[^.\w(\[])|\]\]")
_LONGEST = 600
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>'[^']{0,400}'|\"[^\"]{0,400}\")|(?P<name>[A-Za-z_$@#][\w$]*)|"
    r"(?P<sign>\*\*|\?new|\?api|::|[-+*/%~|.\[\](),:=<>!&?;#\\]))"
)
_INNER = frozenset(
    (
        "constructor getclass classloader forname getruntime processbuilder runtime mainmodule child_process "
        "popen subprocess os.system system exec passthru shell_exec phpinfo eval file_get_contents readfile "
        "get_flashed_messages lipsum cycler joiner _self _context attr subclasses mro globals builtins "
        "import_module __import__ getmethod invoke newinstance getenginebyname scriptenginemanager getprototypeof "
        "defineproperty require assert call_user_func registerundefinedfiltercallback evaluate memberaccess ognl "
        "execute objectconstructor jythonruntime getwriter whoami fetchobject spawn backtick io kernel "
        "instance_eval"
    ).split()
)
_HARMLESS_ALONE = frozenset({"system", "io", "runtime", "require", "exec", "kernel", "assert", "evaluate", "execute"})
"""Of these, names that templates show too: here they must be called."""

_LITERAL_BEGINS = frozenset("0123456789'\"")

_RUN_BY_NAME = frozenset(("system exec passthru shell_exec popen call_user_func assert phpinfo").split())
"""Functions that filters are given by name."""


def runs_expression(text: str) -> bool:
    """Whether an expression computes with literals alone, or reaches for inner objects or commands."""
    left = TOKENS
    for count, opening in enumerate(_OPENS.finditer(text)):
        if count >= EXPRESSIONS or left <= 0:
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
    """Literals with an operator between them, and no name. Minus and slash are in dates and networks too."""
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
