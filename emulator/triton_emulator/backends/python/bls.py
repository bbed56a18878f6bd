"""Business logic scripting (BLS): the inference requests of a model to other models."""

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from triton_emulator.backends.python.binding import MODULE, Bound, incompatible
from triton_emulator.backends.python.responses import InferenceResponse
from triton_emulator.backends.python.server import Server
from triton_emulator.backends.python.tensors import Tensor
from triton_emulator.backends.python.values import TritonError
from triton_emulator.protocol import errors
from triton_emulator.protocol.messages import InferRequest, InferResponse

_Inbox = SimpleQueue[tuple[InferResponse | None, bool]]


def run(server: Server, request: InferRequest) -> InferenceResponse:
    """Run a request on a model that is not decoupled, and wait for its response."""
    try:
        inbox = _submit(server, request, decoupled=False)
    except errors.TritonError as refused:
        return _refusal(request, refused)
    response, _ = inbox.get()
    return _received(response)


def stream(server: Server, request: InferRequest) -> "ResponseIterator":
    """Run a request on a model of any transaction policy. The iterator gives the responses as they arrive."""
    try:
        inbox = _submit(server, request, decoupled=True)
    except errors.TritonError as refused:
        return ResponseIterator(_refusal(request, refused))
    return ResponseIterator._of(_responses(inbox))


def _submit(server: Server, request: InferRequest, *, decoupled: bool) -> _Inbox:
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
    server.infer(request, lambda response, final: inbox.put((response, final)))
    return inbox


def _refusal(request: InferRequest, error: errors.TritonError) -> InferenceResponse:
    text = f"Model {request.model_name} - Error when running inference: {error.message}"
    return InferenceResponse._received([], TritonError(text))


def _received(response: InferResponse | None) -> InferenceResponse:
    if response is None:
        return InferenceResponse._received([], None)
    if response.error is not None:
        # 2.51: the caller gets INTERNAL, whatever the code was
        return InferenceResponse._received([], TritonError(response.error.message))
    return InferenceResponse._received([Tensor._received(wire) for wire in response.outputs], None)


def _responses(inbox: _Inbox) -> Iterator[InferenceResponse]:
    final = False
    while not final:
        response, final = inbox.get()
        # 2.51: an error in the middle of a stream is lost; one that ends it is not
        if final or response is None or response.error is None:
            yield _received(response)


class ResponseIterator(Bound):
    """The responses to a request that was executed with `decoupled=True`; each is given once."""

    __module__ = MODULE
    __slots__ = ("_responses",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) != 1 or kwargs or not isinstance(args[0], InferenceResponse):
            signature = (
                "c_python_backend_utils.ResponseIterator(arg0: c_python_backend_utils.InferenceResponse)"
            )
            raise incompatible("__init__", (signature,), args, kwargs)
        self._responses: Iterator[InferenceResponse] = iter(args)

    @classmethod
    def _of(cls, responses: Iterator[InferenceResponse]) -> "ResponseIterator":
        iterator = cls.__new__(cls)
        iterator._responses = responses
        return iterator

    def __iter__(self) -> "ResponseIterator":
        return self

    def __next__(self) -> InferenceResponse:
        for response in self._responses:
            return response
        raise StopIteration("Iteration is done for the responses.")
