"""Triton's protobuf messages, made from the descriptors that `tritonclient` contains, in their own descriptor pool.

The generated modules are not imported, because a test may have imported another release of them into this process.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"
HEALTH = "/grpc.health.v1.Health/Check"
_FILES = ("model_config_pb2.py", "service_pb2.py")
_SERIALIZED = re.compile(r"AddSerializedFile\((b'.*')\)$", re.MULTILINE)


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    spec = find_spec("tritonclient")
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "", "grpc")
    for name in _FILES:
        found = _SERIALIZED.search((folder / name).read_text(encoding="utf-8"))
        if found is None:
            raise ImportError(f"tritonclient/grpc/{name} holds no descriptor")
        pool.AddSerializedFile(ast.literal_eval(found[1]))
    pool.Add(_health())
    return pool


def _health() -> descriptor_pb2.FileDescriptorProto:
    """The two messages of `grpc.health.v1`. The status is an enum, which is an int32 on the wire."""
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, field, kind in (
        ("HealthCheckRequest", "service", kinds.TYPE_STRING),
        ("HealthCheckResponse", "status", kinds.TYPE_INT32),
    ):
        file.message_type.add(name=message).field.add(
            name=field, number=1, type=kind, label=kinds.LABEL_OPTIONAL
        )
    return file


def message_classes(method: str) -> tuple[Any, Any] | None:
    """The classes of a method's request and response, by its full path; None for an unknown method."""
    if method == HEALTH:
        names = ("grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse")
        found = tuple(_pool().FindMessageTypeByName(name) for name in names)
    else:
        service, _, name = method.strip("/").partition("/")
        methods = _pool().FindServiceByName(SERVICE).methods_by_name
        if service != SERVICE or name not in methods:
            return None
        found = (methods[name].input_type, methods[name].output_type)
    return message_factory.GetMessageClass(found[0]), message_factory.GetMessageClass(found[1])
