"""What makes our classes behave as classes that pybind11 binds: its enums, its refusals, its names."""

import re
from enum import Enum
from typing import Any

#: the module that the real backend's classes say they are from
MODULE = "c_python_backend_utils"

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Bound:
    """A class of the C++ module."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"'{MODULE}.{type(self).__name__}' object has no attribute '{name}'")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"cannot pickle '{MODULE}.{type(self).__name__}' object")


class BoundEnum(Enum):
    """An enum as pybind11 binds a C enum: equal to its number, hashed as it, without an order."""

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, type(self)) else other))

    def __hash__(self) -> int:
        return hash(self.value)


def bound_enum(name: str, members: dict[str, int], owner: str = "") -> Any:
    """An enum of the C++ module, maybe a member of a class there."""
    make: Any = BoundEnum
    return make(name, members, module=MODULE, qualname=f"{owner}.{name}" if owner else name)


def incompatible(
    function: str, signatures: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TypeError:
    """The TypeError for a call of `function` whose overloads are `signatures`.

    `args` holds the object itself for a method, not for "__init__".
    """
    what = "constructor" if function == "__init__" else "function"
    lines = [f"{function}(): incompatible {what} arguments. The following argument types are supported:\n"]
    lines += [f"    {number}. {signature}\n" for number, signature in enumerate(signatures, 1)]
    invoked = ", ".join(_repr(arg) for arg in args)
    if kwargs:
        named = ", ".join(f"{key}={_repr(value)}" for key, value in kwargs.items())
        invoked += ("; " if args else "") + "kwargs: " + named
    return TypeError("".join(lines) + f"\nInvoked with: {invoked}")


def cast_error() -> RuntimeError:
    """What pybind11 raises where a value inside a container does not fit."""
    return RuntimeError(
        "Unable to cast Python instance to C++ type "
        "(#define PYBIND11_DETAILED_ERROR_MESSAGES or compile in debug mode for details)"
    )


def text_of(value: Any) -> str | None:
    """What pybind11 takes a value for where it wants a std::string, None where it refuses it."""
    if isinstance(value, str):
        return value if value.isascii() or not _LONE_SURROGATE.search(value) else None
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    return None


def truth_of(value: Any) -> bool | None:
    """What pybind11 takes a value for where it wants a bool, None where it refuses it."""
    return None if value is None or not hasattr(value, "__bool__") else bool(value)


def is_sequence(value: Any) -> bool:
    """Whether pybind11 takes a value for a std::vector: a sequence that is not a string."""
    if isinstance(value, list | tuple):
        return True
    return (
        hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not isinstance(value, str | bytes | dict)
    )


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 a value of the model's own may raise anything
        return "<repr raised Error>"
