"""Content codings: which a body may have, and which one is chosen for an answer."""

import gzip
import zlib

import pytest

from triton_emulator.protocol.compression import TooLarge, choose, compress, decompress


@pytest.mark.parametrize("packed", [gzip.compress(b"hello"), zlib.compress(b"hello")], ids=["gzip", "zlib"])
def test_the_data_says_how_it_was_packed(packed: bytes) -> None:
    assert decompress(packed, 100) == b"hello"


def test_bytes_that_do_not_inflate_are_an_empty_body() -> None:
    assert decompress(b"\xde\xad\xbe\xef", 100) == b""


def test_a_bomb_is_stopped_at_the_limit() -> None:
    with pytest.raises(TooLarge):
        decompress(gzip.compress(bytes(10_000_000)), 1_000)


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
        ("", ""),
    ],
)
def test_the_best_weight_wins_and_spaces_count_as_2_51_counts_them(accept: str, coding: str) -> None:
    assert choose(accept) == coding
