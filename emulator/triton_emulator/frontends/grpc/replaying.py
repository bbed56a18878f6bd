"""Answers over gRPC from the recordings of a cassette."""

from google.protobuf.message import DecodeError

from triton_emulator.frontends.grpc.entries import GrpcEntry
from triton_emulator.harness.cassettes.messages import response_class
from triton_emulator.harness.cassettes.recording import Recording


def with_id(data: bytes, recorded: Recording, entry: GrpcEntry) -> bytes:
    """A response to an inference with the id of the request that it is given to."""
    if entry.operation not in ("infer", "stream_infer") or recorded.id == entry.request_id:
        return data
    try:
        message = response_class(entry.operation).FromString(data)
    except DecodeError:
        return data
    inner = message if entry.operation == "infer" else message.infer_response
    inner.id = entry.request_id
    changed: bytes = message.SerializeToString(deterministic=True)
    return changed
