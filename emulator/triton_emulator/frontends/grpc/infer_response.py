"""Converts an InferResponse to a ModelInferResponse. Each output has one entry of raw bytes, empty in shared memory."""

from collections.abc import Mapping

from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.protocol.messages import InferRequest, InferResponse, Parameter
from triton_emulator.repository.config.raw_text import from_text
from triton_emulator.repository.schema import Proto

FINAL = "triton_final_response"
ModelInferResponse = message_class("ModelInferResponse")
ModelStreamInferResponse = message_class("ModelStreamInferResponse")


def fill(message: Proto, request: InferRequest, response: InferResponse) -> None:
    """Write a response without an error into a ModelInferResponse."""
    message.model_name = response.model_name
    message.model_version = response.model_version
    if response.id:
        message.id = response.id
    outputs, raw = message.outputs, message.raw_output_contents
    placed = in_shared_memory(request)
    first: dict[str, Proto] = {}
    for tensor in response.outputs:
        output = outputs.add()
        output.name = from_text(tensor.name)
        # 2.51: the first of several outputs with one name gets the datatype and the shape of each, the others get none
        described = first.setdefault(tensor.name, output)
        described.datatype = tensor.datatype
        described.shape.extend(tensor.shape)
        data = b"" if tensor.name in placed else tensor.data
        raw.append(data if type(data) is bytes else bytes(data))
    if response.parameters:
        set_parameters(message, dict(response.parameters))


def in_shared_memory(request: InferRequest) -> set[str]:
    """The names of the outputs that are in shared memory, of which an answer has no bytes."""
    return {
        output.name
        for output in request.outputs
        if output.shared_memory is not None and not output.classification
    }


def set_parameters(message: Proto, parameters: Mapping[str, Parameter]) -> None:
    for key, value in parameters.items():
        entry = message.parameters[key]
        if isinstance(value, bool):
            entry.bool_param = value
        elif isinstance(value, int):
            entry.int64_param = value
        elif isinstance(value, float):
            entry.double_param = value
        else:
            entry.string_param = value
