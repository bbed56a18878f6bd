"""Base64 as libb64 reads it, the library in Triton's HTTP server (files of a load request, handles of CUDA regions).

2.51: bytes that are no base64 digit are skipped, padding may be missing, and the bits of an incomplete byte are
dropped.
"""

import binascii

_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OTHERS = bytes(set(range(256)) - set(_DIGITS))


def decode(text: str) -> bytes:
    """The bytes that `text` stands for; every text stands for some."""
    digits = text.encode("utf-8", "surrogateescape").translate(None, _OTHERS)
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
