"""SecretBox and key derivation."""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import given, strategies as st

from gatewright.encryption import SecretBox, derive_key
from gatewright.errors import DecryptionError

KEY = bytes(range(32))


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_is_sealed_opens_with_the_same_key_and_aad(plaintext: bytes, aad: bytes) -> None:
    sealed = SecretBox(KEY).seal(plaintext, aad)
    assert SecretBox(KEY).open(sealed, aad) == plaintext
    assert len(sealed) == len(plaintext) + 73


def test_every_single_bit_matters() -> None:
    box = SecretBox(KEY)
    sealed = box.seal(b"ten pieces", b"order 7")
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(DecryptionError):
            box.open(bytes(changed), b"order 7")


@pytest.mark.parametrize("length", [0, 1, 24, 56, 57, 72])
def test_a_truncated_box_is_refused(length: int) -> None:
    sealed = SecretBox(KEY).seal(b"ten pieces")
    with pytest.raises(DecryptionError):
        SecretBox(KEY).open(sealed[:length])


def test_another_key_or_aad_is_refused_with_the_same_words() -> None:
    sealed = SecretBox(KEY).seal(b"ten pieces", b"order 7")
    messages = set()
    for key, aad in ((os.urandom(32), b"order 7"), (KEY, b"order 8"), (KEY, b"")):
        with pytest.raises(DecryptionError) as caught:
            SecretBox(key).open(sealed, aad)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_sealing_twice_never_gives_the_same_bytes() -> None:
    box = SecretBox(KEY)
    assert len({box.seal(b"same") for _ in range(100)}) == 100


def test_a_box_keeps_its_key_to_itself() -> None:
    box = SecretBox(KEY)
    assert KEY.hex() not in repr(box)
    with pytest.raises(TypeError):
        pickle.dumps(box)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SecretBox(bytes(length))


def test_keys_for_different_purposes_differ_however_the_words_are_cut() -> None:
    keys = {
        derive_key(KEY, "ab", "c"),
        derive_key(KEY, "a", "bc"),
        derive_key(KEY, "abc"),
        derive_key(KEY, "abc", ""),
        derive_key(KEY),
        derive_key(bytes(32), "abc"),
    }
    assert len(keys) == 6
    assert derive_key(KEY, "abc") == derive_key(KEY, b"abc")
    assert derive_key(KEY, "abc", length=64)[:32] == derive_key(KEY, "abc")


def test_a_root_that_is_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        derive_key(b"short", "abc")
