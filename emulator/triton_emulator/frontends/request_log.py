"""The lines about HTTP requests, to any port, in the verbose log."""

import logging

_LOG = logging.getLogger(__name__)

#: the numbers of the methods in libevhtp, which 2.51 logs
_METHOD_NUMBERS = {
    "GET": 0,
    "HEAD": 1,
    "POST": 2,
    "PUT": 3,
    "DELETE": 4,
    "OPTIONS": 7,
    "TRACE": 8,
    "CONNECT": 9,
    "PATCH": 10,
}


def log_request(method: str, path: str, status: int = 0) -> None:
    """Write the line about a request, or the one about its error status, that 2.51 logs with `--log-verbose=1`."""
    number = _METHOD_NUMBERS.get(method, -1)
    if status:
        _LOG.debug("HTTP error: %d %s - %d", number, path, status)
    else:
        _LOG.debug("HTTP request: %d %s", number, path)
