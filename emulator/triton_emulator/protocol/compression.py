"""Content codings of the infer endpoint: what a client may send, and which one an answer gets."""

import gzip
import zlib

from triton_emulator.cxx.numbers import atof

#: zlib's window bits for "gzip or zlib, whichever the data starts like"
_AUTO = 32 + zlib.MAX_WBITS


class TooLarge(Exception):
    """The decompressed body would exceed the limit."""


#: the codings that a request's body may have
CODINGS = ("gzip", "deflate")


def decompress(body: bytes, limit: int) -> bytes:
    """The plain body. Raises TooLarge beyond `limit` bytes.

    2.51 tells gzip from deflate by the data, not by the header. Data that does not inflate is an empty body; of data
    that is cut off, the part that is there is used.
    """
    inflater = zlib.decompressobj(_AUTO)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        return b""
    if len(plain) > limit:
        raise TooLarge
    return plain


def compress(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(body, zlib.Z_DEFAULT_COMPRESSION, mtime=0)
    return zlib.compress(body)


def choose(accept: str) -> str:
    """The coding for an answer: the best q among identity, deflate and gzip, the first of equals; "" for identity.

    2.51 accepts an entry as `name` or `name;q=number`, with spaces only before it, and ignores other entries.
    """
    best, best_q = "", 0.0
    for entry in accept.split(","):
        name, _, parameter = entry.lstrip(" ").partition(";")
        q = _quality(parameter)
        if name in ("identity", "deflate", "gzip") and q > best_q:
            best, best_q = name, q
    return "" if best == "identity" else best


def _quality(parameter: str) -> float:
    """The number after `q=`, as atof reads it; 1 without a parameter, 0 for any other."""
    if not parameter:
        return 1.0
    name, _, number = parameter.partition("=")
    return atof(number) if name == "q" else 0.0
