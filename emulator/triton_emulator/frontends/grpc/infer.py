"""ModelInfer: one request, one answer."""

from typing import Any

from triton_emulator.frontends.grpc.access import Gate, forward
from triton_emulator.frontends.grpc.infer_request import c_string, read_infer
from triton_emulator.frontends.grpc.infer_response import ModelInferResponse, fill
from triton_emulator.frontends.grpc.messages import message_class, parser
from triton_emulator.inference import GRPC_INFER, Exchange

_parse = parser(message_class("ModelInferRequest"))


async def model_infer(gate: Gate, data: bytes, context: Any) -> bytes:
    """The bytes of a ModelInferResponse. Raises TritonError. When the call is cancelled, the model's request is too."""
    message = _parse(data)
    session = gate.admit("inference", context)
    name = c_string(message.model_name)
    # grpc.aio sends the answer after this has returned, so the exchange ends just before its last byte is sent. A
    # callback at the end of the call would run too late: a client could have its answer and get statistics without it.
    with Exchange(GRPC_INFER, session, name, message.model_version) as exchange:
        exchange.find()
        request = read_infer(message, exchange.lease())
        forward(session, context, request)
        exchange.submit(request)
        response = await exchange.answer()
        exchange.requested_outputs(request, response)
        answer = ModelInferResponse()
        fill(answer, request, response)
        encoded: bytes = answer.SerializeToString()
        return encoded
