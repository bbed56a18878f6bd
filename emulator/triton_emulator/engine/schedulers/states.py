"""The implicit state of sequences: what a sequence's state tensors hold at its start.

No backend of the emulator writes state, so every request of a sequence sees these initial values.
"""

from pathlib import Path

from triton_emulator.protocol.datatypes import BY_CONFIG_NAME, DATATYPES
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.shapes import element_count
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.config.whole_file import read_whole
from triton_emulator.repository.schema import Proto, enum_name

_FOLDER = "initial_state"


def initial_states(config: ModelConfig, directory: Path) -> tuple[Tensor, ...]:
    """Return the state tensors of a new sequence, in the order in which Triton adds them to a request.

    Raises TritonError if a state's `initial_state` does not match it (core 2.51, GenerateInitialStateData).
    """
    batching = config.max_batch_size > 0
    states: dict[str, Tensor] = {}
    for state in config.proto.sequence_batching.state:
        if len(state.initial_state) > 1:
            raise invalid_arg(
                f"initial_state field for state input '{state.input_name}' must contain exactly one or zero element. "
                f"Found '{len(state.initial_state)}' elements."
            )
        data = _initial_data(state, state.initial_state[0], directory) if state.initial_state else b""
        states.setdefault(to_text(state.input_name), _tensor(state, data, batching=batching))
    return tuple(states[name] for name in sorted(states))


def _tensor(state: Proto, data: bytes, *, batching: bool) -> Tensor:
    """2.51: a variable dimension becomes 1, whatever the initial state says. What 2.51 leaves unset is zero here."""
    datatype = BY_CONFIG_NAME[enum_name(state, "data_type")].name
    dims = tuple(1 if dim == -1 else dim for dim in state.dims)
    size = _byte_size(datatype, dims)
    if datatype == "BYTES":
        data = bytes(size)  # 2.51 replaces an initial state of strings with empty strings
    return Tensor(
        to_text(state.input_name),
        datatype,
        (1, *dims) if batching else dims,
        data=data[:size].ljust(size, b"\0"),
    )


def _byte_size(datatype: str, dims: tuple[int, ...]) -> int:
    return (4 if datatype == "BYTES" else DATATYPES[datatype].size) * element_count(dims)


def _initial_data(state: Proto, initial: Proto, directory: Path) -> bytes:
    name = state.input_name
    datatype = BY_CONFIG_NAME[enum_name(initial, "data_type")].name
    data: bytes
    if (fault := _misfit(state, initial)) is not None:
        raise fault
    size = _byte_size(datatype, tuple(initial.dims))
    match initial.WhichOneof("state_data"):
        case "zero_data":
            return bytes(size)
        case "data_file":
            path = directory / _FOLDER / to_text(initial.data_file)
            try:
                data = read_whole(path)
            except OSError as error:
                raise internal(f"failed to open text file for read {path}: {error.strerror}") from None
            if len(data) < size and datatype != "BYTES":
                raise invalid_arg(
                    f"initial_state setting expects {size} bytes, but the data provided from {initial.data_file}only "
                    f"has {len(data)} bytes."
                )
            return data
        case _:
            raise invalid_arg(f"initial_state setting expects state'{name}' to have state_data set")


def _misfit(state: Proto, initial: Proto) -> TritonError | None:
    name = state.input_name
    if initial.data_type != state.data_type:
        return invalid_arg(
            f"The data type used for 'initial_state' field of state '{name}' does not match the state data type."
        )
    if not initial.name:
        return invalid_arg(f"Field 'name' must be set when using initial_state for state input '{name}'.")
    if len(initial.dims) != len(state.dims):
        return invalid_arg(
            "Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions for state input "
            f"'{name}'. {len(initial.dims)} != {len(state.dims)}"
        )
    for given, wanted in zip(initial.dims, state.dims, strict=True):
        if given == -1:
            return invalid_arg(
                f"'initial_state' field for state input name '{name}' contains variable dimensions."
            )
        if wanted not in (-1, given):
            return invalid_arg(
                f"'initial_state' dim for input name '{name}' doesn't match 'state' dim description. "
                f"{given} != {wanted}"
            )
    return None
