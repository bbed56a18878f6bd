"""`model_warmup`: requests that a model is run with before it is ready, made from its configuration."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triton_emulator.engine.call import Call, Now
from triton_emulator.engine.executor import ModelDefinition, ThreadedExecutor
from triton_emulator.engine.schedulers.plain import execute
from triton_emulator.engine.validation import validate
from triton_emulator.protocol.datatypes import BY_CONFIG_NAME, DATATYPES
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.shapes import element_count
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.config.whole_file import read_whole
from triton_emulator.repository.schema import Proto, enum_name

_FOLDER = "warmup"


@dataclass(frozen=True, slots=True)
class Sample:
    """One entry of `model_warmup`: `size` equal requests that are run together, `times` times."""

    name: str
    size: int
    times: int
    inputs: tuple[Tensor, ...]
    controls: tuple[Tensor, ...]

    def request(self, model: str) -> InferRequest:
        return InferRequest(model, inputs=list(self.inputs), controls=list(self.controls))


def samples_of(definition: ModelDefinition) -> list[Sample]:
    """The samples of a model. Raises TritonError with the reason why the model cannot be loaded."""
    samples = []
    for entry in definition.config.proto.model_warmup:
        if not entry.batch_size:
            continue  # 2.51: a batch size of 0, which is the default, is no request at all
        for name, setting in sorted(entry.inputs.items()):
            if -1 in setting.dims:
                raise invalid_arg(
                    f"warmup setting expects all variable-size dimensions are specified for input '{name}'"
                )
        inputs: list[Tensor] = []
        controls: list[Tensor] = []
        for name, setting in sorted(entry.inputs.items()):
            name = to_text(name)  # noqa: PLW2901
            known = definition.config.input(name) is not None
            # what is no input of the model is taken for a control tensor
            (inputs if known else controls).append(_tensor(name, setting, definition))
        sample = Sample(entry.name, entry.batch_size, entry.count or 1, tuple(inputs), tuple(controls))
        validate(sample.request(definition.name), definition.config, definition.rules)
        samples.append(sample)
    return samples


def _tensor(name: str, setting: Proto, definition: ModelDefinition) -> Tensor:
    datatype = BY_CONFIG_NAME[enum_name(setting, "data_type")].name
    dims = tuple(setting.dims)
    count = element_count(dims)
    size = (4 if datatype == "BYTES" else DATATYPES[datatype].size) * count
    kind = setting.WhichOneof("input_data_type")
    if kind == "zero_data" or (kind == "random_data" and datatype == "BYTES"):
        data = bytes(size)
    elif kind == "random_data":
        data = random.Random(name).randbytes(size)
    elif kind == "input_data_file":
        data = _file(to_text(setting.input_data_file), size, definition, exact=datatype != "BYTES")
    else:
        raise invalid_arg(
            f"[request id: <id_unknown>] warmup setting expects input '{name}' to have input_data_type set"
        )
    shape = (1, *dims) if definition.config.max_batch_size > 0 else dims
    return Tensor(name, datatype, shape, data=data)


def _file(name: str, size: int, definition: ModelDefinition, *, exact: bool) -> bytes:
    path = definition.directory / _FOLDER / name
    try:
        data = read_whole(path)
    except OSError as fault:
        raise internal(f"failed to open text file for read {path}: {fault.strerror}") from None
    if exact and len(data) < size:
        # 2.51: the words run together
        raise invalid_arg(
            f"[request id: <id_unknown>] warmup setting expects {size} bytes, but the data provided from {name}only "
            f"has {len(data)} bytes"
        )
    return data[:size] if exact else data


def warm_up(
    definition: ModelDefinition,
    executor: ThreadedExecutor,
    samples: Sequence[Sample],
    count: Callable[[Call], None],
    now: Now,
) -> None:
    """Run every sample on every instance, on its own thread, and count it. Raises TritonError where one fails."""
    for instance in range(executor.instances):
        for sample in samples:
            limit = max(1, definition.config.max_batch_size)
            if sample.size > limit:
                name = f"{definition.config.proto.instance_group[0].name}_{instance}"
                most = definition.config.max_batch_size  # 2.51 names 0 for a model that does not batch
                faults = [f"batch size {sample.size} for '{name}', max allowed is {most}"] * sample.size
                raise _failed(sample, faults)
            for _ in range(sample.times):
                _run(definition, executor, sample, instance, count, now)


def _run(
    definition: ModelDefinition,
    executor: ThreadedExecutor,
    sample: Sample,
    instance: int,
    count: Callable[[Call], None],
    now: Now,
) -> None:
    faults: list[str] = []
    finished = threading.Semaphore(0)

    def deliver(response: InferResponse | None, final: bool) -> None:
        if response is not None and response.error is not None:
            faults.append(response.error.message)
        if final:
            finished.release()

    calls = [
        Call(
            sample.request(definition.name),
            definition.version,
            deliver,
            lambda take, response, final: take(response, final),
            now=now,
        )
        for _ in range(sample.size)
    ]
    executor.start_worker(instance, lambda: execute(executor, calls, instance))
    for _ in calls:
        finished.acquire()
    for call in calls:
        count(call)
    if faults:
        raise _failed(sample, faults)


def _failed(sample: Sample, faults: list[str]) -> TritonError:
    return invalid_arg(
        f"failed to run warmup sample '{sample.name}': {''.join(f'{fault}; ' for fault in faults)}"
    )
