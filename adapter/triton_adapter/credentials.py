"""The credentials that requests to a server carry, and texts without them. Pure.

A gateway in front of Triton may quote a credential that it refuses, and no list of names tells which header or query
parameter holds one. So every value counts, whatever its name is. It is found as it was sent, percent-decoded and
percent-encoded; the parts of a header's value and the login in `Basic` are found alone, too. What a gateway has changed
in another way is not found.
"""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus

# Shorter values stay: they are words of ordinary texts, such as `true` or `v1`, and each of these would be replaced.
SHORTEST = 8
# Headers that say what a request is, and hold no credential.
_PLAIN = frozenset(("accept", "connection", "content-type", "host", "user-agent"))
_WORDS = re.compile(r"[\s;,]+")


def credentials(query: str, headers: Mapping[str, str]) -> re.Pattern[str] | None:
    """Return a pattern that finds the credentials of a URL's query and of headers; None if there are none."""
    values = [*_query_values(query.lstrip("?"))]
    for name, text in headers.items():
        if name.lower() not in _PLAIN:
            values += _header_values(text)
    forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST}
    if not forms:
        return None
    # The longest first: one may be a part of another.
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), re.IGNORECASE)


def _query_values(query: str) -> Iterator[str]:
    for pair in re.split("[&;]", query):
        name, equals, value = pair.partition("=")
        yield value if equals else name


def _header_values(text: str) -> Iterator[str]:
    """Yield a header's value, its words, and the values in words such as `name="value"`."""
    yield text
    words = _WORDS.split(text.strip())
    for word in words:
        yield word
        yield word.strip('"')
        yield word.partition("=")[2].strip('"')
    if words[0].lower() == "basic":
        yield from _login(words[-1])


def _login(encoded: str) -> Iterable[str]:
    """Return `user:password`, as HTTP's Basic encodes it, and both parts."""
    try:
        login = b64decode(encoded).decode()
    except (Error, ValueError):
        return ()
    user, _, password = login.partition(":")
    return login, user, password


def _forms(value: str) -> Iterable[str]:
    """Return the forms in which a text may quote a value."""
    plain = unquote(value)
    return value, plain, unquote_plus(value), quote(plain), quote(plain, safe=""), quote_plus(plain)
