"""An ensemble: its steps run as soon as the tensors that they read are there, each as a request of its own.

As core 2.51 does it: every tensor has numbered values (a decoupled step gives one per response), a step runs once for
each number that all its inputs have, and the ensemble answers once for each number that all its outputs have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triton_emulator.engine.model import Call, Deliver, ModelDefinition
from triton_emulator.protocol.errors import Code, TritonError, invalid_arg
from triton_emulator.protocol.messages import InferRequest, InferResponse, RequestedOutput
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.model_config import ModelConfig

#: Validates a request and sends it to a model by name and version; the responses come on the event loop.
Submit = Callable[[str, str, InferRequest, Deliver], Call]
#: The configuration of a member by name and version. Raises TritonError where it is not ready.
Member = Callable[[str, str], ModelConfig]


@dataclass(frozen=True, slots=True)
class Step:
    """One member. `inputs` and `outputs` are (the member's tensor, the ensemble's tensor)."""

    model: str
    version: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def steps_of(definition: ModelDefinition) -> tuple[Step, ...]:
    return tuple(
        Step(
            step.model_name,
            "" if step.model_version < 0 else str(step.model_version),
            tuple(sorted(step.input_map.items())),
            tuple(sorted(step.output_map.items())),
        )
        for step in definition.config.proto.ensemble_scheduling.step
    )


class EnsembleExecutor:
    """Runs on the event loop; the members run wherever their own executors do."""

    instances = 1

    def __init__(self, definition: ModelDefinition, submit: Submit, member: Member) -> None:
        self.definition = definition
        self.steps = steps_of(definition)
        self.submit = submit
        self.member = member
        self.outputs = tuple(spec.name for spec in definition.config.outputs)

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        for call in calls:
            _Run(self, call).start()

    def finalize(self) -> None:
        """An ensemble holds nothing: its members are models of their own."""


@dataclass(frozen=True, slots=True)
class _Value:
    """One value of an ensemble tensor. `batched` says whether its first dimension counts requests."""

    tensor: Tensor
    batched: bool


class _Run:
    """One request on its way through the steps."""

    def __init__(self, executor: EnsembleExecutor, call: Call) -> None:
        self._executor = executor
        self._call = call
        self._config = executor.definition.config
        requested = {output.name for output in call.request.outputs}
        self._requested = [name for name in executor.outputs if not requested or name in requested]
        self._steps = _needed(executor.steps, self._requested)
        #: by ensemble tensor, then number; None for an optional input that was not given
        self._values: dict[str, dict[int, _Value | None]] = {}
        self._running = 0
        self._answered: set[int] = set()
        self._ended = False

    def start(self) -> None:
        batched = self._config.max_batch_size > 0
        given = {tensor.name: _Value(tensor, batched) for tensor in self._call.request.inputs}
        self._advance(
            [(spec.name, self._add(spec.name, given.get(spec.name))) for spec in self._config.inputs]
        )

    def _add(self, name: str, value: _Value | None) -> int:
        values = self._values.setdefault(name, {})
        values[len(values)] = value
        return len(values) - 1

    def _advance(self, fresh: Sequence[tuple[str, int]]) -> None:
        """Run what the fresh values make ready; answer what is complete; end where nothing runs any more."""
        ready: dict[tuple[int, int], None] = {}
        for name, number in fresh:
            for index, step in enumerate(self._steps):
                reads = {source for _, source in step.inputs}
                if name in reads and all(self._has(source, number) for source in reads):
                    ready[index, number] = None
        self._running += len(ready)
        for index, number in ready:
            if not self._ended:
                self._run(self._steps[index], number)
        self._answer(fresh)
        if self._running == 0 and not self._ended:
            self._end()

    def _has(self, name: str, number: int) -> bool:
        return number in self._values.get(name, ())

    def _run(self, step: Step, number: int) -> None:
        source = self._call.request
        request = InferRequest(
            step.model,
            step.version,
            source.id,
            outputs=[RequestedOutput(name) for name, _ in step.outputs],
            parameters=dict(source.parameters),
            sequence_id=source.sequence_id,
            sequence_start=source.sequence_start,
            sequence_end=source.sequence_end,
            priority=source.priority,
            timeout=source.timeout,
        )
        try:
            member = self._executor.member(step.model, step.version)
            for name, ensemble_name in step.inputs:
                value = self._values[ensemble_name][number]
                spec = member.input(name)
                if value is not None and spec is not None:
                    request.inputs.append(_fitted(name, value, spec.dims, batching=member.max_batch_size > 0))
            batched = member.max_batch_size > 0
            if self._call.cancelled:
                raise TritonError(Code.CANCELLED, "cancelled by client")
            self._executor.submit(
                step.model,
                step.version,
                request,
                lambda response, final: self._take(step, response, final, batched),
            )
        except TritonError as error:
            self._running -= 1
            self._fail(error)

    def _take(self, step: Step, response: InferResponse | None, final: bool, batched: bool) -> None:
        if self._ended:
            return
        if final:
            self._running -= 1
        fresh: list[tuple[str, int]] = []
        if response is not None:
            if response.error is not None:
                self._fail(response.error)
                return
            names = dict(step.outputs)
            fresh = [
                (names[tensor.name], self._add(names[tensor.name], _Value(tensor, batched)))
                for tensor in response.outputs
                if tensor.name in names
            ]
        self._advance(fresh)

    def _answer(self, fresh: Sequence[tuple[str, int]]) -> None:
        for number in dict.fromkeys(number for name, number in fresh if name in self._requested):
            if (
                self._ended
                or number in self._answered
                or not all(self._has(n, number) for n in self._requested)
            ):
                continue
            self._answered.add(number)
            outputs = [self._output(name, number) for name in self._requested]
            last = self._running == 0 and not self._config.decoupled
            if last:
                self._ended = True
            self._call.respond(self._response(outputs), final=last)

    def _output(self, name: str, number: int) -> Tensor:
        value, spec = self._values[name][number], self._config.output(name)
        if value is None or spec is None:
            raise invalid_arg(f"output '{name}' has no value")
        return _fitted(name, value, spec.dims, batching=self._config.max_batch_size > 0)

    def _response(self, outputs: list[Tensor]) -> InferResponse:
        request = self._call.request
        response = InferResponse(request.model_name, str(self._call.version), request.id, outputs)
        # 2.51: an ensemble says which sequence it answers, of whatever request
        response.parameters = {
            "sequence_id": request.sequence_id,
            "sequence_start": request.sequence_start,
            "sequence_end": request.sequence_end,
        }
        return response

    def _end(self) -> None:
        self._ended = True
        if not self._answered and not self._config.decoupled:
            self._refuse(
                invalid_arg(
                    "unexpected deadlock, at least one output is not set while no more ensemble steps can be made"
                )
            )
            return
        self._call.respond(None, final=True)

    def _fail(self, error: TritonError) -> None:
        if self._ended:
            return
        self._ended = True
        self._refuse(error)

    def _refuse(self, error: TritonError) -> None:
        request = self._call.request
        self._call.failed = True
        message = f"in ensemble '{self._executor.definition.name}', {error.message}"
        response = InferResponse(request.model_name, str(self._call.version), request.id)
        response.error = TritonError(error.code, message)
        self._call.respond(response, final=True)


def _fitted(name: str, value: _Value, dims: Sequence[int], *, batching: bool) -> Tensor:
    """A value as its reader takes it: a batch dimension is added or taken away where the two differ on having one."""
    tensor = value.tensor
    shape = tensor.shape
    if batching and not value.batched and _matches(dims, shape):
        shape = (1, *shape)
    elif (
        not batching
        and value.batched
        and not _matches(dims, shape)
        and shape[:1] == (1,)
        and _matches(dims, shape[1:])
    ):
        shape = shape[1:]
    return tensor.renamed(name, shape)


def _matches(dims: Sequence[int], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))


def _needed(steps: Sequence[Step], requested: Sequence[str]) -> list[Step]:
    """The steps that some requested output depends on; the others are not run (2.51)."""
    wanted = set(requested)
    kept: list[Step] = []
    grew = True
    while grew:
        grew = False
        for step in steps:
            if step not in kept and any(name in wanted for _, name in step.outputs):
                kept.append(step)
                wanted.update(name for _, name in step.inputs)
                grew = True
    return [step for step in steps if step in kept]
