"""Strict Base64 gives the same results with and without the fast library."""

from __future__ import annotations

import base64
import importlib.util
import string
import sys
from types import ModuleType

import pytest
from hypothesis import given, strategies as st

from gatewright.encryption import codec
from gatewright.errors import DecryptionError

ALPHABET = string.ascii_letters + string.digits + "+/"


def without_library() -> ModuleType:
    """The module, as if the fast library were not installed."""
    kept = sys.modules.get("pybase64")
    sys.modules["pybase64"] = None  # type: ignore[assignment]  # importing it fails
    try:
        spec = importlib.util.find_spec("gatewright.encryption.codec")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules["pybase64"]
        if kept is not None:
            sys.modules["pybase64"] = kept
    return module


@pytest.fixture(scope="module", params=["as installed", "without the library"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return codec if request.param == "as installed" else without_library()


@given(data=st.binary(max_size=200))
def test_bytes_go_out_and_come_back(module: ModuleType, data: bytes) -> None:
    text = module.to_base64(data)
    assert text == base64.b64encode(data).decode() and module.from_base64(text) == data


@given(text=st.text(alphabet=ALPHABET + "=-_ \n\0é", max_size=24) | st.text(max_size=8))
def test_whatever_is_not_the_one_text_of_its_bytes_is_refused(module: ModuleType, text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
        canonical = base64.b64encode(data).decode() == text
    except ValueError:
        canonical = False
    if canonical:
        assert module.from_base64(text) == data
    else:
        with pytest.raises(DecryptionError):
            module.from_base64(text)


def test_every_last_quantum_of_one_and_two_bytes(module: ModuleType) -> None:
    """Of the 64 possible last characters before padding, 4 or 16 are valid."""
    for start, padding, right in (("QUJD" + "A", "==", 4), ("QUJD" + "AA", "=", 16)):
        taken = 0
        for character in ALPHABET:
            try:
                module.from_base64(start + character + padding)
                taken += 1
            except DecryptionError:
                pass
        assert taken == right


@pytest.mark.parametrize(
    "wrong", [None, 5, b"QUJD", ["QUJD"], "QUJ", "QUJD=", "QUJDQ===", "QU JD", "QUJD\n", "====", "=A=="]
)
def test_other_things_are_refused(module: ModuleType, wrong: object) -> None:
    with pytest.raises(DecryptionError):
        module.from_base64(wrong)
