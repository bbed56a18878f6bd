"""ONNX: the inputs and outputs of the graph.

The fields are those of `onnx.proto`:

    ModelProto      7 graph
    GraphProto      5 initializer, 11 input, 12 output, 15 sparse_initializer
    TensorProto     8 name
    SparseTensorProto  1 values
    ValueInfoProto  1 name, 2 type
    TypeProto       1 tensor_type, 4 sequence_type, 5 map_type, 8 sparse_tensor_type, 9 optional_type
    Tensor          1 elem_type, 2 shape
    TensorShapeProto   1 dim
    Dimension       1 dim_value, 2 dim_param
"""

from collections.abc import Iterable
from pathlib import Path

from triton_emulator.backends.model_files.signature import MOST_TENSORS, FileTensor, Signature, Unreadable
from triton_emulator.backends.model_files.wire_format import Message, open_message
from triton_emulator.cxx import unordered_map
from triton_emulator.protocol.errors import Code, TritonError

#: TensorProto.DataType, as far as the ONNX Runtime backend knows it
_DATATYPES = {
    1: "TYPE_FP32",
    2: "TYPE_UINT8",
    3: "TYPE_INT8",
    4: "TYPE_UINT16",
    5: "TYPE_INT16",
    6: "TYPE_INT32",
    7: "TYPE_INT64",
    8: "TYPE_STRING",
    9: "TYPE_BOOL",
    10: "TYPE_FP16",
    11: "TYPE_FP64",
    12: "TYPE_UINT32",
    13: "TYPE_UINT64",
}
_OTHER_TYPES = {4: "ONNX_TYPE_SEQUENCE", 5: "ONNX_TYPE_MAP", 8: "ONNX_TYPE_SPARSETENSOR"}


def read(path: Path) -> Signature:
    """Raises Unreadable; TritonError for an input or output that is no tensor, in the backend's words."""
    with open_message(path) as model:
        graph = model.message(7)
        if graph is None:
            raise Unreadable("it holds no ONNX graph")
        inputs, outputs = _tensors(graph, 11), _tensors(graph, 12)
        _drop_initializers(graph, inputs)
        return Signature(_in_the_backends_order(inputs.values()), _in_the_backends_order(outputs.values()))


def _tensors(graph: Message, number: int) -> dict[str, Message]:
    """The ValueInfoProtos of a graph's inputs or outputs, by name."""
    found: dict[str, Message] = {}
    for info in graph.messages(number):
        found.setdefault(info.text(1), info)
        if len(found) > MOST_TENSORS:
            raise Unreadable(f"it has more than {MOST_TENSORS} inputs or outputs")
    return found


def _drop_initializers(graph: Message, inputs: dict[str, Message]) -> None:
    """Files of before IR version 4 list the weights among the inputs."""
    for number, value in graph.fields():
        if not inputs:
            return
        if not isinstance(value, Message):
            continue
        if number == 5:
            inputs.pop(value.text(8), None)
        elif number == 15 and (values := value.message(1)) is not None:
            inputs.pop(values.text(8), None)


def _in_the_backends_order(infos: Iterable[Message]) -> tuple[FileTensor, ...]:
    # the backend keeps them in a std::unordered_map
    tensors = {tensor.name: tensor for tensor in map(_tensor, infos)}
    return tuple(tensors[name] for name in unordered_map.walk(tensors))


def _tensor(info: Message) -> FileTensor:
    name = info.text(1)
    kind = info.message(2)
    tensor = None if kind is None else kind.message(1)
    if tensor is None:
        numbers = [] if kind is None else [number for number, _ in kind.fields()]
        other = next(
            (_OTHER_TYPES[number] for number in numbers if number in _OTHER_TYPES), "ONNX_TYPE_UNKNOWN"
        )
        raise TritonError(
            Code.UNSUPPORTED,
            f"Unsupported ONNX Type '{other}' for I/O '{name}', expected 'ONNX_TYPE_TENSOR'.",
        )
    shape = tensor.message(2)
    dims = () if shape is None else tuple(max(dim.integer(1, -1), -1) for dim in shape.messages(1))
    return FileTensor(name, _DATATYPES.get(tensor.integer(1, 0), "TYPE_INVALID"), dims)
