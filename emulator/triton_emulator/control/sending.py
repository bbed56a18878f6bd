"""Sends a request to a session's own HTTP port, and reads the answer, whatever becomes of it."""

import string
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, IncompleteRead
from ipaddress import ip_address
from time import monotonic
from urllib.parse import quote

#: bytes of an answer that are read
LARGEST_ANSWER = 16 << 20
# The server takes a path as it is, without percent-decoding. These end a model's name in a path.
_AS_THEY_ARE = "".join(set(string.punctuation) - set("/?#"))


@dataclass(slots=True)
class Answered:
    """What came. `status` is None where nothing came; `error` is what went wrong on the connection."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None
    seconds: float = 0.0


def path_of(model: str, version: str, operation: str) -> str:
    """The path of an operation of a model. An empty version leaves the choice to the server."""
    name = quote(model, safe=_AS_THEY_ARE)
    of_version = f"/versions/{quote(version, safe=_AS_THEY_ARE)}" if version else ""
    return f"/v2/models/{name}{of_version}/{operation}"


def own_host(host: str) -> str:
    """Where a server on this machine is reached that listens at `host`: a wildcard is every interface."""
    address = ip_address(host)
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def send(address: tuple[str, int], path: str, text: bytes, binary: bytes, timeout: float) -> Answered:
    """POST a text of JSON, and after it the bytes of tensors where there are some, and read the answer.

    `timeout` is in seconds, for each wait for bytes and for the whole. A connection that breaks is an answer, too, as
    plans of faults break some on purpose.
    """
    answered, begin = Answered(), monotonic()
    headers = {"Content-Type": "application/json", "Connection": "close"}
    if binary:
        headers |= {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(text)),
        }
    connection = HTTPConnection(own_host(address[0]), address[1], timeout=timeout)
    try:
        connection.request("POST", path, text + binary, headers)
        response = connection.getresponse()
        answered.status = response.status
        answered.headers = dict(response.getheaders())
        while piece := response.read1(1 << 16):
            answered.body += piece
            if len(answered.body) > LARGEST_ANSWER:
                answered.error = f"the answer has more than {LARGEST_ANSWER} bytes; the rest was not read"
                break
            if monotonic() - begin > timeout:
                raise TimeoutError
        else:
            if response.length:  # what the head promised and did not come
                raise IncompleteRead(b"", response.length)
    except TimeoutError:
        answered.error = f"no whole answer came within {timeout:g} s"
    except IncompleteRead as fault:
        answered.body += fault.partial
        answered.error = "the connection was closed before the answer's end"
    except (HTTPException, OSError) as fault:
        answered.error = f"{type(fault).__name__}: {fault}"
    finally:
        connection.close()
        answered.seconds = monotonic() - begin
    return answered
