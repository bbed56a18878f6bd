"""ModelInfer: one request, one answer."""

from typing import Any

from triton_emulator.frontends.grpc import faults
from triton_emulator.frontends.grpc.access import Gate, forward, not_to_forward
from triton_emulator.frontends.grpc.entries import GrpcEntry
from triton_emulator.frontends.grpc.infer_request import c_string, read_infer
from triton_emulator.frontends.grpc.infer_response import ModelInferResponse, fill
from triton_emulator.frontends.grpc.messages import encode, message_class, parser
from triton_emulator.frontends.threads import LARGE, is_heavy, is_large, run_by_size, run_in_thread
from triton_emulator.inference import GRPC_INFER, Exchange
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.session.state import SessionState

_parse = parser(message_class("ModelInferRequest"))


async def model_infer(
    gate: Gate, session: SessionState, data: bytes, context: Any, entry: GrpcEntry | None
) -> bytes:
    """The bytes of a ModelInferResponse. Raises TritonError. When the call is cancelled, the model's request is too.

    `entry` is that of the journal, None without a journal.
    """
    message, size = _parse(data), len(data)
    del data  # the message and the request each have a copy
    if entry is not None and (given := await faults.answered(entry, message, session)) is not None:
        return given
    gate.admit("inference", session, context)
    name = c_string(message.model_name)
    # grpc.aio sends the answer after this has returned, so the exchange ends just before its last byte is sent. A
    # callback at the end of the call would run too late: a client could have its answer and get statistics without it.
    with Exchange(GRPC_INFER, session, name, message.model_version, entry) as exchange:
        exchange.find()
        lease = exchange.lease()
        fault = not_to_forward(session, context)
        request = await run_by_size(size, read_infer, message, lease, session.personality, fault)
        del message
        forward(session, context, request)
        prepared = None
        if (size > LARGE or lease.input_bytes > LARGE) and is_heavy(request):
            prepared = await run_in_thread(exchange.prepare, request)
        exchange.submit(request, prepared=prepared)
        response = await exchange.answer()
        if is_large(response):
            return await run_in_thread(_encoded, exchange, request, response)
        return _encoded(exchange, request, response)


def _encoded(exchange: Exchange, request: InferRequest, response: InferResponse) -> bytes:
    exchange.requested_outputs(request, response)
    answer = ModelInferResponse()
    fill(answer, request, response)
    if exchange.record is not None and exchange.record.script is not None:
        faults.truncate(exchange.record.script, answer)
    if any(not tensor.name.isascii() for tensor in response.outputs):
        return encode(answer)
    encoded: bytes = answer.SerializeToString()
    return encoded
