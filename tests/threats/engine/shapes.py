"""Shapes of text that are hostile to whoever reads it, to be repeated to any length."""

from __future__ import annotations

HOSTILE = (
    *("'", "%25", "../", "${", "{{", "<", "&#", "\\u", "/*", "((((", "$(", "a'b\"", "%", "select ", "union ", ";|&"),
    *("<script", "onload=", "http://", '{"$ne":', "(a=", "\r\n", "=1 or ", "&lt;", "\x00", "+", "%u0027", "é", "||"),
    *("on", "javascript:", "<!--", "]]>", "__", "0x", "char(", "..\\", "\\x41", "AAAA", " ", "1"),
)
"""Forty shapes that make parsers, decoders and matchers work hard."""
