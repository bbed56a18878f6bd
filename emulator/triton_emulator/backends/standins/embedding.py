"""The stand-in of an embedding model: for each text or list of token ids it returns one vector of unit length.

Equal inputs give equal vectors, in whatever batch they come. Different inputs give unrelated directions.
"""

from dataclasses import dataclass
from hashlib import shake_128

import numpy as np

from triton_emulator.backends.standins.inline import Hooks, InlineExecutor
from triton_emulator.backends.standins.latency import Delay, milliseconds
from triton_emulator.backends.standins.synthetic import Drawing, Filler, batch_of
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.protocol.datatypes import DATATYPES, Array
from triton_emulator.protocol.shapes import element_count
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec

#: The length of a vector if neither the configuration nor the settings give one.
DEFAULT_DIM = 384

_FLOATS = ("FP32", "FP16", "FP64")
_IDS = ("INT64", "INT32", "UINT64", "UINT32")


@dataclass(frozen=True, slots=True)
class Embedding:
    """Settings of an embedding model.

    `dim` is the length of a vector if the configuration leaves it open. `input` and `output` name the tensors; with "",
    they are found by datatype and name.
    """

    seed: int = 0
    dim: int | None = None
    input: str = ""
    output: str = ""


def find_input(config: ModelConfig) -> TensorSpec | None:
    """The input to embed: the first BYTES input, else the first integer input with "ids" in its name, else the first
    integer input.
    """
    integers = [spec for spec in config.inputs if spec.datatype in _IDS]
    candidates = [
        *(spec for spec in config.inputs if spec.datatype == "BYTES"),
        *(spec for spec in integers if "ids" in spec.name.lower()),
        *integers,
    ]
    return candidates[0] if candidates else None


def find_outputs(config: ModelConfig) -> list[TensorSpec]:
    """The outputs that can hold vectors: float outputs of one dimension or more."""
    return [spec for spec in config.outputs if spec.datatype in _FLOATS and spec.dims]


def vectors(keys: list[bytes], dim: int, seed: int) -> Array:
    """One unit vector per key, as an FP64 array of shape (len(keys), dim)."""
    prefix = f"{seed}/".encode()
    drawn = b"".join([shake_128(prefix + key).digest(4 * dim) for key in keys])
    table: Array = np.frombuffer(drawn, dtype="<i4").reshape(len(keys), dim) / 2147483648.0
    unit: Array = table / np.sqrt((table * table).sum(axis=1, keepdims=True))
    return unit


class EmbeddingExecutor(InlineExecutor):
    """Answers with unit vectors in the float outputs and with synthetic values in the others.

    Raises LoadError if the model has no input to embed or no output for a vector.
    """

    def __init__(
        self,
        definition: ModelDefinition,
        hooks: Hooks,
        settings: Embedding,
        drawing: Drawing,
        delay: Delay = 0,
    ) -> None:
        super().__init__(definition, hooks, delay)
        self.settings = settings
        config = definition.config
        source = config.input(settings.input) if settings.input else find_input(config)
        chosen = [spec for spec in find_outputs(config) if settings.output in ("", spec.name)]
        if source is None or not chosen:
            raise LoadError(
                f"Invalid argument: behaviour 'embedding' of model '{self.name}' needs a BYTES or integer input "
                "and a float output with a dimension"
            )
        self.input = source.name
        names = {spec.name for spec in chosen}
        self.made_up -= names
        self.fillers = [
            None if spec.name in names else Filler(spec, config, drawing) for spec in config.outputs
        ]

    def answer(self, call: Call) -> None:
        self.after(milliseconds(self.delay, call), call, self._now)

    def _now(self, call: Call) -> None:
        request = call.request
        batch = batch_of(request, batched=self.batched)
        source = next((tensor for tensor in request.inputs if tensor.name == self.input), None)
        self.respond(
            call,
            [
                filler.fill(request, batch) if filler else self._embed(spec, source, batch)
                for spec, filler in zip(self.config.outputs, self.fillers, strict=True)
            ],
        )

    def _embed(self, spec: TensorSpec, source: Tensor | None, batch: int) -> Tensor:
        """The vectors of one output. Its axes before the last have the sizes of the input's first axes.

        For example, [n] texts and dims [-1, dim] give n vectors; [batch, length] ids and dims [dim] give one per row.
        """
        dim = spec.dims[-1] if spec.dims[-1] > 0 else self.settings.dim or DEFAULT_DIM
        wanted = spec.shape[:-1]
        given = source.shape if source is not None else ()
        lead = [
            size
            if size >= 0
            else given[axis]
            if axis < len(given)
            else batch
            if axis == 0 and self.batched
            else 1
            for axis, size in enumerate(wanted)
        ]
        keys = _keys(source, element_count(lead))
        array = vectors(keys, dim, self.settings.seed).astype(DATATYPES[spec.datatype].numpy)
        return Tensor(spec.name, spec.datatype, [*lead, dim], array=array)


def _keys(source: Tensor | None, count: int) -> list[bytes]:
    """The input of each of `count` vectors as bytes: an equal share of the elements, or all if they divide unevenly."""
    if source is None or count == 0:
        return [b""] * count
    elements = source.array.reshape(-1)
    if elements.size % count or not elements.size:
        rows = [elements] * count
    else:
        rows = list(elements.reshape(count, -1))
    if source.datatype == "BYTES":
        return [b"\0".join(row.tolist()) for row in rows]
    return [row.astype("<i8").tobytes() for row in rows]
