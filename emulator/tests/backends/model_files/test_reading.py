"""What is read of a model's file, and what a damaged or hostile one leads to."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from emulator.tests.backends.model_files.protobuf import (
    field,
    onnx_model,
    onnx_tensor,
    openvino_ir,
    saved_model,
    varint,
)
from triton_emulator.backends.model_files import FileTensor, Signature, Unreadable, onnx
from triton_emulator.backends.model_files import openvino_ir as ir
from triton_emulator.backends.model_files import saved_model as tensorflow
from triton_emulator.protocol.errors import Code, TritonError

YOLO = onnx_model([onnx_tensor("images", 1, [1, 3, 640, 640])], [onnx_tensor("output0", 1, [1, 84, 8400])])
Read = Callable[[bytes], Signature]


@pytest.fixture
def read_onnx(tmp_path: Path) -> Read:
    def read(data: bytes) -> Signature:
        (tmp_path / "model.onnx").write_bytes(data)
        return onnx.read(tmp_path / "model.onnx")

    return read


@pytest.fixture
def read_saved_model(tmp_path: Path) -> Read:
    def read(data: bytes) -> Signature:
        (tmp_path / "saved_model.pb").write_bytes(data)
        return tensorflow.read(tmp_path)

    return read


@pytest.fixture
def read_openvino(tmp_path: Path) -> Read:
    def read(data: bytes) -> Signature:
        (tmp_path / "model.xml").write_bytes(data)
        return ir.read(tmp_path / "model.xml")

    return read


# --- ONNX ---------------------------------------------------------------------------------------------------------


def test_the_inputs_and_outputs_of_an_onnx_graph_are_read(read_onnx: Read) -> None:
    assert read_onnx(YOLO) == Signature(
        (FileTensor("images", "TYPE_FP32", (1, 3, 640, 640)),),
        (FileTensor("output0", "TYPE_FP32", (1, 84, 8400)),),
    )


def test_a_symbol_is_a_variable_dimension_and_a_tensor_may_have_no_shape(read_onnx: Read) -> None:
    signature = read_onnx(
        onnx_model(
            [onnx_tensor("ids", 7, ["batch", "seq"]), onnx_tensor("scale", 11, [])],
            [onnx_tensor("y", 9, None)],
        )
    )
    assert {tensor.name: tensor.dims for tensor in (*signature.inputs, *signature.outputs)} == {
        "ids": (-1, -1),
        "scale": (),
        "y": (),
    }


def test_weights_that_an_old_file_lists_among_the_inputs_are_left_out(read_onnx: Read) -> None:
    inputs = [onnx_tensor(name, 1, [1]) for name in ("x", "conv.weight", "conv.bias")]
    model = onnx_model(inputs, [onnx_tensor("y", 1, [1])], weights=["conv.bias", "conv.weight"])
    assert [tensor.name for tensor in read_onnx(model).inputs] == ["x"]


def test_every_datatype_that_the_backend_knows_has_its_name(read_onnx: Read) -> None:
    tensors = [onnx_tensor(f"t{number:02}", number, [1]) for number in range(17)]
    signature = read_onnx(onnx_model(tensors, []))
    words = "FP32 UINT8 INT8 UINT16 INT16 INT32 INT64 STRING BOOL FP16 FP64 UINT32 UINT64"
    expected = ["INVALID", *words.split(), "INVALID", "INVALID", "INVALID"]
    found = sorted(signature.inputs, key=lambda tensor: tensor.name)
    assert [tensor.datatype for tensor in found] == [f"TYPE_{word}" for word in expected]


def test_an_output_that_is_no_tensor_is_refused_in_the_backends_words(read_onnx: Read) -> None:
    probabilities = field(1, "output_probability") + field(2, field(4, field(1, b"")))
    with pytest.raises(TritonError) as refused:
        read_onnx(onnx_model([], [probabilities]))
    assert refused.value.code is Code.UNSUPPORTED
    assert refused.value.message == (
        "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 'output_probability', expected 'ONNX_TYPE_TENSOR'."
    )


def test_a_file_is_read_without_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    size = 8 << 30
    inputs, outputs = field(11, onnx_tensor("x", 1, [1])), field(12, onnx_tensor("y", 1, [1]))
    weights = field(8, "w") + varint(9 << 3 | 2) + varint(size)
    head = varint(5 << 3 | 2) + varint(len(weights) + size) + weights
    with path.open("wb") as file:  # sparse: it takes no room on the disk
        file.write(varint(7 << 3 | 2) + varint(len(head) + size + len(inputs) + len(outputs)) + head)
        file.seek(size, os.SEEK_CUR)
        file.write(inputs + outputs)
    assert [tensor.name for tensor in onnx.read(path).outputs] == ["y"]


# --- TensorFlow and OpenVINO --------------------------------------------------------------------------------------


def test_the_signature_that_serves_is_read_of_a_saved_model(read_saved_model: Read) -> None:
    signature = read_saved_model(
        saved_model(
            {
                "__saved_model_init_op": ({}, {"nothing": (0, [])}),
                "other": ({"a": (1, [1])}, {}),
                "serving_default": ({"x": (1, [-1, 3]), "ids": (9, [-1])}, {"y": (7, [-1, 2])}),
            }
        )
    )
    assert signature == Signature(
        (FileTensor("ids", "TYPE_INT64", (-1,)), FileTensor("x", "TYPE_FP32", (-1, 3))),
        (FileTensor("y", "TYPE_STRING", (-1, 2)),),
    )


def test_another_signature_is_read_where_there_is_no_default(read_saved_model: Read) -> None:
    model = saved_model({"__saved_model_train_op": ({}, {}), "predict": ({"x": (1, [1])}, {"y": (1, [1])})})
    assert [tensor.name for tensor in read_saved_model(model).inputs] == ["x"]


@pytest.mark.parametrize(
    "model, why",
    [
        (saved_model({"serving_default": ({}, {})}, tag="train"), "it has no graph with the tag 'serve'"),
        (saved_model({}), "it has no signature 'serving_default'"),
    ],
    ids=["without a graph to serve", "without a signature"],
)
def test_a_saved_model_that_serves_nothing_is_not_read(
    read_saved_model: Read, model: bytes, why: str
) -> None:
    with pytest.raises(Unreadable, match=f"^{why}$"):
        read_saved_model(model)


@pytest.mark.parametrize(
    "layout, batches",
    [("[N,C,H,W]", True), ("NCHW", True), ("[C,H,W]", False), ("[CHANNEL]", False), ("", False)],
)
def test_a_layout_says_whether_an_openvino_model_batches(
    read_openvino: Read, layout: str, batches: bool
) -> None:
    assert read_openvino(openvino_ir(layout)) == Signature(
        (FileTensor("image", "TYPE_FP32", (-1, -1, -1, -1)),),
        (FileTensor("classes", "TYPE_INT64", (-1, -1)),),
        batches,
    )


BOMB = b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><net>&b;</net>'


@pytest.mark.parametrize(
    "data, why",
    [
        (BOMB, "it has a document type"),
        (b"<net>", "it is not XML: no element found: line 1, column 5"),
        (b"<html/>", "it is not an OpenVINO model"),
        (
            openvino_ir().replace(b"<dim>224</dim>", b"<dim>many</dim>"),
            r"it has a dimension that is no number: .*",
        ),
        (
            openvino_ir().replace(b"<dim>224</dim>", b"<dim>9223372036854775808</dim>"),
            r"it has a dimension beyond 64 bits: .*",
        ),
        (
            openvino_ir().replace(b'from-layer="1"', b'from-layer="7"'),
            "it has an output that comes from no layer",
        ),
    ],
    ids=[
        "a document type",
        "it breaks off",
        "another XML",
        "a dimension that is no number",
        "a dimension that is too large",
        "an edge from nowhere",
    ],
)
def test_an_openvino_file_that_makes_no_sense_is_not_read(read_openvino: Read, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=f"^{why}$"):
        read_openvino(data)


# --- damaged and hostile files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "it is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "it is a pointer of Git LFS, not the model.*",
        ),
        (b"\x3a", "it breaks off or has another format at byte 1"),
        (b"\x3a\xff\xff\xff\xff\x0f", "it breaks off: 4294967295 bytes should follow byte 6"),
        (b"\xff" * 11, "it breaks off or has another format at byte 0"),
        (b"\x3b", "it has another format: byte 1 begins no field"),
        (b"\x00\x00", "it has another format: a field before byte 2 has the number 0"),
        (b"\x09\x00\x00", "it breaks off: 8 bytes should follow byte 1"),
        (b"PK\x03\x04", "it has another format: byte 3 begins no field"),
        (field(1, 8), "it holds no ONNX graph"),
        (b"{}\n", "it .*"),
        (onnx_model([field(1, b"\xff")], []), "it has a name that is not UTF-8"),
        (onnx_model([field(1, "x" * 20_000)], []), "it has a name of 20000 bytes"),
        (
            onnx_model([onnx_tensor(f"{n}", 1, []) for n in range(10_001)], []),
            "it has more than 10000 inputs or outputs",
        ),
        (field(7, b"\x08\x00" * 2_000_001), "it has more than 2000000 fields"),
    ],
    ids=[
        "empty",
        "a pointer of Git LFS",
        "a length that is missing",
        "a length beyond the end",
        "a number without an end",
        "a wire type that is none",
        "a field of number 0",
        "a number that breaks off",
        "a zip file",
        "a model without a graph",
        "a text",
        "a name that is no text",
        "a long name",
        "many inputs",
        "many fields",
    ],
)
def test_a_file_that_is_no_onnx_model_is_not_read(read_onnx: Read, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=f"^{why}$"):
        read_onnx(data)


@pytest.mark.parametrize("name", ["read_onnx", "read_saved_model", "read_openvino"])
def test_a_file_that_breaks_off_anywhere_or_has_a_wrong_byte_is_read_or_not_and_nothing_else(
    request: pytest.FixtureRequest, name: str
) -> None:
    read: Read = request.getfixturevalue(name)
    whole = {
        "read_onnx": YOLO,
        "read_saved_model": saved_model({"serving_default": ({"x": (1, [-1, 3])}, {"y": (7, [-1])})}),
        "read_openvino": openvino_ir("NCHW"),
    }[name]
    for at in range(0, len(whole), len(whole) // 100):
        for data in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :], whole[:at] + b"\x08" + whole[at:]):
            with contextlib.suppress(Unreadable, TritonError):
                assert isinstance(read(data), Signature)


@pytest.mark.parametrize(
    "make, why",
    [
        (str, "there is no such file"),
        (lambda path: path.mkdir(), "it is not a file"),
        (os.mkfifo, "it is not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not a file"),
        (lambda path: path.symlink_to(path), "it cannot be opened: .*"),
    ],
    ids=["nothing", "a folder", "a FIFO", "a device", "a circle of links"],
)
def test_what_stands_in_the_files_place_is_never_waited_for(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "model")
    for read in (onnx.read, ir.read):
        with pytest.raises(Unreadable, match=f"^{why}$"):
            read(tmp_path / "model")
