"""Writes the body of an HTTP answer from an InferResponse: a JSON header, then the binary tensors."""

from collections.abc import Sequence
from functools import lru_cache

from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.datatypes import DATATYPES, Array, Buffer
from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest, InferResponse, Parameter, RequestedOutput
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.shapes import shape_text
from triton_emulator.protocol.tensor import Tensor


def json_data(tensor: Tensor, rules: Personality) -> bytes:
    """A tensor's elements as a flat JSON array; raises TritonError for the types that JSON cannot carry."""
    if tensor.datatype == "BYTES":
        return js.write_strings(_elements(tensor, rules).ravel().tolist())
    if not DATATYPES[tensor.datatype].json:
        raise invalid_arg(
            f"sending {tensor.datatype} data via JSON is not supported. Please use the binary data format for output"
        )
    return js.write_array(_elements(tensor, rules))


def _elements(tensor: Tensor, rules: Personality) -> Array:
    """The elements in their shape. With `reshape` their number may differ from the shape's: raises INTERNAL then."""
    try:
        return tensor.array
    except ValueError:
        there, promised = tensor.element_total, tensor.count
        if (
            tensor.datatype == "BYTES" and there > promised
        ):  # 2.51 leaves out the rest of the strings, of them alone
            return tensor.renamed(tensor.name, (there,)).array[:promised]
        raise internal(rules.wrong_output_size.format(name=tensor.name)) from None


def json_parameters(parameters: Sequence[tuple[str, Parameter]]) -> bytes:
    """A JSON object of all pairs in their order; a name may be repeated."""
    return b"{%b}" % b",".join(
        [b"%b:%b" % (js.write_string(key), js.write(value)) for key, value in parameters]
    )


def render_infer(
    request: InferRequest, response: InferResponse, rules: Personality
) -> tuple[bytes, list[Buffer]]:
    """The JSON header and the binary tensors. Outputs are in the order in which the backend made them.

    An output in shared memory has neither data nor parameters: the caller has written it into its region.
    """
    # Of an output that is requested twice, the first entry counts. Of two outputs with one name, it is for the first.
    requested = {output.name: output for output in reversed(request.outputs)} if request.outputs else _ALL
    blobs: list[Buffer] = []
    parts: list[bytes] = []
    for tensor in response.outputs:
        head = _head(tensor.name, tensor.datatype, tensor.shape)
        output = requested.pop(tensor.name, None)
        if output is not None and output.shared_memory is not None:
            parts.append(head + b"}")
        elif output.binary if output is not None else request.binary_output:
            parts.append(b'%b,"parameters":{"binary_data_size":%d}}' % (head, tensor.byte_size))
            if tensor.byte_size:
                blobs.append(tensor.data)
        else:
            parts.append(b'%b,"data":%b}' % (head, json_data(tensor, rules)))
    identifier = b'"id":%b,' % js.write_string(response.id) if response.id else b""
    parameters = b'"parameters":%b,' % json_parameters(response.parameters) if response.parameters else b""
    model = _model(response.model_name, response.model_version)
    header = b'{%b%b%b"outputs":[%b]}' % (identifier, model, parameters, b",".join(parts))
    return header, blobs


_ALL: dict[str, RequestedOutput] = {}


@lru_cache(maxsize=1024)
def _head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    dims = shape_text(shape).encode()
    return b'{"name":%b,"datatype":"%b","shape":%b' % (js.write_string(name), datatype.encode(), dims)


@lru_cache(maxsize=1024)
def _model(name: str, version: str) -> bytes:
    return b'"model_name":%b,"model_version":"%b",' % (js.write_string(name), version.encode())
