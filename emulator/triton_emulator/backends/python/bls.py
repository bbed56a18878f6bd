"""Business logic scripting (BLS): the inference requests of a model to other models."""

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from triton_emulator.backends.python.binding import MODULE, Bound, incompatible
from triton_emulator.backends.python.responses import (
    InferenceResponse,
    received_response,
    response_class,
)
from triton_emulator.backends.python.server import Cancel, Server
from triton_emulator.backends.python.values import TritonError
from triton_emulator.protocol import errors
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.personality import Personality

_Inbox = SimpleQueue[tuple[InferResponse | None, bool]]


def run(server: Server, request: InferRequest, rules: Personality) -> InferenceResponse:
    """Run a request on a model that is not decoupled, and wait for its response."""
    try:
        inbox, _ = _submit(server, request, decoupled=False)
    except errors.TritonError as refused:
        return _refusal(request, refused, rules)
    response, _ = inbox.get()
    return received_response(response, rules)


def stream(server: Server, request: InferRequest, rules: Personality) -> "ResponseIterator":
    """Run a request on a model of any transaction policy. The iterator gives the responses as they arrive."""
    try:
        inbox, cancel = _submit(server, request, decoupled=True)
    except errors.TritonError as refused:
        return iterator_class(rules)(_refusal(request, refused, rules))
    return iterator_class(rules)._of(_responses(inbox, rules), cancel)


def _submit(server: Server, request: InferRequest, *, decoupled: bool) -> tuple[_Inbox, Cancel]:
    name, version = request.model_name, request.model_version
    # 2.51: a version below 1 is "not ready" here; a client would get the latest version or another error for it
    if version.startswith(("-", "0")) or not server.is_ready(name, version):
        raise errors.internal(f"Failed for execute the inference request. Model '{name}' is not ready.")
    if not decoupled and server.is_decoupled(name, version):
        # 2.51: the lone quote at the end is in the text
        raise errors.internal(
            f"Model {name} is using the decoupled. The current BLS request call doesn't support models using the "
            "decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' calls "
            "for decoupled models.'"
        )
    names = [tensor.name for tensor in request.inputs]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise errors.invalid_arg(f"{request.log_id}input '{twice}' already exists in request")
    inbox: _Inbox = SimpleQueue()
    cancel = server.infer(request, lambda response, final: inbox.put((response, final)))
    return inbox, cancel


def _refusal(request: InferRequest, error: errors.TritonError, rules: Personality) -> InferenceResponse:
    text = f"Model {request.model_name} - Error when running inference: {error.message}"
    return response_class(rules)._received([], TritonError(text))


def _responses(inbox: _Inbox, rules: Personality) -> Iterator[InferenceResponse]:
    final = False
    while not final:
        response, final = inbox.get()
        # 2.51: an error in the middle of a stream is lost; one that ends it is not
        if final or response is None or response.error is None:
            yield received_response(response, rules)


class ResponseIterator(Bound):
    """The responses to a request that was executed with `decoupled=True`; each is given once."""

    __module__ = MODULE
    __slots__ = ("_cancel", "_responses")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) != 1 or kwargs or not isinstance(args[0], InferenceResponse):
            signature = (
                "c_python_backend_utils.ResponseIterator(arg0: c_python_backend_utils.InferenceResponse)"
            )
            raise incompatible("__init__", (signature,), args, kwargs)
        self._responses: Iterator[InferenceResponse] = iter(args)
        self._cancel: Cancel | None = None

    @classmethod
    def _of(cls, responses: Iterator[InferenceResponse], cancel: Cancel) -> "ResponseIterator":
        iterator = cls.__new__(cls)
        iterator._responses = responses
        iterator._cancel = cancel
        return iterator

    def __iter__(self) -> "ResponseIterator":
        return self

    def __next__(self) -> InferenceResponse:
        for response in self._responses:
            return response
        raise StopIteration("Iteration is done for the responses.")


class _CancellingIterator(ResponseIterator):
    """The same with `cancel`, which versions since 2.57 have."""

    __module__ = MODULE
    __slots__ = ()

    def cancel(self) -> None:
        """Ask the other model to stop. Its responses come all the same."""
        if self._cancel is not None:
            self._cancel()


_CancellingIterator.__name__ = _CancellingIterator.__qualname__ = "ResponseIterator"


def iterator_class(rules: Personality) -> type[ResponseIterator]:
    """`pb_utils.ResponseIterator` of a version."""
    return _CancellingIterator if rules.iterators_cancel else ResponseIterator
