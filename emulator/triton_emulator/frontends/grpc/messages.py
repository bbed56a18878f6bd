"""The protobuf message classes of the service, made from the private pool: no generated code, nothing registered."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.message import DecodeError

from triton_emulator.protocol.errors import TritonError, internal
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
