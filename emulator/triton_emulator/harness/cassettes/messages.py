"""Messages of gRPC as values of YAML, and back: their fields as JSON has them, and raw contents as tensors.

A message that would not give the same bytes again is kept as bytes: one with fields that the schema does not have, or
with a map whose entries are not in their order.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError, Error

from triton_emulator.harness.cassettes import pieces
from triton_emulator.harness.operations import GRPC_METHODS
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.schema import service_pool

_METHODS = {operation: method for method, operation in GRPC_METHODS.items()}
#: operations whose messages are of another service
_OTHER_SERVICE = ("health_check",)


@cache
def _class(name: str) -> Any:
    return message_factory.GetMessageClass(service_pool().FindMessageTypeByName(f"inference.{name}"))


def response_class(operation: str) -> Any:
    """The class of an operation's responses; None for those of another service."""
    method = _METHODS.get(operation)
    return None if method is None or operation in _OTHER_SERVICE else _class(f"{method}Response")


def fields(message: Any) -> dict[str, Any]:
    """The fields of a message, as JSON has them."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def written(operation: str, data: bytes, keep: pieces.Keep) -> dict[str, Any]:
    """A response as a mapping: `message`, and `raw` where it has raw contents; or its bytes."""
    wanted = response_class(operation)
    if wanted is not None:
        found = _decoded(wanted, operation, data, keep)
        if found is not None:
            return found
    return pieces.written(data, keep, binary=True)


def _decoded(wanted: Any, operation: str, data: bytes, keep: pieces.Keep) -> dict[str, Any] | None:
    try:
        message = wanted.FromString(data)
        inner = _inner(operation, message)
        raw = [] if inner is None else list(inner.raw_output_contents)
        outputs = [] if inner is None else list(inner.outputs)
        if len(raw) != len(outputs):
            return None
        pairs = zip(outputs, raw, strict=True)
        tensors = [Tensor(each.name, each.datatype, each.shape, data=part) for each, part in pairs]
        if inner is not None:
            del inner.raw_output_contents[:]
        shown = fields(message)
        if _rebuilt(wanted, operation, shown, raw) != data:
            return None
    except (Error, DecodeError, ParseError, UnicodeError, ValueError):
        return None
    found: dict[str, Any] = {"message": shown}
    if tensors:
        found["raw"] = [_elements(tensor, keep) for tensor in tensors]
    return found


def _inner(operation: str, message: Any) -> Any:
    """The response of an inference in a message, None where it has none."""
    if operation == "infer":
        return message
    return message.infer_response if operation == "stream_infer" else None


def _elements(tensor: Tensor, keep: pieces.Keep) -> dict[str, Any]:
    given = pieces.tensor_written(tensor, keep)
    return {name: given[name] for name in ("data", "file") if name in given}


def _rebuilt(wanted: Any, operation: str, shown: Mapping[str, Any], raw: list[bytes]) -> bytes:
    message = ParseDict(dict(shown), wanted())
    if raw:
        _inner(operation, message).raw_output_contents.extend(raw)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def read(operation: str, given: Mapping[str, Any], fetch: pieces.Fetch) -> bytes:
    """The bytes that `written` has made a mapping of. Raises ValueError."""
    if "message" not in given:
        return pieces.read(given, fetch)
    wanted = response_class(operation)
    shown, raw = given["message"], given.get("raw", [])
    if wanted is None or not isinstance(shown, dict) or not isinstance(raw, list):
        raise ValueError(f"answer: message is no response of {operation}")
    try:
        message = ParseDict(shown, wanted())
    except (Error, ParseError) as fault:
        raise ValueError(f"answer: message is no response of {operation}: {fault}") from None
    inner = _inner(operation, message)
    outputs = [] if inner is None else list(inner.outputs)
    if raw and len(raw) != len(outputs):
        raise ValueError(f"answer: raw has {len(raw)} elements, and message has {len(outputs)} outputs")
    contents = [_content(each, part, fetch) for each, part in zip(outputs, raw, strict=False)]
    return _rebuilt(wanted, operation, shown, contents)


def _content(output: Any, part: Any, fetch: pieces.Fetch) -> bytes:
    if not isinstance(part, dict):
        raise ValueError(f"answer: raw is a list of mappings, and {part!r} is none")
    given = {"datatype": output.datatype, "shape": list(output.shape), **part}
    return pieces.tensor_read(output.name, given, fetch)[2]
