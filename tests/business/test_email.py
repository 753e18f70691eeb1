"""canonical_email: equal keys for spellings of the same address."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gatewright.business import canonical_email, is_disposable_domain, skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Owner@Acme.COM", "owner@acme.com"),
        (" owner@acme.com ", "owner@acme.com"),
        ("Ünal@BÜCHER.de", "ünal@xn--bcher-kva.de"),
        ("u\u0308@acme.com", "ü@acme.com"),
    ],
)
def test_same_address(one: str, other: str) -> None:
    assert canonical_email(one) == canonical_email(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.b@acme.com", "ab@acme.com"), ("a+x@acme.com", "a@acme.com"), ("a@acme.com", "a@acme.org")],
)
def test_other_address(one: str, other: str) -> None:
    """Only the receiving domain knows the meaning of dots and tags."""
    assert canonical_email(one) != canonical_email(other)


def test_a_domain_that_cannot_be_encoded_is_folded() -> None:
    assert canonical_email("É@\u0301É..x") == canonical_email("é@\u0301é..x")


@given(st.text(max_size=60))
def test_canonical_form_is_stable(text: str) -> None:
    once = canonical_email(text)
    assert canonical_email(once) == once


def test_disposable_domains() -> None:
    assert is_disposable_domain("mailinator.com")
    assert is_disposable_domain("x.y.Mailinator.com.")
    assert not is_disposable_domain("acme.com")
    assert not is_disposable_domain("")


def test_skeleton_ignores_legal_form_and_alphabet() -> None:
    assert skeleton("Acme Corp.") == skeleton("АСМЕ GmbH") == skeleton("Acrne")
    assert skeleton("Acme") != skeleton("Acne")
    assert skeleton("Co") == "co"
