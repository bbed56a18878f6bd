"""A slot: one input tensor of a model, and how a JSON value becomes its data."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from triton_adapter.errors import BadRequestError
from triton_adapter.openai.parameters import is_int, is_number
from triton_adapter.triton.codec import Tensor
from triton_adapter.triton.discovery import TensorSpec


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("a boolean")
    return value


def _float(value: Any) -> float:
    if not is_number(value):
        raise ValueError("a number")
    return float(value)


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not is_int(value) or not low <= value <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return int(value)

    return convert


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "BYTES": _string,
    "BOOL": _bool,
    "FP16": _float,
    "BF16": _float,
    "FP32": _float,
    "FP64": _float,
    **{f"INT{bits}": _integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": _integer(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class Slot:
    """An input of the model: `batched` adds a batch dimension of 1 to what is sent."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    convert: Callable[[Any], Any]
    scalar_shape: list[int]
    batched: bool
    takes_list: bool

    @classmethod
    def of(cls, spec: TensorSpec, *, batched: bool) -> "Slot":
        """Return the slot of an input."""
        shape = [1 if length < 0 else length for length in spec.dims]
        return cls(
            spec.name,
            spec.datatype,
            spec.dims,
            CONVERTERS.get(spec.datatype, _string),
            [1, *shape] if batched else shape,
            batched,
            any(length != 1 for length in spec.dims),
        )

    def value(self, param: str, value: Any) -> Any:
        """Return the value in the tensor's datatype: an integer for a FP32 input becomes a float, and so on.

        A list stays a list (flat); a single value for a list input becomes a list of one. BadRequestError names
        the parameter.
        """
        try:
            if isinstance(value, list):
                if not self.takes_list and len(value) != 1:
                    raise ValueError("a single value")
                return [self.convert(item) for item in value]
            return [self.convert(value)] if self.takes_list else self.convert(value)
        except ValueError as error:
            raise BadRequestError(
                f"'{param}' must be {error}: the model's input '{self.name}' is {self.datatype}",
                param=param,
                code="invalid_value",
            ) from None

    def tensor(self, value: Any) -> Tensor:
        """Return the tensor of a converted value: the innermost dimension of any length gets the number of elements."""
        if not isinstance(value, list):
            return Tensor(self.name, self.datatype, self.scalar_shape, [value])
        shape = [1 if length < 0 else length for length in self.dims]
        free = [at for at, length in enumerate(self.dims) if length < 0]
        if free:
            fixed = prod(length for length in self.dims if length >= 0)
            shape[free[-1]] = len(value) // max(1, fixed)
        return Tensor(self.name, self.datatype, [1, *shape] if self.batched else shape, value)


def request_parameter(name: str, value: Any) -> Any:
    """Return a value if Triton can carry it as a request parameter. BadRequestError if it cannot."""
    if not isinstance(value, (str, bool, int, float)):
        raise BadRequestError(
            f"'{name}' is not an input of the model, and a Triton request parameter can only be a string, a number or a"
            " boolean",
            param=name,
            code="invalid_type",
        )
    return value
