"""Steps: a call as a generator that yields what is to be done and is sent the result. No I/O happens here.

A step yields one of the effects below. A transport performs it and sends the result back, or throws an AdapterError
into the generator. The blocking and the asynchronous client drive the same steps, so they cannot behave differently,
and a test can drive them without a server:

    HttpRequest   one HTTP request      -> an `HttpReply`
    Sleep         a pause               -> None
    Together      steps side by side    -> the list of their results, in order
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from triton_adapter.tls import Tls

Effect: TypeAlias = "HttpRequest | Sleep | Together"
Steps: TypeAlias = "Generator[Effect, Any, Any]"


@dataclass(slots=True)
class HttpRequest:
    """An effect: one HTTP request. `stream` leaves a successful reply's body unread. Times are seconds."""

    method: str
    url: str
    body: bytes | None = field(default=None, repr=False)
    #: may hold a key, which a repr must not show
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stream: bool = False
    timeout: float | None = None
    silence: float | None = None
    tls: Tls | None = None


@dataclass(slots=True)
class HttpReply:
    """One HTTP reply. `source` is the transport's open stream when the request asked for one and it succeeded."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    source: Any = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """An effect: wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Together:
    """An effect: run these steps side by side; the result is the list of their results, in order."""

    steps: list[Steps]
