"""What a chat, a text completion and an embeddings call have in common: their frame, their retries, their errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, TypeVar

from triton_adapter.errors import AdapterError, BadRequestError
from triton_adapter.steps import HttpReply, HttpRequest, Steps, Together
from triton_adapter.target import Target
from triton_adapter.triton.replies import read_error

# The most requests to Triton that one call may become.
MOST_REQUESTS = 2048

Request = TypeVar("Request")
Send = Callable[[Target, HttpRequest, "Call"], Steps]


@dataclass(slots=True)
class Call:
    """What a call brings in addition to its body. `model` is the name that the reply carries.

    Two fields are filled in while the call is answered. `dropped` has the parameters left out because of `drop_params`.
    `usage` returns the usage object of what has come so far; it is None until Triton is asked.
    """

    model: str = ""
    request_id: str | None = None
    drop_params: bool = False
    allowed_params: tuple[str, ...] = ()
    dropped: list[str] = field(default_factory=list)
    usage: Callable[[], dict[str, Any]] | None = None


def answer(
    target: Target,
    body: Mapping[str, Any],
    call: Call,
    *,
    prefix: str,
    read: Callable[[Mapping[str, Any]], Request],
    attempt: Callable[[Target, Request, Call], Steps],
    bind: bool,
) -> Steps:
    """Answer a call, as steps: read its body, learn about the model if that is not done yet, and make an attempt.

    If Triton refuses and the model has changed since it was read, a second attempt is made. `bind` says that
    an attempt needs the target's binding rather than only its `info`. Errors carry the request's id and the server.
    """
    request = read(body)
    call.request_id = call.request_id or prefix + token_hex(16)
    try:
        if bind:
            if target.binding is None:
                yield from target.bind()
        elif target.info is None and target.unknown is None:
            yield from target.read_info()
        try:
            return (yield from attempt(target, request, call))
        except AdapterError as error:
            if not (yield from target.refreshed(error, bind=bind)):
                raise
        # The body is read again: an attempt may change the request that it was given. What the first one dropped may be
        # an input of the model now.
        call.dropped.clear()
        return (yield from attempt(target, read(body), call))
    except AdapterError as error:
        raise labelled(error, call.request_id, target)  # noqa: B904 - the same error


def labelled(error: AdapterError, request_id: str | None, target: Target) -> AdapterError:
    """Return the error with the id and the server of the call that it belongs to, and without the server's credentials.

    A gateway in front of Triton may quote the key that it refuses. That key is not the caller's.
    """
    error.request_id = error.request_id or request_id
    error.upstream = target.api_base.server
    error.message = target.hide(error.message)
    error.args = (error.message,)
    return error


def send(target: Target, wire: HttpRequest, call: Call) -> Steps:
    """Send one request with the target's retries; return the reply of status 200. An AdapterError for any other."""
    return (yield from target.retrying(lambda: _send_once(target, wire, call)))


def send_all(target: Target, wires: Sequence[HttpRequest], call: Call, send: Send = send) -> Steps:
    """Send requests side by side; return their replies in order."""
    if len(wires) == 1:
        return [(yield from send(target, wires[0], call))]
    return (yield Together([send(target, wire, call) for wire in wires]))


def check_requests(number: int, param: str) -> None:
    """Raise BadRequestError if one call would become more requests to Triton than MOST_REQUESTS."""
    if number > MOST_REQUESTS:
        raise BadRequestError(
            f"'{param}' would make {number} requests to this model; one call may make {MOST_REQUESTS} at most",
            param=param,
            code="invalid_value",
        )


def _send_once(target: Target, wire: HttpRequest, call: Call) -> Steps:
    reply: HttpReply = yield wire
    if reply.status != 200:
        raise read_error(reply, request_id=call.request_id, upstream=target.api_base.server)
    return reply
