"""Encryption and decryption of records against Fernet with ``json`` and bare AES-GCM with msgspec.

The bare peers do less: no base64, no metadata, no owner, no classification of content, no key look-up; "as text"
adds base64 and authenticated metadata, which the contract asks for, to bare AES-GCM. Each round measures all of them
one after the other, and the best round of each counts, so that a busy machine disturbs all the same. Prints one line of
JSON a figure. Run: ``python -m bench.encryption``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import cryptography
import msgspec
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.encryption import ManufacturerEncryptionManager

OWNER = "mfr_0001"
RECORD = {
    "company_name": "Nordwind Werkzeuge GmbH",
    "tax_id": "12-3456789",
    "email": "anna@example.com",
    "phone": "+1 415 555 2671",
    "city": "Springfield",
    "country": "US",
    "revenue": 1250000.5,
    "employees": 120,
    "industry": "machine tools",
    "bank_account": "DE89370400440532013000",
    "active": True,
}
SIZES = {"100 B": 0, "1 KB": 1_000, "100 KB": 100_000, "10 MB": 10_000_000}
TARGETS = {"1 KB": (4.0, 0.5)}


def record(size: int) -> dict[str, Any]:
    """A business record of about that many bytes."""
    if not size:
        return {"tax_id": "12-3456789", "city": "Springfield", "employees": 120, "note": "precision tools"}
    text = "Manufacturer of precision tools for the trade. "
    return {**RECORD, "description": (text * (size // len(text) + 1))[: size - 330]}


async def best_of(rounds: int, calls: int, work: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Microseconds a call of each, interleaved."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, function in work.items():
            begin = time.perf_counter()
            for _ in range(calls):
                await function()
            best[name] = min(best[name], (time.perf_counter() - begin) / calls * 1e6)
    return best


async def measure(label: str, manager: ManufacturerEncryptionManager, data: dict[str, Any]) -> dict[str, Any]:
    """One figure: ours and the peers, encrypt and decrypt."""
    fernet, bare = Fernet(Fernet.generate_key()), AESGCM(os.urandom(32))
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode

    async def ours() -> object:
        envelope = await manager.encrypt_manufacturer_data(data, manufacturer_id=OWNER)
        return await manager.decrypt_manufacturer_data(envelope, manufacturer_id=OWNER)

    async def with_fernet() -> object:
        return json.loads(fernet.decrypt(fernet.encrypt(json.dumps(data).encode())))

    async def with_bare() -> object:
        nonce = os.urandom(12)
        return decode(bare.decrypt(nonce, bare.encrypt(nonce, encode(data), None), None))

    metadata = (await manager.encrypt_manufacturer_data(data, manufacturer_id=OWNER))["encryption_metadata"]
    to_json = msgspec.json.Encoder(order="sorted").encode

    async def with_bare_as_text() -> object:
        nonce, aad = os.urandom(12), to_json(metadata)
        text = base64.b64encode(nonce + bare.encrypt(nonce, encode(data), aad)).decode()
        raw = base64.b64decode(text, validate=True)
        return decode(bare.decrypt(raw[:12], raw[12:], to_json(metadata)))

    assert await ours() == await with_fernet() == await with_bare() == data
    size = len(encode(data))
    calls, rounds = (50, 120) if size < 10_000 else (5, 20) if size < 1_000_000 else (1, 5)
    best = await best_of(
        rounds, calls, {"ours": ours, "fernet": with_fernet, "bare": with_bare, "text": with_bare_as_text}
    )
    row: dict[str, Any] = {
        "figure": f"encrypt + decrypt, {label}",
        "bytes": size,
        "us": round(best["ours"], 2),
        "fernet_us": round(best["fernet"], 2),
        "bare_us": round(best["bare"], 2),
        "bare_as_text_us": round(best["text"], 2),
        "times_fernet": round(best["fernet"] / best["ours"], 2),
        "of_bare": round(best["bare"] / best["ours"], 2),
        "of_bare_as_text": round(best["text"] / best["ours"], 2),
    }
    if label in TARGETS:
        fernet_target, bare_target = TARGETS[label]
        row["target"] = {"times_fernet": fernet_target, "of_bare": bare_target}
        row["met"] = row["times_fernet"] >= fernet_target and row["of_bare"] >= bare_target
    return row


async def record_memory(manager: ManufacturerEncryptionManager, size: int) -> dict[str, Any]:
    """The most memory that one large record takes beyond its own, as a multiple of its size."""
    data = {"blob": os.urandom(size)}
    tracemalloc.start()
    envelope = await manager.encrypt_manufacturer_data(data, manufacturer_id=OWNER)
    sealing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    await manager.decrypt_manufacturer_data(envelope, manufacturer_id=OWNER)
    opening = tracemalloc.get_traced_memory()[1] - len(envelope["encrypted_payload"])
    tracemalloc.stop()
    row = {"sealing": round(sealing / size, 1), "opening": round(opening / size, 1)}
    return {"figure": f"record of {size // 10**6} MB, peak memory in its sizes", **row}


async def stream_memory(manager: ManufacturerEncryptionManager, megabytes: int) -> dict[str, Any]:
    """The most memory that a stream of that size takes on its way through both directions."""

    async def source() -> AsyncIterator[bytes]:
        for _ in range(megabytes * 16):
            yield bytes(65_536)

    tracemalloc.start()
    total = 0
    async for chunk in manager.decrypt_stream(manager.encrypt_stream(source(), manufacturer_id=OWNER)):
        total += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == megabytes * 2**20
    return {
        "figure": f"stream of {megabytes} MiB, peak memory",
        "kib": peak // 1024,
        "target": 2048,
        "met": peak < 2**21,
    }


async def main() -> None:
    """Measure and print."""
    print(json.dumps({"cryptography": cryptography.__version__, "msgspec": msgspec.__version__}))
    for algorithm in ("AES-256-GCM", "ChaCha20-Poly1305"):
        async with ManufacturerEncryptionManager(os.urandom(32), algorithm=algorithm) as manager:
            for label, size in SIZES.items():
                row = await measure(label, manager, record(size))
                print(json.dumps({"algorithm": algorithm, **row}), flush=True)
    async with ManufacturerEncryptionManager(os.urandom(32)) as manager:
        for megabytes in (10, 40):
            print(json.dumps(await stream_memory(manager, megabytes)))
        print(json.dumps(await record_memory(manager, 10_000_000)))


if __name__ == "__main__":
    asyncio.run(main())
