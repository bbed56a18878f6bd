"""The protobuf message classes of the service, made from the private pool: no generated code, nothing registered."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from triton_emulator.protocol.errors import TritonError, internal
from triton_emulator.repository.config.raw_text import holds_raw, to_bytes
from triton_emulator.repository.schema import Proto, service_pool

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"


@cache
def message_class(name: str) -> Any:
    """The class of a message of `grpc_service.proto`, as "ModelInferRequest"."""
    return message_factory.GetMessageClass(service_pool().FindMessageTypeByName(f"inference.{name}"))


def parser(request_class: Any) -> Callable[[bytes], Proto]:
    """A function that parses messages of this class. It raises INTERNAL if the bytes are not such a message."""
    from_string = request_class.FromString

    def parse(data: bytes) -> Proto:
        try:
            return from_string(data)
        except DecodeError:
            raise unparsable() from None

    return parse


def mapping(entries: Iterable[Proto]) -> dict[str, Proto]:
    """The entries of a request's map. Of two entries with one key, the later one counts."""
    return {entry.key: entry.value for entry in entries}


def encode(message: Proto) -> bytes:
    """The bytes of a message. Its strings may be those of a config, and have bytes that are no UTF-8 (`raw_text`).

    Python's protobuf cannot send those, so the message is written anew by a schema that has bytes for strings.
    """
    data: bytes = message.SerializeToString()
    if not holds_raw(data):
        return data
    twin = message_factory.GetMessageClass(_twins().FindMessageTypeByName(message.DESCRIPTOR.full_name))
    raw = twin.FromString(data)
    _to_raw(raw, message.DESCRIPTOR)
    written: bytes = raw.SerializeToString()
    return written


def _to_raw(message: Proto, known: Any) -> None:
    """Change, in place, the fields that are strings in the message's own schema, `known`."""
    for field, value in message.ListFields():
        own = known.fields_by_name[field.name]
        if own.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                _to_raw(inner, own.message_type)
        elif own.type == _FIELD.TYPE_STRING:
            if field.is_repeated:
                value[:] = map(to_bytes, value)
            else:
                setattr(message, field.name, to_bytes(value))


@cache
def _twins() -> descriptor_pool.DescriptorPool:
    """The service's messages with bytes for strings. Maps are lists of entries, as bytes cannot be a map's key."""
    pool = descriptor_pool.DescriptorPool()
    service = service_pool().FindMessageTypeByName("inference.ModelInferResponse").file
    for descriptor in (*service.dependencies, service):
        file = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(file)
        for message in file.message_type:
            _with_bytes(message)
        pool.Add(file)
    return pool


def _with_bytes(message: descriptor_pb2.DescriptorProto) -> None:
    message.options.ClearField("map_entry")
    for field in message.field:
        if field.type == _FIELD.TYPE_STRING:
            field.type = _FIELD.TYPE_BYTES
    for inner in message.nested_type:
        _with_bytes(inner)


def unparsable() -> TritonError:
    return internal("Unable to parse request")


@cache
def health_class(name: str) -> Any:
    """A message of `grpc.health.v1`: "HealthCheckRequest" or "HealthCheckResponse"."""
    return message_factory.GetMessageClass(_health_pool().FindMessageTypeByName(f"grpc.health.v1.{name}"))


@cache
def _health_pool() -> Any:
    # The package grpcio-health-checking would register these two messages in the process's default pool.
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3"
    )
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    status = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        status.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=_FIELD.TYPE_ENUM,
        label=_FIELD.LABEL_OPTIONAL,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
    )
    pool = service_pool()
    pool.Add(file)
    return pool


_FIELD = descriptor_pb2.FieldDescriptorProto
