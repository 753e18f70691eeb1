"""Streams of any length in constant memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.encryption import CHUNK_BYTES, ManufacturerEncryptionManager
from gatewright.errors import DecryptionError, InsufficientPermissionsError
from tests.encryption.conftest import ROOT

Manager = ManufacturerEncryptionManager


async def pieces(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def sealed(manager: Manager, data: bytes, size: int = 65_536) -> bytes:
    return b"".join([c async for c in manager.encrypt_stream(pieces(data, size), manufacturer_id="a", field="file")])


async def opened(manager: Manager, data: bytes, size: int = 65_536, owner: str | None = "a") -> bytes:
    stream = manager.decrypt_stream(pieces(data, size), manufacturer_id=owner, field="file")
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES * 2, 300_000])
async def test_every_length_comes_back(manager: Manager, length: int) -> None:
    data = bytes(range(251)) * (length // 251) + bytes(length % 251)
    assert await opened(manager, await sealed(manager, data)) == data


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 400), length=st.integers(0, 2000))
async def test_pieces_may_have_any_size(size: int, length: int) -> None:
    manager = Manager(ROOT)
    data = bytes(length)
    assert await opened(manager, await sealed(manager, data, size), size) == data


async def test_whatever_is_changed_cut_or_added_is_refused(manager: Manager) -> None:
    stream = await sealed(manager, bytes(CHUNK_BYTES * 2 + 10))
    head = len(stream) - (CHUNK_BYTES * 2 + 10) - 3 * 16
    chunk = CHUNK_BYTES + 16
    bodies = [stream[head : head + chunk], stream[head + chunk : head + 2 * chunk], stream[head + 2 * chunk :]]
    wrong = [stream[:-1], stream + b"x", stream[: head + chunk], stream[:head], stream[:3], b"", stream[:60]]
    wrong += [stream[:head] + b"".join(bodies[i] for i in order) for order in ([1, 0, 2], [0, 2], [0, 0, 1, 2], [2])]
    for place in [*range(0, head, 7), head + 5, len(stream) - 1]:
        changed = bytearray(stream)
        changed[place] ^= 1
        wrong.append(bytes(changed))
    for other in wrong:
        with pytest.raises(DecryptionError):
            await opened(manager, other)


async def test_owner_and_field_are_held_to(manager: Manager) -> None:
    stream = await sealed(manager, b"data")
    with pytest.raises(InsufficientPermissionsError):
        await opened(manager, stream, owner="b")
    with pytest.raises(DecryptionError):
        [c async for c in manager.decrypt_stream(pieces(stream), field="other")]
    envelope = await manager.encrypt_manufacturer_data("x", manufacturer_id="a")
    with pytest.raises(DecryptionError):
        await manager.decrypt_manufacturer_data({**envelope, "encrypted_payload": stream.decode("latin-1")})


async def test_ten_megabytes_need_the_memory_of_a_few_chunks() -> None:
    manager = Manager(ROOT)

    async def source() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield bytes(65_536)

    total = 0
    async for _ in manager.decrypt_stream(manager.encrypt_stream(pieces(b"warm"))):
        pass
    tracemalloc.start()
    async for chunk in manager.decrypt_stream(manager.encrypt_stream(source(), manufacturer_id="a")):
        total += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 160 * 65_536 and peak < 2 * 2**20


async def test_large_records_leave_the_event_loop_free() -> None:
    manager = Manager(ROOT)
    data = {"blob": bytes(4 * 2**20)}
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticker = asyncio.create_task(tick())
    envelope = await manager.encrypt_manufacturer_data(data, manufacturer_id="a")
    assert await manager.decrypt_manufacturer_data(envelope) == data
    ticker.cancel()
    assert ticks > 0
