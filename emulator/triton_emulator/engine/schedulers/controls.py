"""The tensors that sequence batching adds to a request: its control tensors and its implicit state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.states import initial_states
from triton_emulator.protocol.datatypes import DATATYPES, encode_bytes
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.shapes import element_count
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import SEQUENCE_ID, ModelConfig, sequence_id_control
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.schema import Proto, enum_name

_START, _END, _READY = (f"CONTROL_SEQUENCE_{kind}" for kind in ("START", "END", "READY"))
_BOOLEANS = (("fp32_false_true", "FP32"), ("int32_false_true", "INT32"), ("bool_false_true", "BOOL"))
#: Until 2.53 there are this many bytes for a string sequence id, whatever its length
_NAME_ROOM = 128


@dataclass(frozen=True, slots=True)
class _Boolean:
    name: str
    datatype: str
    #: the tensor bytes of false and of true
    values: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Controls:
    """What a model's `control_input` and `state` ask for. Every control tensor has the shape `shape`."""

    shape: tuple[int, ...]
    booleans: Mapping[str, _Boolean]
    identifier: tuple[str, str] | None
    #: the bytes that a string sequence id has at least
    name_room: int
    states: tuple[Tensor, ...]

    @classmethod
    def of(cls, config: ModelConfig, directory: Path, rules: Personality) -> "Controls":
        batching = config.max_batch_size > 0
        booleans: dict[str, _Boolean] = {}
        for tensor in config.proto.sequence_batching.control_input:
            for control in tensor.control:
                kind = enum_name(control, "kind")
                if kind != SEQUENCE_ID:
                    booleans[kind] = _boolean(to_text(tensor.name), control)
        return cls(
            (1, 1) if batching else (1,),
            booleans,
            sequence_id_control(config),
            0 if rules.measures_sequence_names else _NAME_ROOM,
            initial_states(config, directory),
        )

    def tensors(self, request: InferRequest) -> list[Tensor]:
        """Return the control and state tensors for a request of a sequence."""
        on = {_START: request.sequence_start, _END: request.sequence_end, _READY: True}
        return self._tensors(on, request.sequence_id)

    def padding(self, like: Call) -> Call:
        """Make the call that fills an empty slot in a batch: not READY, no sequence id, input bytes all zero."""
        source = like.request
        inputs = [_empty(tensor) for tensor in source.inputs]
        request = InferRequest(source.model_name, source.model_version, inputs=inputs)
        request.controls = self._tensors({}, 0)
        call = Call(request, like.version, _discard, _discard_post, now=like.now)
        call.padding = True
        return call

    def _tensors(self, on: Mapping[str, bool], sequence: int | str) -> list[Tensor]:
        tensors = []
        for kind in (_START, _END, _READY):
            control = self.booleans.get(kind)
            if control is not None:
                data = control.values[on.get(kind, False)]
                tensors.append(Tensor(control.name, control.datatype, self.shape, data=data))
        if self.identifier is not None:
            name, datatype = self.identifier
            tensors.append(Tensor(name, datatype, self.shape, data=self._identifier(sequence, datatype)))
        return tensors + list(self.states)

    def _identifier(self, sequence: int | str, datatype: str) -> bytes:
        if isinstance(sequence, str):
            # until 2.53 a numeric control gets the string's length prefix and its first bytes
            data = encode_bytes([sequence.encode("utf-8", "surrogateescape")])
        else:
            data = sequence.to_bytes(8, "little")
        size = DATATYPES[datatype].size
        if datatype == "BYTES":
            size = 4 + (self.name_room or (len(data) - 4 if isinstance(sequence, str) else 0))
        return bytes(data[:size]).ljust(size, b"\0")


def _boolean(name: str, control: Proto) -> _Boolean:
    for field, datatype in _BOOLEANS:
        values = getattr(control, field)
        if values:
            off, on = np.array(list(values), dtype=DATATYPES[datatype].numpy)
            return _Boolean(name, datatype, (off.tobytes(), on.tobytes()))
    raise AssertionError("the repository has checked that one of the three is set")


def _empty(tensor: Tensor) -> Tensor:
    count = element_count(tensor.shape)
    size = 4 * count if tensor.datatype == "BYTES" else DATATYPES[tensor.datatype].size * count
    return Tensor(tensor.name, tensor.datatype, tensor.shape, data=bytes(size))


def _discard(response: InferResponse | None, final: bool) -> None:
    """Drop the answer to padding: no client waits for it."""


def _discard_post(
    deliver: Callable[[InferResponse | None, bool], None], response: InferResponse | None, final: bool
) -> None:
    """Drop the answer to padding: no client waits for it."""
