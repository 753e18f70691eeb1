"""Checkpoints in C2SP format."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, strategies as st

from gatewright.errors import ValidationError
from gatewright.monitoring import CheckpointSigner, note_in, read_checkpoint, signed_by

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SIGNER = CheckpointSigner("example.com/log", bytes(range(32)))
NOTE = SIGNER.sign(7, bytes(32), AT).note

# The example key and note of the C2SP signed-note specification and of golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_published_example_verifies() -> None:
    assert signed_by(GO_NOTE, [GO_KEY])
    assert not signed_by(GO_NOTE.replace("problem", "problen"), [GO_KEY])


def test_a_note_says_what_it_is() -> None:
    lines = NOTE.split("\n")
    assert lines[:3] == ["example.com/log", "7", base64.b64encode(bytes(32)).decode()]
    assert lines[4] == ""
    assert lines[5].startswith("— example.com/log ")
    read = read_checkpoint(NOTE)
    assert (read.origin, read.size, read.root, read.created_at) == ("example.com/log", 7, "00" * 32, AT)
    assert str(read) == NOTE
    assert signed_by(NOTE, [SIGNER.verifier_key])


def test_the_note_is_found_in_whatever_form_it_was_kept() -> None:
    as_json = msgspec.json.encode({"size": 7, "note": NOTE}).decode()
    lines = "".join(f"{msgspec.json.encode(note).decode()}\n" for note in ("an older one", NOTE))
    indented = msgspec.json.format(as_json, indent=2)
    assert {note_in(kept) for kept in (NOTE, as_json, f"{indented}\n", lines)} == {NOTE}


@pytest.mark.parametrize("kept", ["{", "{}", '{"note": 7}', '"', "{" * 5_000])
def test_json_without_a_note(kept: str) -> None:
    with pytest.raises(ValidationError, match="not a checkpoint"):
        note_in(kept)


def test_a_verifier_key_is_in_the_usual_form() -> None:
    name, key_id, key = SIGNER.verifier_key.split("+", 2)
    assert name == "example.com/log"
    assert len(key_id) == 8
    assert base64.b64decode(key)[:1] == b"\x01"


@given(st.integers(0, len(NOTE) - 2), st.characters(codec="ascii"))
def test_a_note_changed_anywhere_is_not_signed(at: int, character: str) -> None:
    changed = NOTE[:at] + character + NOTE[at + 1 :]
    if changed != NOTE:
        assert not signed_by(changed, [SIGNER.verifier_key])


def test_other_keys_do_not_count() -> None:
    other = CheckpointSigner("example.com/log", bytes(32))
    assert not signed_by(NOTE, [other.verifier_key])
    renamed = CheckpointSigner("example.com/other", bytes(range(32)))
    assert not signed_by(NOTE, [renamed.verifier_key])
    both = CheckpointSigner("example.com/log", bytes(32), previous=[bytes(range(32))])
    assert signed_by(NOTE, both.verifier_keys)
    assert not signed_by(NOTE, ["nonsense", "a+b", "example.com/log+zz+!!", SIGNER.verifier_key[:-8]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "o\n-1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n٣\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n1\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "o\n1\n!\n",
        "\n1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        NOTE + "x" * 10_000,
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_checkpoint(text)
    assert caught.value.code == "INVALID_CHECKPOINT"
    assert not signed_by(text, [SIGNER.verifier_key])


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "x" * 201])
def test_an_origin_is_one_word(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        CheckpointSigner(origin, bytes(32))
