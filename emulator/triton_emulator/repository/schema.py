"""The protobuf schemas of `config.pbtxt` and of the gRPC service, separate from all others in the process.

They are those that `tritonclient` ships. Its generated modules are read, not executed: executing one would register its
file in protobuf's default pool, where the user's own `tritonclient.grpc` may have registered another one.
"""

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

#: A protobuf message made from the private pool; its class has no static type.
Proto = Any

_SERIALIZED = re.compile(r"AddSerializedFile\((b'.*')\)$", re.MULTILINE)


class SchemaMissing(ImportError):
    """`tritonclient`, which has the schemas, is not installed, or has them in an unknown form."""


@cache
def pool(unknown: frozenset[str] = frozenset()) -> descriptor_pool.DescriptorPool:
    """A private descriptor pool, with the schema of a model's configuration but for the fields of these names."""
    private = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto.FromString(_serialized("model_config_pb2.py"))
    for message in file.message_type:
        for field in [each for each in message.field if each.name in unknown]:
            message.field.remove(field)
    private.Add(file)
    return private


@cache
def service_pool() -> descriptor_pool.DescriptorPool:
    """The same pool, once it has the schema of `inference.GRPCInferenceService` as well.

    The maps of its requests are lists of entries, as on the wire: Python's protobuf drops a map entry that has an
    unknown field, and tritonserver does not.
    """
    private = pool()
    file = descriptor_pb2.FileDescriptorProto.FromString(_serialized("service_pb2.py"))
    for message in file.message_type:
        if message.name.endswith("Request"):
            _without_maps(message)
    private.Add(file)
    return private


def _without_maps(message: descriptor_pb2.DescriptorProto) -> None:
    message.options.ClearField("map_entry")
    for inner in message.nested_type:
        _without_maps(inner)


def _serialized(name: str) -> bytes:
    """The file descriptor that a generated module of `tritonclient.grpc` registers."""
    spec = find_spec("tritonclient")  # finds the folder without importing the package
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        module = Path(folder, "grpc", name)
        if module.is_file() and (found := _SERIALIZED.search(module.read_text(encoding="utf-8"))):
            descriptor: bytes = ast.literal_eval(found[1])
            return descriptor
    raise SchemaMissing(f"tritonclient/grpc/{name} was not found: install tritonclient")


@cache
def _message_class(unknown: frozenset[str]) -> Any:
    return message_factory.GetMessageClass(pool(unknown).FindMessageTypeByName("inference.ModelConfig"))


def new_config(unknown: frozenset[str] = frozenset()) -> Proto:
    """An empty `inference.ModelConfig` message of a version that does not know these fields."""
    return _message_class(unknown)()


def copied(config: Proto) -> Proto:
    """A copy, of the same version."""
    copy = type(config)()
    copy.CopyFrom(config)
    return copy


def enum_name(message: Proto, field: str) -> str:
    """The name of an enum field's value, its number where the schema has no name for it."""
    number = getattr(message, field)
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return str(number) if value is None else str(value.name)


def same_but_for_versions(left: Proto, right: Proto) -> bool:
    """Whether two configs are equal, apart from their version policies."""
    other = copied(right)
    other.version_policy.CopyFrom(left.version_policy)
    return bool(left == other)
