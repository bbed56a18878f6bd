"""Protobuf messages for tests, byte by byte, and the files that tests make of them."""

from collections.abc import Sequence

Dims = Sequence[int | str]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | str | bytes) -> bytes:
    """A field with an integer, a text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_tensor(name: str, datatype: int, dims: Dims | None) -> bytes:
    """A ValueInfoProto; a text among the dims is a symbol, dims None is a tensor of unknown shape."""
    tensor = field(1, datatype)
    if dims is not None:
        tensor += field(2, b"".join(field(1, field(2 if isinstance(dim, str) else 1, dim)) for dim in dims))
    return field(1, name) + field(2, field(1, tensor))


def onnx_model(inputs: Sequence[bytes], outputs: Sequence[bytes], weights: Sequence[str] = ()) -> bytes:
    """A ModelProto of a graph with a node and with weights of those names."""
    graph = field(1, field(1, "x") + field(2, "y") + field(4, "Conv")) + field(2, "main_graph")
    graph += b"".join(
        field(5, field(1, 2) + field(2, 1) + field(8, name) + field(9, b"\0" * 8)) for name in weights
    )
    graph += b"".join(field(11, tensor) for tensor in inputs) + b"".join(
        field(12, tensor) for tensor in outputs
    )
    return field(1, 8) + field(2, "pytorch") + field(7, graph) + field(8, field(2, 17))


def saved_model(
    signatures: dict[str, tuple[dict[str, tuple[int, Dims]], dict[str, tuple[int, Dims]]]], tag: str = "serve"
) -> bytes:
    """A SavedModel of one graph: inputs and outputs by signature, each a datatype and dims by name."""

    def side(number: int, tensors: dict[str, tuple[int, Dims]]) -> bytes:
        return b"".join(
            field(
                number,
                field(1, name)
                + field(
                    2,
                    field(1, f"{name}:0")
                    + field(2, datatype)
                    + field(3, b"".join(field(2, field(1, dim)) for dim in dims)),
                ),
            )
            for name, (datatype, dims) in tensors.items()
        )

    graph = field(1, field(4, tag) + field(5, "2.16.1"))
    for name, (inputs, outputs) in signatures.items():
        definition = side(1, inputs) + side(2, outputs) + field(3, "tensorflow/serving/predict")
        graph += field(5, field(1, name) + field(2, definition))
    return field(1, 1) + field(2, graph)


def openvino_ir(layout: str = "") -> bytes:
    """The IR of a model with a batch of images: a Parameter, a layer with two outputs, a Result of the second."""
    said = f'<rt_info><attribute name="layout" version="0" layout="{layout}"/></rt_info>' if layout else ""
    image = "<dim>-1</dim><dim>3</dim><dim>224</dim><dim>224</dim>"
    return f"""<?xml version="1.0"?>
<net name="m" version="11"><layers>
<layer id="0" name="image" type="Parameter" version="opset1"><data shape="?,3,224,224" element_type="f32"/>
<output><port id="0" precision="FP32" names="x,image">{image}{said}</port></output></layer>
<layer id="1" name="top" type="TopK" version="opset11"><input><port id="0" precision="FP32">{image}</port></input>
<output><port id="1" precision="FP32" names="scores"><dim>-1</dim><dim>5</dim></port>
<port id="2" precision="I64" names="classes"><dim>-1</dim><dim>5</dim>{said}</port></output></layer>
<layer id="2" name="classes/sink_port_0" type="Result" version="opset1">
<input><port id="0" precision="I64"><dim>-1</dim><dim>5</dim></port></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="2" to-layer="2" to-port="0"/></edges></net>""".encode()
