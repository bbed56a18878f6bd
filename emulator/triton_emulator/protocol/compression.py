"""Content codings of the infer endpoint: what a client may send, and which one an answer gets."""

import gzip
import zlib

from triton_emulator.cxx.numbers import stod

#: zlib's window bits for "gzip or zlib, whichever the data starts like"
_AUTO = 32 + zlib.MAX_WBITS
#: how many bytes a byte can inflate to at most (zlib's technical notes say 1032)
_MOST = 1032
#: bytes that are inflated, and bytes that are made of them, at a time to count what a body inflates to
_IN, _OUT = 1 << 14, 1 << 20


class TooLarge(Exception):
    """The decompressed body would exceed the limit."""


#: the codings that a request's body may have
CODINGS = ("gzip", "deflate")


def decompress(body: bytes, limit: int) -> bytes:
    """The plain body. Raises TooLarge beyond `limit` bytes.

    2.51 tells gzip from deflate by the data, not by the header. Data that does not inflate is an empty body; of data
    that is cut off, the part that is there is used. A body that is refused takes no memory: what it inflates to is
    counted first.
    """
    try:
        if len(body) * _MOST > limit:
            _count(body, limit)
        return zlib.decompressobj(_AUTO).decompress(body)
    except zlib.error:
        return b""


def _count(body: bytes, limit: int) -> None:
    """Raise TooLarge if the body inflates to more than `limit` bytes, and zlib.error if it does not inflate."""
    inflater = zlib.decompressobj(_AUTO)
    left = limit
    view = memoryview(body)
    for start in range(0, len(body), _IN):
        packed: bytes | memoryview = view[start : start + _IN]
        while packed and not inflater.eof:
            left -= len(inflater.decompress(packed, _OUT))
            if left < 0:
                raise TooLarge
            packed = inflater.unconsumed_tail


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
    """The number after `q=`; 1 without a parameter, 0 for any other and for what is no number of a double's range.

    2.51 crashes at a number out of this range; servers from 2.66 on ignore the entry.
    """
    if not parameter:
        return 1.0
    name, _, number = parameter.partition("=")
    try:
        return stod(number) if name == "q" else 0.0
    except (ValueError, OverflowError):
        return 0.0
