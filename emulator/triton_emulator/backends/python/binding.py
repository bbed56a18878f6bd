"""Makes our classes behave like classes that pybind11 binds: their names, enums, conversions and error texts."""

import re
from enum import Enum
from typing import Any

#: the `__module__` of the real backend's classes
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
    """An enum as pybind11 binds a C enum: it equals its number, has the number's hash, and has no order."""

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, type(self)) else other))

    def __hash__(self) -> int:
        return hash(self.value)


def bound_enum(name: str, members: dict[str, int], owner: str = "") -> Any:
    """An enum of the C++ module; `owner` is the class there that it is a member of, if any."""
    make: Any = BoundEnum
    return make(name, members, module=MODULE, qualname=f"{owner}.{name}" if owner else name)


def incompatible(
    function: str, signatures: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TypeError:
    """The TypeError for a call that fits none of the overloads of `function`, which are `signatures`.

    For a method, `args` begins with the object; for "__init__" it does not.
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
    """The error that pybind11 raises if a value inside a container has the wrong type."""
    return RuntimeError(
        "Unable to cast Python instance to C++ type "
        "(#define PYBIND11_DETAILED_ERROR_MESSAGES or compile in debug mode for details)"
    )


def text_of(value: Any) -> str | None:
    """The text that pybind11 reads from a value as a std::string; None if it refuses the value.

    It is a plain str, also for a value of a class that the model derives from it (`class Names(str, Enum)`).
    """
    if isinstance(value, str):
        value = str.__str__(value)
        return value if value.isascii() or not _LONE_SURROGATE.search(value) else None
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    return None


def as_python(text: str) -> str:
    """A text as pybind11 gives it to Python code.

    Raises UnicodeDecodeError for one with lone surrogates: its bytes are no UTF-8.
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode()


def truth_of(value: Any) -> bool | None:
    """The truth that pybind11 reads from a value as a bool; None if it refuses the value."""
    return None if value is None or not hasattr(value, "__bool__") else bool(value)


def is_sequence(value: Any) -> bool:
    """Whether pybind11 accepts a value as a std::vector: a sequence that is not a string."""
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
    except Exception:  # noqa: BLE001 the model's own class may raise anything
        return "<repr raised Error>"
