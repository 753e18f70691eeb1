"""Types survive serialization."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gatewright.encryption import MAX_DEPTH, deserialize, serialize
from gatewright.errors import DecryptionError, ValidationError

OFFSETS = st.builds(dt.timezone, st.integers(-1439, 1439).map(lambda m: dt.timedelta(minutes=m)))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.times(),
    st.times(timezones=OFFSETS),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.datetimes(min_value=dt.datetime(2, 1, 1), max_value=dt.datetime(9998, 1, 1), timezones=OFFSETS),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
HASHABLE = st.one_of(st.integers(-(2**70), 2**70), st.text(), st.dates(), st.decimals(allow_nan=False), st.uuids())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(), inner, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.sets(HASHABLE, max_size=3),
        st.frozensets(HASHABLE, max_size=3),
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, dict):
        return [(k, type(k)) for k in left] == [(k, type(k)) for k in right] and all(
            same(left[k], right[k]) for k in left
        )
    if isinstance(left, list | tuple):
        return all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, dt.datetime | dt.time):
        return left.utcoffset() == right.utcoffset()
    return True


@given(VALUES)
def test_every_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    assert same(deserialize(serialize(value)), value)


@pytest.mark.parametrize(
    "edge", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 0, -1, 255, -256, 10**4000]
)
def test_integers_at_the_edges_of_machine_words(edge: int) -> None:
    assert deserialize(serialize({"n": edge})) == {"n": edge}


def test_what_is_no_number_stays_none() -> None:
    values = deserialize(serialize([math.nan, Decimal("NaN"), -0.0, math.inf]))
    assert math.isnan(values[0]) and values[1].is_nan() and math.copysign(1, values[2]) == -1 and values[3] == math.inf


def test_the_scale_of_a_decimal_and_the_order_of_keys_stay() -> None:
    result = deserialize(serialize({"b": Decimal("1.10"), "a": Decimal("1E+3")}))
    assert list(result) == ["b", "a"] and str(result["b"]) == "1.10" and str(result["a"]) == "1E+3"


def test_members_of_enums_and_subclasses_go_as_their_plain_values() -> None:
    class Tier(enum.StrEnum):
        FREE = "free"

    class Level(enum.Enum):
        ONE = 1

    class Count(int):
        pass

    result = deserialize(serialize({"t": Tier.FREE, "l": Level.ONE, "c": Count(3), "a": bytearray(b"x")}))
    assert result == {"t": "free", "l": 1, "c": 3, "a": b"x"}
    assert [type(v) for v in result.values()] == [str, int, int, bytes]


def test_what_has_no_form_is_named_and_refused() -> None:
    with pytest.raises(ValidationError, match="object") as caught:
        serialize({"a": [object()]})
    assert caught.value.code == "UNSUPPORTED_TYPE"
    with pytest.raises(ValidationError, match="surrogate"):
        serialize({"a": "\ud800"})


def test_nesting_is_bounded_and_a_circle_is_no_crash() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert deserialize(serialize(deep)) == deep
    with pytest.raises(ValidationError, match="deep"):
        serialize([[deep]])
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValidationError, match="deep"):
        serialize(circle)


@given(st.binary(max_size=60))
def test_other_bytes_never_crash_the_reader(payload: bytes) -> None:
    with contextlib.suppress(DecryptionError):
        deserialize(payload)


def test_ids_of_sixteen_bytes_stay_ids() -> None:
    value = uuid.UUID(int=7)
    assert deserialize(serialize((value,))) == (value,)
