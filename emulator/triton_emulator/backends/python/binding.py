"""pybind11's refusals: the TypeError that a call of a C++ function with other arguments than it takes ends in."""

from typing import Any


def incompatible(function: str, signatures: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    """The TypeError for a call of `function` ("__init__", "send") whose overloads are `signatures`."""
    what = "constructor" if function == "__init__" else "function"
    lines = [f"{function}(): incompatible {what} arguments. The following argument types are supported:\n"]
    lines += [f"    {number}. {signature}\n" for number, signature in enumerate(signatures, 1)]
    invoked = ", ".join(_repr(arg) for arg in args)
    if kwargs:
        named = ", ".join(f"{key}={_repr(value)}" for key, value in kwargs.items())
        invoked += ("; " if args else "") + "kwargs: " + named
    return TypeError("".join(lines) + f"\nInvoked with: {invoked}")


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 a value of the model's own may raise anything
        return "<repr raised Error>"
