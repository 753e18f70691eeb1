"""Text decoding for inspection, in every charset that an application might use."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from gatewright.web.problems import Problem

_LATIN = {1: 1, 2: 2, 3: 3, 4: 4, 5: 9, 6: 10, 7: 13, 8: 14, 9: 15, 10: 16}
_SINGLE_BYTE = {
    **{f"iso8859{n}": f"iso8859-{n}" for n in (*range(1, 12), 13, 14, 15, 16)},
    **{f"{prefix}{n}": f"iso8859-{part}" for n, part in _LATIN.items() for prefix in ("latin", "l")},
    **{f"{prefix}{n}": f"cp{n}" for n in range(1250, 1259) for prefix in ("windows", "cp")},
    **{f"{prefix}{n}": f"cp{n}" for n in (437, 850, 852, 858, 866) for prefix in ("ibm", "cp")},
    "windows874": "cp874",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "macintosh": "mac-roman",
}
_CODECS = {
    "utf8": "utf-8",
    "usascii": "ascii",
    "ascii": "ascii",
    **{
        f"utf{bits}{order}": f"utf-{bits}" + (f"-{order}" if order else "")
        for bits in (16, 32)
        for order in ("", "le", "be")
    },
    **_SINGLE_BYTE,
}
"""Supported codecs by name without punctuation. A table, because Python caches every codec name it looks up."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SPACE = b" \t\r\n"
_EBCDIC_XML = b"\x4c\x6f\xa7\x94"
_DECLARATION = 1_024
"""Maximum characters of an XML declaration."""

_XML_ENCODING = re.compile(r"""encoding\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""")

_BINARY = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0C, 0x0D, 0x1B})
"""Control characters that never occur in text. Any sizable compressed image contains some."""

_LETTER = re.compile(rb"[A-Za-z]")
_NOT_TEXT = (b"\x89PNG", b"\xff\xd8\xff")
_WIDE_STARTS = tuple(
    letter.encode(wide) for letter in "<{[" for wide in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
)


def is_utf8(charset: str) -> bool:
    """Whether a charset name means UTF-8."""
    return charset.strip().lower() in ("utf-8", "utf8")


def refuse_other_charset(what: str, charset: str, value: Any) -> None:
    """Refuse UTF-8 content declared as another charset, unless both are compatible with ASCII.

    Raises:
        Problem: 400.
    """
    codec = _codec(charset)
    if codec == "utf-8" or (not is_wide(codec) and _is_ascii(value)):
        return
    raise Problem(
        400,
        "INVALID_ENCODING",
        f"{what} must be UTF-8, but Content-Type declares {codec}. Encode and declare it as UTF-8.",
    )


def _is_ascii(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return value.isascii()
    return all(_is_ascii(item) for item in value) if isinstance(value, Iterable) else True


def is_wide(codec: str | None) -> bool:
    """Whether a codec is UTF-16 or UTF-32."""
    return codec is not None and codec.startswith(("utf-16", "utf-32"))


def read_text(data: bytes, charset: str | None = None, *, wide: bool = True) -> str | list[str]:
    """Decode text as the application may: one string, or a list of every plausible reading.

    Byte order mark, ``charset`` and XML declaration must agree. Text that declares no charset is UTF-8, or Latin-1 if
    it is not valid UTF-8.

    Args:
        data: the bytes.
        charset: the charset declared by ``Content-Type``.
        wide: whether to accept UTF-16 and UTF-32.

    Raises:
        Problem: 400 for an unknown charset, conflicting declarations, or bytes that are invalid in the charset.
    """
    declared = None if charset is None else _codec(charset)
    marked, rest = _mark(data)
    if rest.lstrip(_SPACE).startswith(_EBCDIC_XML):
        raise _unknown("EBCDIC")
    found = marked or declared
    if found is None and wide and b"\0" in rest:
        found = _guess_wide(rest)
    if is_wide(found):
        if not wide:
            raise Problem(
                400, "INVALID_ENCODING", "Text must be UTF-8, or declare a single-byte charset. Encode it as UTF-8."
            )
        certain = marked in ("utf-16-le", "utf-16-be")
        readings = _wide_readings(rest, found or "", certain=certain)
    else:
        readings = []
    head = readings[0][:_DECLARATION] if readings else rest[:_DECLARATION].decode("latin-1")
    in_xml = _xml_encoding(head)
    _check_agreement(declared, marked, in_xml, found)
    if not readings:
        readings = _narrow_readings(rest, found or in_xml)
    if b"\x1b" in rest:  # browsers still detect ISO-2022-JP, in which escape sequences vanish
        readings.append(rest.decode("iso2022_jp", "ignore"))
    unique = list(dict.fromkeys(readings))
    return unique[0] if len(unique) == 1 else unique


def _codec(charset: str) -> str:
    key = charset.strip().lower()
    codec = _CODECS.get("".join(char for char in key[:40] if char.isalnum())) if len(key) <= 40 else None
    if codec is None:
        raise _unknown("the declared charset")
    return codec


def _unknown(what: str) -> Problem:
    return Problem(
        400,
        "INVALID_ENCODING",
        f"Unsupported charset: {what}. UTF-8, ISO-8859 and Windows code pages are allowed. Encode the text as UTF-8.",
    )


def _mark(data: bytes) -> tuple[str | None, bytes]:
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return codec, data[len(mark) :]
    return None, data


def _guess_wide(data: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 without a mark by the position of zero bytes. None if they are too few or scattered."""
    if not _LETTER.search(data):
        return None
    quarter = len(data) // 4
    zeros = [data[start::4].count(0) for start in range(4)]
    if quarter and sum(count >= quarter * 0.9 for count in zeros) == 3:
        return "utf-32-be" if zeros[0] > zeros[3] else "utf-32-le"
    even, odd, half = zeros[0] + zeros[2], zeros[1] + zeros[3], len(data) / 2
    if max(even, odd) < half * 0.5 or min(even, odd) > half * 0.1:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _wide_readings(data: bytes, codec: str, *, certain: bool) -> list[str]:
    """The readings of UTF-16 or UTF-32; unless ``certain``, also the bare single-byte letters."""
    if codec in ("utf-16", "utf-32"):  # big endian by RFC 2781, little endian by WHATWG and Windows
        likely = _guess_wide(data) or f"{codec}-le"
        orders = sorted((f"{codec}-le", f"{codec}-be"), key=lambda order: order != likely)
    else:
        orders = [codec]
    readings = [data.decode(order, "replace") for order in orders]
    return readings if certain else [*readings, data.replace(b"\0", b"").decode("latin-1")]


def _narrow_readings(data: bytes, codec: str | None) -> list[str]:
    if codec in ("utf-8", "ascii"):
        try:
            return [data.decode(codec)]
        except UnicodeDecodeError as wrong:
            raise Problem(
                400,
                "INVALID_ENCODING",
                f"Invalid {codec.upper()}: the text declares it, but byte {wrong.start} is not valid. "
                "Declare the actual charset, or encode the text as UTF-8.",
            ) from None
    if codec is None:
        try:
            return [data.decode("utf-8")]
        except UnicodeDecodeError:
            # An application may read it as Latin-1, or drop invalid bytes, which joins the text around them.
            bare = [data.replace(b"\0", b"").decode("latin-1")] if b"\0" in data else []
            return [*_narrow_readings(data, "iso8859-1"), data.decode("utf-8", "ignore"), *bare]
    if codec == "iso8859-1":
        return [data.decode("cp1252", "latin1_rest")]
    return [data.decode(codec, "replace")]


def _latin1_rest(error: UnicodeError) -> tuple[str, int]:
    """Decode the five bytes that windows-1252 leaves undefined as control characters, as in Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("latin1_rest", _latin1_rest)  # browsers decode Latin-1 as windows-1252 (WHATWG)


def _xml_encoding(head: str) -> str | None:
    """The codec named in an XML declaration, if any.

    Raises:
        Problem: 400 for an unknown charset, or a declaration without a readable end or encoding.
    """
    head = head.lstrip()
    if not head.startswith("<?xml") or head[5:6].isalnum() or head[5:6] in ("-", "_", ":", "."):
        return None
    end = head.find("?>")
    declaration = head[: end if end >= 0 else None]
    named = _XML_ENCODING.search(declaration)
    if end < 0 or (named is None and "encoding" in declaration):
        raise Problem(
            400,
            "INVALID_ENCODING",
            f"Malformed XML declaration: it must end within {_DECLARATION:,} characters and look like "
            '<?xml version="1.0" encoding="UTF-8"?>. Let your XML library write it.',
        )
    return None if named is None else _codec(named[1] or named[2] or "")


def _check_agreement(declared: str | None, marked: str | None, in_xml: str | None, found: str | None) -> None:
    charsets = {name.removesuffix("-le").removesuffix("-be") for name in (declared, marked, in_xml, found) if name}
    if len(charsets) > 1:
        _refuse_conflict(sorted(charsets))
    orders = {name for name in (declared, marked, in_xml) if name and name.endswith(("-le", "-be"))}
    if len(orders) > 1:
        _refuse_conflict(sorted(orders))


def _refuse_conflict(names: list[str]) -> NoReturn:
    raise Problem(
        400,
        "INVALID_ENCODING",
        f"Conflicting charsets {' and '.join(names)}: Content-Type, byte order mark and XML declaration must agree. "
        "Declare the actual charset.",
    )


def looks_like_text(data: bytes) -> bool:
    """Whether undeclared bytes may be read as text: markup, or letters without any binary control character.

    Follows WHATWG MIME Sniffing, but scans the whole body, so that padding at the start hides nothing.
    """
    if data.startswith(_NOT_TEXT):
        return False
    marked, rest = _mark(data)
    if is_wide(marked):
        text = rest.decode(marked or "", "ignore").lstrip()
        return text[:1] in ("<", "{", "[") or (
            any(char.isascii() and char.isalpha() for char in text[:65_536])
            and not any(c in text for c in "\0\x01\x02\x03")
        )
    start = rest.lstrip(_SPACE)
    if start.startswith((b"<", _EBCDIC_XML, *_WIDE_STARTS)):
        return True
    return _LETTER.search(start) is not None and len(data.translate(None, _BINARY)) == len(data)
