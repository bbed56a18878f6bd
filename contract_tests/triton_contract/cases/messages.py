"""Protobuf messages: made from the fields of a step, and shown as JSON to be read and compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pydantic import ValidationError

from .case import Tensor
from .encoding import tensor_bytes


class MessageError(ValueError):
    """The fields of a step do not make a message. The text says where."""


def build(message: Any, fields: Any, where: str = "") -> Any:
    """Fill a message from a mapping of field names.

    A bytes field is a text (UTF-8), a tensor as in HTTP cases ({int32: [1, 2]}, {hex: 00ff}, {string: [a, b]}), or
    {zeros: 64} for that many zero bytes. Raises MessageError.
    """
    if not isinstance(fields, Mapping):
        raise MessageError(f"{where or 'message'}: a mapping of fields, not {fields!r}")
    for name, value in fields.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        at = f"{where}.{name}".lstrip(".")
        if field is None:
            raise MessageError(f"{at}: {message.DESCRIPTOR.name} has no such field")
        try:
            _set(message, field, value, at)
        except (TypeError, ValueError, ValidationError) as fault:
            if isinstance(fault, MessageError):
                raise
            raise MessageError(f"{at}: {fault}") from None
    return message


def _set(message: Any, field: FieldDescriptor, value: Any, where: str) -> None:
    target = getattr(message, field.name)
    if _is_map(field):
        for key, item in value.items():
            build(target[key], item, f"{where}.{key}")
    elif field.is_repeated:
        for number, item in enumerate(value):
            if field.message_type is not None:
                build(target.add(), item, f"{where}.{number}")
            else:
                target.append(_scalar(field, item))
    elif field.message_type is not None:
        target.SetInParent()
        build(target, value, where)
    else:
        setattr(message, field.name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.type != FieldDescriptor.TYPE_BYTES:
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Mapping) and set(value) == {"zeros"}:
        return bytes(value["zeros"])
    return tensor_bytes(Tensor.model_validate(value))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def to_json(message_class: Any, data: bytes) -> bytes:
    """A message's bytes as one line of JSON: fields in the order of their numbers, maps in the order of their keys.

    Fields that are not set are left out. Bytes are shown as text, one character for each byte. A message that cannot
    be decoded is shown in hexadecimal.
    """
    try:
        value = _value(message_class.FromString(data))
    except DecodeError:
        value = {"undecodable": data.hex()}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _value(message: Message) -> Any:
    shown: dict[str, Any] = {}
    for field, value in message.ListFields():
        if _is_map(field):
            shown[field.name] = {str(key): _plain(value[key]) for key in sorted(value)}
        elif field.is_repeated:
            shown[field.name] = [_plain(item) for item in value]
        else:
            shown[field.name] = _plain(value)
    strangers: Iterable[Any] = UnknownFieldSet(message)  # type: ignore[assignment]  # the stubs do not know that
    unknown = [(field.field_number, field.wire_type, str(field.data)) for field in strangers]
    return {**shown, "unknown fields": unknown} if unknown else shown


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return _value(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value
