"""The stand-in of any other model: outputs of the configured name, type and shape, with values drawn from a seed.

The values of a row depend on the seed, the output's name and that row's inputs, not on the other rows of the batch. So
batching requests together changes no answer.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import shake_128
from typing import Any

import numpy as np

from triton_emulator.backends.standins.detections import Detections, find
from triton_emulator.backends.standins.generator import WORDS
from triton_emulator.backends.standins.inline import Hooks, InlineExecutor, bytes_array
from triton_emulator.backends.standins.latency import Delay, milliseconds
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.protocol.datatypes import DATATYPES, Array
from triton_emulator.protocol.errors import internal
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.shapes import element_count
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec
from triton_emulator.repository.labels import read_labels

#: Values are drawn for this many elements of a row; after them, they repeat.
DRAWN = 1 << 16
#: The most elements of an output: a larger one is refused, as making it would delay every other request.
LARGEST = 1 << 26

_REFERENCE = re.compile(r"(?P<input>.+)\[(?P<axis>\d+)\]")
#: An output with such a name holds probabilities: they add up to 1 along its last dimension.
_PROBABILITIES = re.compile(r"prob|softmax", re.IGNORECASE)
_WORDS = tuple(word.encode() for word in WORDS)

#: A dimension: a number, or (input, axis of that input's shape without the batch dimension).
Dim = int | tuple[str, int]


@dataclass(frozen=True, slots=True)
class Drawing:
    """How values are drawn.

    `range` is (lowest, highest); integers may be equal to the highest, floats are below it. None means [0, 1) for
    floats and 0 to 9 for integers. An output in `values` gets those values, repeated, instead of drawn ones.
    """

    seed: int = 0
    range: tuple[float, float] | None = None
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    #: shapes by output name, without the batch dimension; "INPUT[0]" is an axis of an input
    dims: Mapping[str, Sequence[int | str]] = field(default_factory=dict)


class Filler:
    """Makes one output of a model. `detections` is what it has in common with others, where the model is a detector."""

    def __init__(
        self, spec: TensorSpec, config: ModelConfig, drawing: Drawing, detections: Detections | None = None
    ) -> None:
        self.spec = spec
        self.batched = config.max_batch_size > 0
        self.drawing = drawing
        self.dims = _resolve(spec, config, drawing)
        self.prefix = f"{drawing.seed}/{spec.name}/".encode()
        self.draw = _DRAW[DATATYPES[spec.datatype].numpy.kind if spec.datatype != "BF16" else "bf16"]
        self.constant = _constant(spec, drawing.values.get(spec.name))
        self.range = drawing.range
        self.detections: Detections | None = None
        if detections is not None and spec.name in detections.parts and self.constant is None:
            self.detections = detections
            self.entries = _reference(detections.entries, config)
            self.range = drawing.range or detections.limits(spec)
            axis = detections.parts[spec.name].axis
            if axis and spec.dims[-axis] == -1 and spec.name not in drawing.dims:
                self.dims[-axis] = self.entries

    def fill(self, request: InferRequest, batch: int) -> Tensor:
        """The output for a request of `batch` rows (1 for a model without batching).

        Raises TritonError (INTERNAL) if it would have more than LARGEST elements.
        """
        spec = self.spec
        shape = [self._size(request, dim) for dim in self.dims]
        size = element_count(shape)
        if size * batch > LARGEST:
            whole = [batch, *shape] if self.batched else shape
            raise internal(f"output '{spec.name}' of shape {whole} is too large to make up; set its 'dims'")
        keys = row_keys(request, batch) if self.constant is None else [b""] * batch
        rows = [self._row(key, size) for key in keys]
        if self.detections is not None and size:
            entries = self._size(request, self.entries)
            rows = [
                self.detections.shaped(spec.name, row.reshape(shape), key, entries).reshape(-1)
                for row, key in zip(rows, keys, strict=True)
            ]
        array = rows[0] if batch == 1 else np.concatenate(rows) if rows else self._row(b"", 0)
        if shape and _PROBABILITIES.search(spec.name) and array.dtype.kind == "f" and size:
            table = array.reshape(-1, shape[-1]).astype(np.float64)
            array = (table / table.sum(axis=1, keepdims=True)).astype(array.dtype)
        whole_shape = [batch, *shape] if self.batched else shape
        return Tensor(spec.name, spec.datatype, whole_shape, array=array.reshape(whole_shape))

    def _size(self, request: InferRequest, dim: Dim) -> int:
        if isinstance(dim, int):
            return dim
        name, axis = dim
        for tensor in request.inputs:
            if tensor.name == name:
                shape = tensor.shape[1:] if self.batched else tensor.shape
                return shape[axis] if axis < len(shape) else 1
        return 1

    def _row(self, key: bytes, size: int) -> Array:
        if self.constant is not None:
            return np.resize(self.constant, size)
        drawn = self.draw(shake_128(self.prefix + key).digest, min(size, DRAWN), self.spec, self.range)
        return drawn if size <= DRAWN else np.resize(drawn, size)


def row_keys(request: InferRequest, batch: int) -> list[bytes]:
    """The content of a request's inputs, row by row, as bytes: rows with different content have different keys."""
    keys = [b""] * batch
    for tensor in request.inputs:
        if tensor.datatype == "BYTES":
            cells = tensor.array.reshape(batch, -1) if batch else tensor.array
            parts: Iterable[bytes] = (b"\0".join(row.tolist()) for row in cells)
        else:
            data = memoryview(tensor.data).cast("B")
            width = len(data) // batch if batch else 0
            parts = (bytes(data[row * width : (row + 1) * width]) for row in range(batch))
        keys = [
            key + tensor.name.encode() + b"=" + part + b";" for key, part in zip(keys, parts, strict=True)
        ]
    return keys


def batch_of(request: InferRequest, *, batched: bool) -> int:
    """The number of rows: the first dimension of the inputs if the model batches, else 1."""
    return request.inputs[0].shape[0] if batched and request.inputs else 1


class SyntheticExecutor(InlineExecutor):
    """Answers each request with one response that holds every output, also for a decoupled model."""

    def __init__(self, definition: ModelDefinition, hooks: Hooks, drawing: Drawing, delay: Delay = 0) -> None:
        super().__init__(definition, hooks, delay)
        config = definition.config
        labels = read_labels(config.proto, definition.directory, definition.rules)
        detections = find(config, labels, drawing.seed, drawing.values, drawing.dims)
        self.fillers = [Filler(spec, config, drawing, detections) for spec in config.outputs]

    def answer(self, call: Call) -> None:
        self.after(milliseconds(self.delay, call), call, self._now)

    def _now(self, call: Call) -> None:
        batch = batch_of(call.request, batched=self.batched)
        self.respond(call, [filler.fill(call.request, batch) for filler in self.fillers])


class IdentityExecutor(InlineExecutor):
    """Copies to each output an input of the same datatype: the first such input that no earlier output has taken.

    Raises LoadError if an output finds no input.
    """

    def __init__(self, definition: ModelDefinition, hooks: Hooks, delay: Delay = 0) -> None:
        super().__init__(definition, hooks, delay)
        if missing := unmatched_outputs(definition.config):
            raise LoadError(
                f"Invalid argument: behaviour 'identity' of model '{self.name}' finds no {missing[0].datatype} input "
                f"for output '{missing[0].name}'"
            )
        self.order = {spec.name: place for place, spec in enumerate(definition.config.outputs)}
        self.source = {
            source.name: spec.name for spec, source in _matches(definition.config) if source is not None
        }

    def answer(self, call: Call) -> None:
        if self.delay:
            self.after(milliseconds(self.delay, call), call, self._now)
        else:
            self._now(call)

    def _now(self, call: Call) -> None:
        source = self.source
        outputs = []
        for tensor in call.request.inputs:
            name = source.get(tensor.name)
            if name is None:
                continue
            if tensor.has_data:
                outputs.append(Tensor(name, tensor.datatype, tensor.shape, data=tensor.data))
            else:
                outputs.append(Tensor(name, tensor.datatype, tensor.shape, array=tensor.array))
        if len(outputs) > 1:
            outputs.sort(key=lambda tensor: self.order[tensor.name])
        self.respond(call, outputs)


def unmatched_outputs(config: ModelConfig) -> list[TensorSpec]:
    """The outputs for which `IdentityExecutor` finds no input."""
    return [spec for spec, source in _matches(config) if source is None]


def _matches(config: ModelConfig) -> list[tuple[TensorSpec, TensorSpec | None]]:
    free = list(config.inputs)
    matches = []
    for spec in config.outputs:
        match = next((candidate for candidate in free if candidate.datatype == spec.datatype), None)
        if match is not None:
            free.remove(match)
        matches.append((spec, match))
    return matches


def _resolve(spec: TensorSpec, config: ModelConfig, drawing: Drawing) -> list[Dim]:
    """An output's dims. A variable one (-1) follows an input of the same rank; without such an input it is 1.

    It follows the first input that has a variable dim at the same axis, else the first input of that rank. Raises
    LoadError if the dims of the settings do not fit the configuration.
    """
    given = drawing.dims.get(spec.name)
    if given is not None:
        if len(given) != len(spec.dims) or any(
            isinstance(one, int) and dim not in (-1, one) for one, dim in zip(given, spec.dims, strict=True)
        ):
            raise LoadError(
                f"Invalid argument: 'dims' {list(given)} of output '{spec.name}' do not fit {list(spec.dims)} "
                f"in the config of model '{config.name}'"
            )
        return [_reference(one, config) for one in given]
    ranked = [source for source in config.inputs if len(source.dims) == len(spec.dims)]
    dims: list[Dim] = []
    for axis, dim in enumerate(spec.dims):
        if dim != -1:
            dims.append(dim)
            continue
        variable = [source for source in ranked if source.dims[axis] == -1] or ranked
        dims.append((variable[0].name, axis) if variable else 1)
    return dims


def _reference(dim: int | str, config: ModelConfig) -> Dim:
    if isinstance(dim, int):
        return dim
    found = _REFERENCE.fullmatch(dim)
    source = config.input(found["input"]) if found else None
    if found is None or source is None:
        raise LoadError(
            f"Invalid argument: dim '{dim}' of model '{config.name}' is neither a number nor INPUT[axis]"
        )
    axis = int(found["axis"])
    if axis >= max(len(source.dims), len(source.reshape or ())):
        raise LoadError(
            f"Invalid argument: dim '{dim}' of model '{config.name}': input '{source.name}' has dims "
            f"{list(source.dims)}, and the first axis is 0"
        )
    return source.name, axis


def _constant(spec: TensorSpec, values: Sequence[Any] | None) -> Array | None:
    if values is None:
        return None
    try:
        if spec.datatype == "BYTES":
            return bytes_array([str(value).encode() for value in values])
        if spec.datatype == "BF16":
            return _bf16(np.asarray(values, dtype=np.float32))
        return np.asarray(values, dtype=DATATYPES[spec.datatype].numpy)
    except (ValueError, TypeError, OverflowError) as error:
        raise LoadError(
            f"Invalid argument: 'values' of output '{spec.name}' are not {spec.datatype}: {error}"
        ) from error


def _bf16(values: Array) -> Array:
    """The upper halves of FP32 numbers (truncated, not rounded)."""
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2")


def _fractions(digest: Any, size: int, limits: tuple[float, float] | None) -> Array:
    fractions: Array = np.frombuffer(digest(4 * size), dtype="<u4") / 4294967296.0
    if limits is not None:
        fractions = limits[0] + fractions * (limits[1] - limits[0])
    return fractions


def _draw_floats(digest: Any, size: int, spec: TensorSpec, limits: tuple[float, float] | None) -> Array:
    return _fractions(digest, size, limits).astype(DATATYPES[spec.datatype].numpy)


def _draw_bf16(digest: Any, size: int, spec: TensorSpec, limits: tuple[float, float] | None) -> Array:
    return _bf16(_fractions(digest, size, limits))


def _draw_integers(digest: Any, size: int, spec: TensorSpec, limits: tuple[float, float] | None) -> Array:
    numpy = DATATYPES[spec.datatype].numpy
    edge = np.iinfo(numpy)
    least, most = int(edge.min), min(int(edge.max), 2**63 - 1)
    low, high = (max(least, min(int(limit), most)) for limit in limits or (0, 9))
    span = min(high - low + 1, 2**32)
    drawn: Array = (low + np.frombuffer(digest(4 * size), dtype="<u4").astype(np.int64) % span).astype(numpy)
    return drawn


def _draw_booleans(digest: Any, size: int, spec: TensorSpec, limits: tuple[float, float] | None) -> Array:
    return np.frombuffer(digest(size), dtype=np.uint8) >= 128


def _draw_words(digest: Any, size: int, spec: TensorSpec, limits: tuple[float, float] | None) -> Array:
    return bytes_array([_WORDS[byte % len(_WORDS)] for byte in digest(size)])


_DRAW = {
    "f": _draw_floats,
    "bf16": _draw_bf16,
    "i": _draw_integers,
    "u": _draw_integers,
    "b": _draw_booleans,
    "O": _draw_words,
}
