"""Reads the inputs and outputs of a model from its file, as far as its format tells them.

The packages that read these formats are heavy: `onnx` brings 18 MB and its own protobuf code, and reads the whole file
into memory; TensorFlow and OpenVINO bring hundreds of MB. A few fields are needed, so they are read here, and the
weights are skipped.

`onnx`, `saved_model` and `openvino_ir` have a function `read` each, from a path to a `Signature`. A file may be damaged
or hostile: `read` then raises `Unreadable`. It needs little memory for any file, and a bounded time.
"""

from triton_emulator.backends.model_files import onnx, openvino_ir, saved_model
from triton_emulator.backends.model_files.signature import FileTensor, Signature, Unreadable

__all__ = ["FileTensor", "Signature", "Unreadable", "onnx", "openvino_ir", "saved_model"]
