"""Content codings: which a body may have, and which one is chosen for an answer."""

import gzip
import random
import tracemalloc
import zlib

import pytest

from triton_emulator.protocol.compression import TooLarge, choose, compress, decompress


def test_a_limit_may_be_as_large_as_the_flag_takes_it() -> None:
    assert decompress(gzip.compress(bytes(1 << 20)), (1 << 63) - 1) == bytes(1 << 20)


@pytest.mark.parametrize("packed", [gzip.compress(b"hello"), zlib.compress(b"hello")], ids=["gzip", "zlib"])
def test_the_data_says_how_it_was_packed(packed: bytes) -> None:
    assert decompress(packed, 100) == b"hello"


def test_bytes_that_do_not_inflate_are_an_empty_body() -> None:
    assert decompress(b"\xde\xad\xbe\xef", 100) == b""


@pytest.mark.parametrize("limit", [1_000, 9_999_999])
def test_a_bomb_is_stopped_at_the_limit(limit: int) -> None:
    with pytest.raises(TooLarge):
        decompress(gzip.compress(bytes(10_000_000)), limit)


def test_a_bomb_that_is_refused_takes_little_memory() -> None:
    bomb = gzip.compress(bytes(64_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompress(bomb, 63_000_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000


@pytest.mark.parametrize("size", [0, 1, 1 << 14, (1 << 20) + 1, 10_000_000])
def test_a_body_of_the_limit_is_decompressed(size: int) -> None:
    for body in (bytes(size), random.Random(0).randbytes(size)):
        assert decompress(gzip.compress(body, 1), size) == body


def test_of_a_body_that_is_cut_off_the_beginning_is_used() -> None:
    body = random.Random(0).randbytes(100_000)
    beginning = decompress(gzip.compress(body)[:-50_000], 100_000)
    assert 0 < len(beginning) < 100_000
    assert body.startswith(beginning)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_body_is_decompressed(coding: str) -> None:
    assert decompress(compress(b"x" * 1000, coding), 1000) == b"x" * 1000


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("identity, gzip", ""),
        ("identity;q=0,gzip;q=0.1", "gzip"),
        ("br, *", ""),
        ("GZIP", ""),
        ("gzip;q=0", ""),
        ("gzip;q= 0.5", "gzip"),
        ("gzip; q=0.5", ""),
        ("gzip ;q=1.0, deflate", "deflate"),
        ("gzip;q=0x10,deflate;q=9", "gzip"),
        ("gzip;q=1.0x", "gzip"),
        ("gzip;q=abc", ""),
        ("gzip;q=1e999, deflate;q=0.1", "deflate"),
        ("gzip;q=1e-999, deflate;q=0.1", "deflate"),
        ("gzip;q=inf, deflate", "gzip"),
        ("gzip;q=nan", ""),
        ("", ""),
    ],
)
def test_the_best_weight_wins_and_spaces_count_as_2_51_counts_them(accept: str, coding: str) -> None:
    assert choose(accept) == coding
