"""Base64 as libb64 reads it."""

import pytest

from triton_emulator.cxx.base64 import decode


@pytest.mark.parametrize(
    "text, decoded",
    [
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        ("aGVs\n bG8=", b"hello"),
        ("a-G_V!sbG8====", b"hello"),
        ("aGVsb", b"hel"),
        ("!!!!", b""),
        ("", b""),
        ("é", b""),
    ],
)
def test_base64_is_read_as_leniently_as_triton_reads_it(text: str, decoded: bytes) -> None:
    assert decode(text) == decoded
