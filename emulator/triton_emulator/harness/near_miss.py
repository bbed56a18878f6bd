"""Requests that come nearest to one that was expected and has not come, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from triton_emulator.harness.criteria import Criteria, header_fits
from triton_emulator.harness.journal import JournalEntry, Undecodable, parameters_of
from triton_emulator.harness.operations import OPERATIONS
from triton_emulator.protocol.datatypes import DATATYPES, Array
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor

#: how many of the nearest are shown
SHOWN = 3
T = TypeVar("T")


class Distance(NamedTuple):
    """How far one is from what was expected: whether these differ, and how many fields do. What comes first weighs."""

    operation: bool
    model: bool
    protocol: bool
    differences: int


@dataclass(frozen=True, slots=True)
class Expected:
    """A request that is to have come: its criteria, its inputs and parameters, and how often (None: at least once)."""

    criteria: Criteria
    inputs: Mapping[str, Any]
    parameters: Mapping[str, Any]
    times: int | None = None

    def __str__(self) -> str:
        parts = (
            [] if self.criteria == Criteria() and (self.inputs or self.parameters) else [str(self.criteria)]
        )
        parts += (
            [f"inputs={{{', '.join(f'{name}: {told(value)}' for name, value in self.inputs.items())}}}"]
            if self.inputs
            else []
        )
        parts += [f"parameters={dict(self.parameters)!r}"] if self.parameters else []
        return ", ".join(parts)

    def fits(self, entry: JournalEntry) -> bool:
        """Whether an entry is this request."""
        return not list(self.differences(entry))

    def differences(self, entry: JournalEntry, request: InferRequest | None = None) -> Iterator[str]:
        """What is different in an entry, one line for each field; without a decoded `request` it is decoded."""
        yield from _criteria_differences(self.criteria, entry)
        if not (self.inputs or self.parameters):
            return
        try:
            asked = entry.request if request is None else request
        except Undecodable as fault:
            yield str(fault)
            return
        tensors = {tensor.name: tensor for tensor in asked.inputs}
        parameters = parameters_of(asked)
        for name, value in self.parameters.items():
            if name not in parameters:
                yield f"parameter {name}: missing, expected {value!r}"
            elif parameters[name] != value:
                yield f"parameter {name}: expected {value!r}, got {parameters[name]!r}"
        for name, value in self.inputs.items():
            if name not in tensors:
                yield f"{name}: missing; the inputs are {', '.join(tensors) or 'none'}"
            else:
                yield from tensor_differences(name, value, tensors[name])


def failure(expected: Expected, entries: Iterable[JournalEntry]) -> str:
    """Why an expectation is not met, with the nearest requests; "" where it is met."""
    everything = list(entries)
    judged = [(list(expected.differences(entry)), entry) for entry in everything]
    fitting = [entry for differences, entry in judged if not differences]
    if expected.times is None and fitting:
        return ""
    if expected.times is not None and len(fitting) == expected.times:
        return ""
    wanted = "at least one request" if expected.times is None else f"{expected.times} requests"
    lines = [f"expected {wanted} for {expected}, got {len(fitting)}"]
    if fitting:
        lines += ["these fit:", *(f"  {_line(entry)}" for entry in fitting[: SHOWN * 3])]
    misses = nearest(
        (_distance(expected, entry, differences), (differences, entry))
        for differences, entry in judged
        if differences
    )
    if misses and len(fitting) < (expected.times or 1):
        lines.append("the nearest:")
        for differences, entry in misses:
            lines += [f"  {_line(entry)}", *(f"    {difference}" for difference in differences)]
    elif not everything:
        lines.append("the journal is empty: no request has come")
    return "\n".join(lines)


def nearest(judged: Iterable[tuple[Distance, T]]) -> list[T]:
    """The few that come nearest, the nearest first.

    One of another operation and another model says nothing where there are others, however little else is different.
    """
    ranked = sorted(judged, key=lambda pair: pair[0])
    close = [pair for pair in ranked if not (pair[0].operation and pair[0].model)]
    return [each for _, each in (close or ranked)[:SHOWN]]


def _distance(expected: Expected, entry: JournalEntry, differences: Sequence[str]) -> Distance:
    wanted, kind = expected.criteria, OPERATIONS.get(entry.operation)
    has_no_inputs = kind is None or not kind.infers
    return Distance(
        wanted.operation not in (None, entry.operation)
        or (bool(expected.inputs or expected.parameters) and has_no_inputs),
        wanted.model not in (None, entry.model),
        wanted.protocol not in (None, entry.protocol),
        len(differences),
    )


def _line(entry: JournalEntry) -> str:
    model = f" {entry.model}" + (f":{entry.version}" if entry.version else "") if entry.model else ""
    return (
        f"{entry.number}. {entry.protocol} {entry.operation or entry.target}{model}, answered {entry.status}"
    )


def _criteria_differences(criteria: Criteria, entry: JournalEntry) -> Iterator[str]:
    for field in ("operation", "model", "version", "protocol"):
        wanted, given = getattr(criteria, field), getattr(entry, field)
        if wanted is not None and wanted != given:
            yield f"{field}: expected {wanted!r}, got {given!r}"
    given = entry.given_headers
    shown, told_of = entry.headers, criteria.shown_headers()
    for name, value in criteria.headers:
        if name not in given:
            yield f"header {name}: missing"
        elif not header_fits(given[name], value):
            wanted = told_of[name] if isinstance(told_of[name], str) else value.pattern
            yield f"header {name}: expected {wanted!r}, got {shown[name]!r}"
    if not criteria.where_fits(entry):
        yield f"where: {getattr(criteria.where, '__name__', 'the function')} is not true of it"


def tensor_differences(name: str, wanted: Any, tensor: Tensor, datatype: str = "") -> Iterator[str]:
    """What is different in a tensor, one line at most. `datatype` is that of `wanted`, "" where numpy's type tells."""
    expected = wanted if isinstance(wanted, np.ndarray) else None
    if expected is not None:
        datatype, shapes = datatype or datatype_of(expected), (tuple(expected.shape), tensor.shape)
        if (datatype, tensor.datatype) == ("UINT16", "BF16"):  # numpy has no BF16
            datatype = "BF16"
        if datatype != tensor.datatype or shapes[0] != shapes[1]:
            advice = _datatype_advice(datatype, tensor.datatype) or shape_advice(*shapes)
            got = form(tensor.datatype, tensor.shape)
            yield f"{name}: expected {form(datatype, shapes[0])}, got {got}{advice}"
            return
    try:
        given = tensor.array
    except Exception as fault:  # noqa: BLE001  (whatever is wrong with it is what is different)
        yield f"{name}: has no elements to compare: {getattr(fault, 'message', fault)}"
        return
    yield from _element_differences(name, _plain(wanted), _plain(given))


def _plain(values: Any) -> list[Any]:
    """The elements in one dimension, texts as bytes."""
    flat = np.asarray(values, dtype=object).ravel().tolist()
    return [value.encode() if isinstance(value, str) else value for value in flat]


def _element_differences(name: str, wanted: list[Any], given: list[Any]) -> Iterator[str]:
    if len(wanted) != len(given):
        yield f"{name}: expected {len(wanted)} elements, got {len(given)}"
        return
    different = [at for at, pair in enumerate(zip(wanted, given, strict=True)) if not _same(*pair)]
    if different:
        at = different[0]
        yield (
            f"{name}: {len(different)} of {len(wanted)} elements differ; the first is number {at}: "
            f"expected {wanted[at]!r}, got {given[at]!r}"
        )


def _same(wanted: Any, given: Any) -> bool:
    return bool(wanted == given) or (wanted != wanted and given != given)  # noqa: PLR0124  (not a number)


_DATATYPES = {row.numpy: name for name, row in reversed(DATATYPES.items()) if name not in ("BYTES", "BF16")}


def datatype_of(array: Array) -> str:
    """Triton's name for an array's type; BYTES for texts and objects."""
    if array.dtype.kind in "SUO":
        return "BYTES"
    return _DATATYPES.get(array.dtype.newbyteorder("<"), str(array.dtype))


def _datatype_advice(wanted: str, given: str) -> str:
    if (wanted, given) in (("FP32", "FP64"), ("INT32", "INT64")):
        return f": {given} is numpy's default"
    return ""


def shape_advice(wanted: tuple[int, ...], given: tuple[int, ...]) -> str:
    """What may be the mistake where a shape is another one."""
    if len(wanted) == len(given) >= 3 and given == (*wanted[:-3], *wanted[-2:], wanted[-3]):
        return ": looks like NHWC" if len(wanted) == 4 else ": looks like HWC"
    if len(wanted) == len(given) >= 3 and given == (*wanted[:-3], wanted[-1], *wanted[-3:-1]):
        return ": looks like NCHW" if len(wanted) == 4 else ": looks like CHW"
    if given == wanted[1:] and wanted[:1] == (1,):
        return ": the batch dimension is missing"
    if given[1:] == wanted and given[:1] == (1,):
        return ": has a batch dimension more"
    if given == wanted[::-1] and len(wanted) > 1:
        return ": looks transposed"
    return ""


def form(datatype: str, shape: Sequence[int]) -> str:
    """A datatype and a shape as messages write them: FP32[1,3]."""
    return f"{datatype}[{','.join(map(str, shape))}]"


def told(value: Any) -> str:
    """An expected value in a few words."""
    if isinstance(value, np.ndarray):
        return form(datatype_of(value), value.shape)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
