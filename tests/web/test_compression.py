"""Compressed bodies: decompressed within two limits, inspected, handed on plain."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import brotli
import httpx
import pytest
from hypothesis import given, settings, strategies as st

from gatewright.foundation import SecurityFoundation
from gatewright.web import MAX_MEMBERS, MAX_RATIO, RATIO_FREE, Problem, decode_body, decompress
from tests.web.echo import SQL, body_of, code_of, echo

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
except ModuleNotFoundError:
    from backports import zstd

LIMIT = 1_048_576


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def named(how: str) -> str:
    return "deflate" if how == "raw" else how


@pytest.fixture
async def client(foundation: SecurityFoundation) -> AsyncIterator[httpx.AsyncClient]:
    async with echo(foundation) as opened:
        yield opened


@pytest.mark.parametrize("how", COMPRESS)
async def test_a_compressed_body_is_handed_on_plain(client: httpx.AsyncClient, how: str) -> None:
    content = json.dumps({"name": "chair", "note": "müller " * 100}).encode()
    headers = {"content-type": "application/json", "content-encoding": named(how)}
    answer = await client.post("/json", content=COMPRESS[how](content), headers=headers)
    assert body_of(answer) == content
    seen = answer.json()["headers"]
    assert "content-encoding" not in seen and seen["content-length"] == str(len(content))
    assert answer.json()["json"]["name"] == "chair"


@pytest.mark.parametrize("how", COMPRESS)
async def test_an_attack_in_a_compressed_body_is_blocked(client: httpx.AsyncClient, how: str) -> None:
    content = json.dumps({"q": SQL}).encode()
    headers = {"content-type": "application/json", "content-encoding": named(how).upper()}
    answer = await client.post("/", content=COMPRESS[how](content), headers=headers)
    assert code_of(answer) == (403, "THREAT_DETECTED")


async def test_a_chunked_compressed_body_has_one_length(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        packed = gzip.compress(b"plain text")
        yield packed[:5]
        yield packed[5:]

    headers = {"content-type": "text/plain", "content-encoding": "gzip", "transfer-encoding": "chunked"}
    answer = await client.post("/", content=chunks(), headers=headers)
    assert body_of(answer) == b"plain text"
    assert answer.json()["headers"]["content-length"] == "10"
    assert "transfer-encoding" not in answer.json()["headers"]


@pytest.mark.parametrize(
    "encoding", ["gzip, gzip", "br, gzip", "gzip,identity", "compress", "exi", "aes128gcm", "*", "gzip;q=1"]
)
async def test_other_and_stacked_encodings_are_not_supported(client: httpx.AsyncClient, encoding: str) -> None:
    body = gzip.compress(gzip.compress(b"{}"))
    answer = await client.post("/", content=body, headers={"content-encoding": encoding})
    assert code_of(answer) == (415, "ENCODING_NOT_SUPPORTED")
    assert answer.headers["accept-encoding"] == "gzip, deflate, br, zstd"


async def test_two_headers_with_an_encoding_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    assert code_of(await client.post("/", content=gzip.compress(b"{}"), headers=headers)) == (400, "REPEATED_HEADER")


@pytest.mark.parametrize("how", COMPRESS)
@pytest.mark.parametrize("size", [3_000_000, 300_000_000])
def test_a_bomb_is_refused_before_it_grows(how: str, size: int) -> None:
    if how in ("br", "raw", "deflate", "gzip") and size > 3_000_000:
        pytest.skip("as slow to make as it is to refuse")
    bomb = COMPRESS[how](bytes(size))
    tracemalloc.start()
    with pytest.raises(Problem) as refused:
        decompress(bomb, named(how), LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.status == 413
    assert refused.value.code in ("COMPRESSION_RATIO_EXCEEDED", "BODY_TOO_LARGE")
    assert peak < 2 * LIMIT


@pytest.mark.parametrize("how", COMPRESS)
def test_both_limits_hold(how: str) -> None:
    noise = random.Random(1).randbytes(LIMIT + 1)
    with pytest.raises(Problem) as large:
        decompress(COMPRESS[how](noise), named(how), LIMIT)
    assert large.value.code == "BODY_TOO_LARGE"
    assert decompress(COMPRESS[how](noise[:LIMIT]), named(how), LIMIT) == noise[:LIMIT]
    with pytest.raises(Problem) as dense:
        decompress(COMPRESS[how](b" " * (LIMIT - 1)), named(how), LIMIT)
    assert dense.value.code == "COMPRESSION_RATIO_EXCEEDED"
    assert str(MAX_RATIO) in dense.value.detail
    assert len(decompress(COMPRESS[how](b" " * RATIO_FREE), named(how), LIMIT)) == RATIO_FREE


async def test_a_limit_of_the_route_holds_for_what_comes_out(foundation: SecurityFoundation) -> None:
    async with echo(foundation, max_body=2_000) as client:
        headers = {"content-encoding": "gzip", "content-type": "text/plain"}
        assert code_of(await client.post("/", content=gzip.compress(b"a" * 2_001), headers=headers)) == (
            413,
            "BODY_TOO_LARGE",
        )
        assert len(body_of(await client.post("/", content=gzip.compress(b"a" * 2_000), headers=headers))) == 2_000


@pytest.mark.parametrize("how", COMPRESS)
@pytest.mark.parametrize("wrong", ["cut", "followed", "flipped", "none", "doubled within"])
def test_a_damaged_stream_is_refused(how: str, wrong: str) -> None:
    whole = COMPRESS[how](json.dumps(list(range(500))).encode())
    body = {
        "cut": whole[:-1],
        "followed": whole + b"x",
        "flipped": bytes([whole[0] ^ 0xFF]) + whole[1:],
        "none": b"{}",
        "doubled within": whole[: len(whole) // 2] + whole,
    }[wrong]
    if how == "raw" and wrong in ("flipped", "doubled within"):
        pytest.skip("a raw stream has no check sum, and may still be one")
    with pytest.raises(Problem) as refused:
        decompress(body, named(how), LIMIT)
    assert (refused.value.status, refused.value.code) == (400, "INVALID_COMPRESSION")


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_several_members_are_one_body(how: str) -> None:
    one = COMPRESS[how](b"ab")
    assert decompress(one * 3, how, LIMIT) == b"ababab"
    assert len(decompress(one * MAX_MEMBERS, how, LIMIT)) == 2 * MAX_MEMBERS
    with pytest.raises(Problem):
        decompress(one * (MAX_MEMBERS + 1), how, LIMIT)
    with pytest.raises(Problem):
        decompress(COMPRESS[how](b"") * 50_000, how, LIMIT)


@pytest.mark.parametrize("how", ["deflate", "raw", "br"])
def test_what_has_no_members_ends_with_the_first(how: str) -> None:
    with pytest.raises(Problem):
        decompress(COMPRESS[how](b"{}") * 2, named(how), LIMIT)


def test_a_zstd_window_over_eight_megabytes_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    huge = packer.compress(b"a" * 100) + packer.flush()
    with pytest.raises(Problem) as refused:
        decompress(huge, "zstd", LIMIT)
    assert refused.value.code == "INVALID_COMPRESSION"


@pytest.mark.parametrize("how", COMPRESS)
@given(content=st.binary(max_size=3_000), pad=st.integers(0, 200_000))
@settings(max_examples=25, deadline=None)
def test_whatever_is_compressed_comes_out_as_it_was(how: str, content: bytes, pad: int) -> None:
    whole = content + random.Random(pad).randbytes(pad)
    assert decompress(COMPRESS[how](whole), named(how), LIMIT) == whole


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@given(body=st.binary(min_size=1, max_size=300))
@settings(max_examples=200)
def test_no_body_crashes_or_hangs_the_decoder(name: str, body: bytes) -> None:
    try:
        decompress(body, name, LIMIT)
    except Problem as problem:
        assert problem.status in (400, 413)


async def test_a_large_body_is_decompressed_beside_the_event_loop() -> None:
    content = random.Random(2).randbytes(3_000_000)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-encoding", b"gzip")]
    assert (await decode_body(gzip.compress(content), headers, 10_000_000))[0] == content
