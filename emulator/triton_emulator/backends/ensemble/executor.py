"""An ensemble: its steps run as soon as the tensors that they read are there, each as a request of its own.

As core 2.51 does it: every tensor has numbered values (a decoupled step gives one per response), a step runs once for
each number that all its inputs have, and the ensemble answers once for each number that all its outputs have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Protocol

from triton_emulator.backends.ensemble.plan import Plan, Readers, fitted, prune
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest, InferResponse, Parameter, RequestedOutput
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.ensemble_graph import Step


class Members(Protocol):
    """Where the members are. All of it is called on the event loop and raises TritonError."""

    def model(self, name: str, version: str, namespace: str) -> LoadedModel:
        """The loaded version that a step means."""

    def prepare_inner(self, model: LoadedModel, request: InferRequest, deliver: Deliver) -> Call:
        """Validate a request that comes from a model; it is counted when its last response is there."""


class EnsembleExecutor:
    """Runs on the event loop; the members run wherever their own executors do."""

    instances = 1

    def __init__(self, definition: ModelDefinition, members: Members) -> None:
        self.definition = definition
        self.plan = Plan.of(definition.config)
        self.members = members

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        for call in calls:
            _Run(self, call).start()

    def finalize(self) -> None:
        """An ensemble holds nothing: its members are models of their own."""


@dataclass(slots=True)
class _Value:
    """One value of an ensemble tensor; `tensor` is None for one that was left out.

    `parameters` is which sequence it belongs to, None for an input of the ensemble. `readers` is how many steps and
    responses still want it.
    """

    tensor: Tensor | None
    parameters: tuple[tuple[str, Parameter], ...] | None = None
    readers: int = 0


class _Values:
    """The values of one ensemble tensor by their numbers, each until its last reader has had it."""

    __slots__ = ("_by_number", "_next", "_readers", "batch")

    def __init__(self, readers: int) -> None:
        self._readers = readers
        self._by_number: dict[int, _Value] = {}
        self._next = 0
        #: the batch size of the request that the values are from, 0 without a batch dimension
        self.batch = 0

    def add(self, value: _Value) -> int:
        number = self._next
        self._next += 1
        value.readers = self._readers
        if value.readers:
            self._by_number[number] = value
        return number

    def __contains__(self, number: int) -> bool:
        return number in self._by_number

    def __getitem__(self, number: int) -> _Value:
        return self._by_number[number]

    def done(self, number: int) -> None:
        """One reader has had the value."""
        value = self._by_number[number]
        value.readers -= 1
        if not value.readers:
            del self._by_number[number]


#: 2.51 takes the text for a pointer to one and dies, so nobody can rely on an answer
_CRASHES = (
    "an ensemble inside an ensemble cannot tell a sequence id that is a text: tritonserver 2.51 crashes on it"
)


class _Run:
    """One request on its way through the steps."""

    __slots__ = (
        "_answered",
        "_call",
        "_config",
        "_ended",
        "_executor",
        "_infer_ns",
        "_input_ns",
        "_members",
        "_output_ns",
        "_plan",
        "_readers",
        "_requested",
        "_running",
        "_sequence",
        "_values",
    )

    def __init__(self, executor: EnsembleExecutor, call: Call) -> None:
        self._executor = executor
        self._plan = executor.plan
        self._call = call
        self._config = executor.definition.config
        asked = {output.name for output in call.request.outputs}
        self._requested = [name for name in self._plan.outputs if not asked or name in asked]
        self._readers: Readers = prune(self._plan, self._requested)
        self._members: dict[tuple[str, str, str], LoadedModel] = {}
        #: by ensemble tensor
        self._values = {
            name: _Values(len(readers) + (name in self._requested)) for name, readers in self._readers.items()
        }
        self._running = 0
        self._answered = False
        self._ended = False
        self._sequence = _sequence_parameters(call.request)
        self._input_ns = self._infer_ns = self._output_ns = 0

    def start(self) -> None:
        call = self._call
        call.times.started(time_ns())
        call.execution = 0
        try:
            for step in self._plan.steps:
                if step.member not in self._members:
                    self._members[step.member] = member = self._executor.members.model(*step.member)
                    member.hold(call)  # 2.51: what is unloaded meanwhile ends behind this request
        except TritonError as error:
            self._fail(error)
            return
        batch = call.batch_size if self._config.max_batch_size > 0 else 0
        given = {tensor.name: tensor for tensor in call.request.inputs}
        fresh = []
        for spec in self._config.inputs:
            if spec.name in given or spec.optional:
                values = self._values[spec.name]
                values.batch = batch
                fresh.append((spec.name, values.add(_Value(given.get(spec.name)))))
        self._advance(fresh)

    def _advance(self, fresh: Sequence[tuple[str, int]]) -> None:
        """Run what the fresh values make ready; answer what is complete; end where nothing runs any more."""
        ready: set[tuple[int, int]] = set()
        values = self._values
        for name, number in fresh:
            for at in self._readers[name]:
                for _, source in self._plan.steps[at].inputs:
                    if number not in values[source]:
                        break
                else:
                    ready.add((at, number))
        try:
            prepared = [self._prepare(self._plan.steps[at], number) for at, number in sorted(ready)]
        except TritonError as error:
            self._fail(error)
            return
        self._running += len(prepared)
        if not self._answer(fresh):
            return
        for at, (member, call) in enumerate(prepared):
            if self._ended:
                return
            call.cancelled = self._call.cancelled
            try:
                member.submit(call)
            except TritonError as error:
                self._running -= len(prepared) - at  # neither this step runs nor those behind it
                self._fail(error)

    def _prepare(self, step: Step, number: int) -> tuple[LoadedModel, Call]:
        member = self._members[step.member]

        def take(response: InferResponse | None, final: bool) -> None:
            if final:
                self._measure(call)
            self._take(step, response, final=final)

        call = self._executor.members.prepare_inner(member, self._request(step, member, number), take)
        batch = call.batch_size if member.config.max_batch_size > 0 else 0
        for _, ensemble_name in step.outputs:
            self._values[ensemble_name].batch = batch
        return member, call

    def _request(self, step: Step, member: LoadedModel, number: int) -> InferRequest:
        source = self._call.request
        batching = member.config.max_batch_size > 0
        request = InferRequest(
            step.model,
            step.version_text,
            source.id,
            outputs=[RequestedOutput(name) for name, _ in step.outputs],
            parameters=dict(source.parameters),
            sequence_id=source.sequence_id,
            sequence_start=source.sequence_start,
            sequence_end=source.sequence_end,
            priority=source.priority,
            timeout=source.timeout,
        )
        for name, ensemble_name in step.inputs:
            values = self._values[ensemble_name]
            tensor = values[number].tensor
            spec = member.config.input(name)
            if tensor is not None and spec is not None:
                shape = fitted(tensor.shape, spec.dims, batching=batching, batch_size=values.batch)
                request.inputs.append(tensor.renamed(name, shape))
        for ensemble_name in {ensemble_name for _, ensemble_name in step.inputs}:
            self._values[ensemble_name].done(number)
        return request

    def _measure(self, call: Call) -> None:
        """2.51: what an ensemble took to compute is what its members took, one after the other."""
        if call.times.complete:
            input_ns, infer_ns, output_ns = call.times.compute_ns()
            self._input_ns += input_ns
            self._infer_ns += infer_ns
            self._output_ns += output_ns

    def _take(self, step: Step, response: InferResponse | None, *, final: bool) -> None:
        if self._ended:
            return
        if final:
            self._running -= 1
        fresh: list[tuple[str, int]] = []
        if response is not None:
            if response.error is not None:
                self._fail(response.error)
                return
            if response.parameters and any(
                key == "sequence_id" and isinstance(value, str) for key, value in response.parameters
            ):
                self._fail(internal(_CRASHES))
                return
            given = {tensor.name: tensor for tensor in response.outputs}
            for name, ensemble_name in step.outputs:
                value = _Value(given.get(name), self._sequence)
                fresh.append((ensemble_name, self._values[ensemble_name].add(value)))
        self._advance(fresh)

    def _answer(self, fresh: Sequence[tuple[str, int]]) -> bool:
        """Send what the fresh values complete; returns whether the request goes on."""
        number = self._complete(fresh)
        last = self._running == 0
        if number is not None:
            self._answered = True
            response = self._response(number)
            self._ended = last
            if last:
                self._succeed()
            self._call.respond(response, final=last)
        elif last:
            self._end()
        return not self._ended

    def _complete(self, fresh: Sequence[tuple[str, int]]) -> int | None:
        """The number of the value that every requested output now has, if a fresh one made it so."""
        complete = None
        for name, number in fresh:
            if name in self._requested:
                alone = len(self._requested) == 1
                ready = alone or all(number in self._values[other] for other in self._requested)
                complete = number if ready else None
        return complete

    def _response(self, number: int) -> InferResponse:
        request = self._call.request
        response = InferResponse(request.model_name, str(self._call.version), request.id)
        batching = self._config.max_batch_size > 0
        for name in self._requested:
            values = self._values[name]
            value = values[number]
            values.done(number)
            if value.tensor is None:
                continue
            shape = fitted(
                value.tensor.shape,
                self._plan.outputs[name],
                batching=batching,
                batch_size=values.batch,
            )
            response.outputs.append(value.tensor.renamed(name, shape))
            if value.parameters is not None and value.tensor.byte_size:
                # 2.51: each output that holds something says again which sequence it is of, of whatever request
                response.parameters.extend(value.parameters)
        return response

    def _end(self) -> None:
        if not self._answered and not self._config.decoupled:
            text = (
                "unexpected deadlock, at least one output is not set while no more ensemble steps can be made"
            )
            self._fail(invalid_arg(f"{self._call.request.log_id}{text}"))
            return
        self._ended = True
        self._succeed()
        self._call.respond(None, final=True)

    def _succeed(self) -> None:
        call = self._call
        call.execution = call.batch_size
        call.times.took(self._input_ns, self._infer_ns, self._output_ns)

    def _fail(self, error: TritonError) -> None:
        if self._ended:
            return
        self._ended = True
        call = self._call
        call.failed = True
        # 2.51: counted when the error goes out, and once more when the request is let go of, which it never is where a
        # step still runs
        call.failures = ("OTHER",) if self._running else ("OTHER", "OTHER")
        response = InferResponse(call.request.model_name, str(call.version), call.request.id)
        message = f"in ensemble '{self._executor.definition.name}', {error.message}"
        response.error = TritonError(error.code, message)
        call.respond(response, final=True)


def _sequence_parameters(request: InferRequest) -> tuple[tuple[str, Parameter], ...]:
    identifier = request.sequence_id
    if isinstance(identifier, int) and identifier >= 1 << 63:
        identifier -= 1 << 64  # 2.51: an unsigned number goes in, a signed one comes out
    return (
        ("sequence_id", identifier),
        ("sequence_start", request.sequence_start),
        ("sequence_end", request.sequence_end),
    )
