"""Content codings of the infer endpoint: what a client may send, and which one an answer gets."""

import gzip
import zlib

#: zlib's window bits for "gzip or zlib, whichever the data starts like"
_AUTO = 32 + zlib.MAX_WBITS


class TooLarge(Exception):
    """The decompressed body would exceed the limit."""


#: the codings that a request's body may have
CODINGS = ("gzip", "deflate")


def decompress(body: bytes, limit: int) -> bytes:
    """The plain body. Raises TooLarge beyond `limit` bytes.

    2.51 looks at the data, not at the label, to tell gzip from deflate; what does not inflate counts for nothing, and
    what breaks off counts as far as it goes.
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
        return gzip.compress(body, mtime=0)
    return zlib.compress(body)


def choose(accept: str) -> str:
    """The coding for an answer: the best q among identity, deflate and gzip, the first of equals; "" for identity."""
    best, best_q = "", 0.0
    for entry in accept.split(","):
        name, _, parameters = entry.strip().partition(";")
        name = name.strip()
        if name not in ("identity", "deflate", "gzip"):
            continue
        q = _quality(parameters)
        if q > best_q:
            best, best_q = name, q
    return "" if best == "identity" else best


def _quality(parameters: str) -> float:
    text = parameters.replace(" ", "")
    if not text.startswith("q="):
        return 1.0
    try:
        return float(text[2:])
    except ValueError:
        return 0.0
