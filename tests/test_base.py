"""The bottom layer: records, errors, events, clocks."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from gatewright import errors
from gatewright.clock import ManualClock, SystemClock
from gatewright.errors import FieldError, SecurityError
from gatewright.events import FanOut, ListSink, NullSink, event, new_event_id
from gatewright.records import Record


class Sample(Record, frozen=True, kw_only=True):
    name: str
    at: datetime | None = None


def test_a_record_is_read_by_attribute_and_by_key() -> None:
    sample = Sample(name="x")
    assert sample.name == sample["name"] == sample.get("name") == dict(sample)["name"] == "x"
    assert "name" in sample and "other" not in sample and sample.get("other", 1) == 1
    assert list(sample) == list(sample.keys()) == ["name", "at"]
    with pytest.raises(KeyError):
        sample["other"]
    with pytest.raises(KeyError):
        sample["to_dict"]
    with pytest.raises(AttributeError):
        sample.name = "y"


def test_a_record_becomes_plain_values_with_its_times_kept() -> None:
    now = datetime.now(UTC)
    assert Sample(name="x", at=now).to_dict() == {"name": "x", "at": now}
    assert msgspec.structs.replace(Sample(name="x"), name="y").name == "y"


def test_every_error_has_a_code_a_category_a_status_and_an_action() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, SecurityError)]
    categories = {"authentication", "authorization", "threat", "encryption", "storage", "validation", "configuration"}
    for kind in kinds:
        made = kind("What is wrong.", context={"manufacturer_id": "mfr_1"}, request_id="r1")
        assert made.code.isupper() and made.category in categories and 400 <= made.http_status < 600
        assert made.recommended_action.endswith(".") and made.timestamp.tzinfo is UTC
        assert (made.message, str(made), made.request_id) == ("What is wrong.", "What is wrong.", "r1")
        assert made.manufacturer_id == made.context["manufacturer_id"] == "mfr_1"


def test_the_tree_of_errors_is_the_contracts() -> None:
    assert issubclass(errors.TokenRevokedError, errors.InvalidTokenError)
    assert issubclass(errors.AccountLockedError, errors.AuthenticationError)
    assert issubclass(errors.QuotaExceededError, errors.AuthorizationError)
    assert issubclass(errors.DuplicateAccountError, errors.ValidationError)
    assert issubclass(errors.DecryptionError, errors.EncryptionError)
    assert issubclass(errors.StoreUnavailableError, errors.StorageError)
    assert not issubclass(errors.RateLimitExceededError, errors.AuthenticationError)


def test_errors_that_end_by_waiting_say_how_long() -> None:
    assert errors.AccountLockedError("locked", retry_after=12).retry_after == 12.0
    assert errors.RateLimitExceededError("slow down", retry_after=-1).retry_after == 0.0


def test_an_unknown_attribute_of_an_error_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="quota"):
        _ = SecurityError("x").quota
    assert pickle.loads(pickle.dumps(SecurityError("x"))).message == "x"


def test_validation_errors_list_their_fields() -> None:
    field = FieldError(field="email", error_type="INVALID_EMAIL_FORMAT", message="No @ in it.")
    assert errors.ValidationError("Correct it.", errors=[field]).errors == [field]


def test_event_ids_sort_by_time_and_are_version_7() -> None:
    ids = [new_event_id() for _ in range(1000)]
    assert len(set(ids)) == 1000 and all(len(i) == 32 and i[12] == "7" and i[16] in "89ab" for i in ids)
    assert [i[:12] for i in ids] == sorted(i[:12] for i in ids)


def test_events_go_to_every_sink() -> None:
    one, two = ListSink(), ListSink()
    fan = FanOut(one, NullSink())
    fan.add(two)
    fan.emit(event("auth:login:failed", manufacturer_id="m", attempts=3))
    assert one.kinds() == two.kinds() == ["auth:login:failed"]
    assert one.events[0].data == {"attempts": 3} and one.events[0].timestamp.tzinfo is UTC


def test_a_manual_clock_stands_until_it_is_turned() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    before = clock.monotonic()
    clock.advance(30, minutes=1)
    assert clock.now() == datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)
    assert clock.timestamp() == clock.now().timestamp() and clock.monotonic() - before == 90
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now().year == 2020 and clock.monotonic() - before == 90


def test_the_system_clock_is_utc_and_monotonic() -> None:
    clock = SystemClock()
    assert abs(clock.now().timestamp() - clock.timestamp()) < 5
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()


def test_importing_the_package_loads_none_of_the_heavy_libraries() -> None:
    heavy = "fastapi, pydantic, numpy, sklearn, structlog, hyperscan, webauthn, phonenumbers, cryptography"
    code = f"import sys, gatewright; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
