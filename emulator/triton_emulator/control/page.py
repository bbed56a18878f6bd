"""The console: the files of one page, which is a client of the control API.

The page asks nobody but this port. It has no token; a person gives it the one that its requests need.
"""

from collections.abc import Mapping
from importlib.resources import files

#: what the page may do: run and show its own files, ask its own port, and make elements, but not from texts
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def console_files() -> Mapping[str, tuple[bytes, str]]:
    """The bytes and the content type of each file, by its path on the port; the page itself is at `/`."""
    found = {}
    for file in (files("triton_emulator.control") / "console").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            path = "/" if file.name == "index.html" else f"/console/{file.name}"
            found[path] = (file.read_bytes(), _TYPES[kind])
    return found
