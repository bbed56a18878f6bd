"""Runs an ensemble: each step is a request of its own, sent as soon as all tensors that it reads have a value.

Theory of operation, as in core 2.51. Every ensemble tensor has numbered values: a request gives each input one value, a
step gives each of its outputs one value per response, and a decoupled step sends many. A step runs once for each number
that all its inputs have. The ensemble answers once for each number that all its requested outputs have, and it ends
when no step is running any more.

    a request's inputs, or a step's response  ->  fresh values (tensor, number)
    `_advance`: fresh values                  ->  steps that are ready now, prepared as calls of their members
    `_answer`: fresh values                   ->  a response, if the requested outputs have that number too
    nothing runs any more                     ->  the final flag, or a deadlock error if nothing was answered
    an error                                  ->  no step is started any more; the error is the answer

Since 2.66 the error is sent when nothing runs any more. Before, it is sent at once; but if a member refuses a step, as
one with a full queue does, while others run, the request is never answered.

All of it happens on the event loop, so nothing here needs a lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from triton_emulator.backends.ensemble.plan import Plan, Readers, fitted, prune
from triton_emulator.backends.ensemble.values import Value, Values
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg
from triton_emulator.protocol.messages import InferRequest, InferResponse, Parameter, RequestedOutput
from triton_emulator.repository.config.ensemble_graph import Step


class Members(Protocol):
    """Finds the member models. Both methods are called on the event loop and raise TritonError."""

    def model(self, name: str, version: str, namespace: str) -> LoadedModel:
        """The loaded version of a member ("" means the newest)."""

    def prepare_inner(self, model: LoadedModel, request: InferRequest, deliver: Deliver) -> Call:
        """Validate a request to a member. It is counted when its last response has arrived."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What all requests to one ensemble have in common."""

    definition: ModelDefinition
    plan: Plan
    members: Members


#: a step that is ready: its number, its member, and the call to it
Prepared = tuple[int, LoadedModel, Call]

#: 2.51 takes the text for a pointer and crashes, so no client can rely on an answer.
_CRASHES = (
    "an ensemble inside an ensemble cannot tell a sequence id that is a text: tritonserver 2.51 crashes on it"
)


class Run:
    """One request to the ensemble, from its inputs to its last response."""

    __slots__ = (
        "_answered",
        "_at_work",
        "_call",
        "_config",
        "_ended",
        "_ensemble",
        "_error",
        "_errors_wait",
        "_infer_ns",
        "_input_ns",
        "_lenient",
        "_members",
        "_output_ns",
        "_plan",
        "_readers",
        "_requested",
        "_running",
        "_sequence",
        "_values",
    )

    def __init__(self, ensemble: Ensemble, call: Call) -> None:
        self._ensemble = ensemble
        self._plan = ensemble.plan
        self._call = call
        self._config = ensemble.definition.config
        asked = {output.name for output in call.request.outputs}
        self._requested = [name for name in self._plan.outputs if not asked or name in asked]
        self._readers: Readers = prune(self._plan, self._requested)
        self._members: dict[tuple[str, str, str], LoadedModel] = {}
        #: by ensemble tensor
        self._values = {
            name: Values(len(readers) + (name in self._requested)) for name, readers in self._readers.items()
        }
        self._running = 0
        self._lenient = ensemble.definition.rules.ensemble_outputs_optional
        #: the calls of members until their last response, if a member may be told that the client has left
        self._at_work: set[Call] = set()
        self._answered = False
        self._ended = False
        self._errors_wait = ensemble.definition.rules.ensemble_errors_wait
        #: the last error, as far as it waits for the steps that run
        self._error: TritonError | None = None
        self._sequence = _sequence_parameters(call.request)
        self._input_ns = self._infer_ns = self._output_ns = 0

    def start(self) -> None:
        call = self._call
        call.times.started(call.now())
        call.execution = 0
        try:
            for step in self._plan.steps:
                if step.member not in self._members:
                    self._members[step.member] = member = self._ensemble.members.model(*step.member)
                    member.hold(call)  # 2.51: a member that is unloaded meanwhile ends after this request
        except TritonError as error:
            self._fail(error)
            return
        if any(member.stands_in or member.config.is_ensemble for member in self._members.values()):
            call.on_cancel = self._cancel
        batch = call.batch_size if self._config.max_batch_size > 0 else 0
        given = {tensor.name: tensor for tensor in call.request.inputs}
        fresh = []
        for spec in self._config.inputs:
            if spec.name in given or spec.optional:
                values = self._values[spec.name]
                values.batch = batch
                fresh.append((spec.name, values.add(Value(given.get(spec.name)))))
        self._advance(fresh)

    def _cancel(self) -> None:
        """Tell the members whose work is only simulated. 2.51 tells no member that is at work."""
        for call in list(self._at_work):
            if call.on_cancel is not None:
                call.cancel()

    def _advance(self, fresh: Sequence[tuple[str, int]]) -> None:
        """Answer what the fresh values complete, run the steps that they make ready, and end if nothing runs."""
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
            prepared = [self._prepare(at, number) for at, number in sorted(ready)]
        except TritonError as error:
            self._fail(error)
            return
        self._running += len(prepared)
        if self._answer(fresh):
            self._submit_all(prepared)

    def _submit_all(self, prepared: Sequence[Prepared]) -> None:
        for at, step in enumerate(prepared):
            if not self._submit(step, len(prepared) - at):
                return

    def _submit(self, prepared: Prepared, left: int) -> bool:
        """Run a step. False if it is the last one that runs, as there is an error; `left` steps are prepared."""
        if self._ended:
            return False
        if self._error is not None:
            self._drop(left, self._error)
            return False
        _, member, call = prepared
        call.cancelled = self._call.cancelled
        if self._call.on_cancel is not None:
            self._at_work.add(call)
        try:
            member.submit(call)
        except TritonError as error:
            self._drop(left, error)
            return False
        return True

    def _drop(self, steps: int, error: TritonError) -> None:
        """Go on after an error, with so many prepared steps that will not run."""
        self._running -= steps
        if self._running == 0:
            self._fail(error)
        elif self._errors_wait:
            self._error = error
        else:
            self._ended = True  # 2.51: what the running steps answer is ignored, so nothing ends the request

    def _prepare(self, at: int, number: int) -> Prepared:
        step = self._plan.steps[at]
        member = self._members[step.member]

        def take(response: InferResponse | None, final: bool) -> None:
            if final:
                self._at_work.discard(call)
                self._measure(call)
            self._take(step, response, final=final)

        call = self._ensemble.members.prepare_inner(member, self._request(step, member, number), take)
        batch = call.batch_size if member.config.max_batch_size > 0 else 0
        for _, ensemble_name in step.outputs:
            self._values[ensemble_name].batch = batch
        return at, member, call

    def _request(self, step: Step, member: LoadedModel, number: int) -> InferRequest:
        source = self._call.request
        batching = member.config.max_batch_size > 0
        request = InferRequest(
            step.model,
            step.version_text,
            source.id,
            outputs=[RequestedOutput(name) for name, _ in step.outputs],
            parameters=source.parameters.copy(),
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
        """2.51: an ensemble's compute times are the sums of its members' times."""
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
        if self._error is not None:
            self._fail(self._error if response is None or response.error is None else response.error)
            return
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
            # 2.51: of several outputs with one name an ensemble takes the first
            given = {tensor.name: tensor for tensor in reversed(response.outputs)}
            for name, ensemble_name in step.outputs:
                value = Value(given.get(name), self._sequence)
                fresh.append((ensemble_name, self._values[ensemble_name].add(value)))
        self._advance(fresh)

    def _answer(self, fresh: Sequence[tuple[str, int]]) -> bool:
        """Send the response that the fresh values complete, if any. Returns whether the request goes on."""
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
        """The number that every requested output now has a value of, if a fresh value made it complete."""
        complete = None
        for name, number in fresh:
            if name in self._requested:
                alone = len(self._requested) == 1
                ready = alone or all(number in self._values[other] for other in self._requested)
                complete = number if ready and self._may_lack(number) else None
        return complete

    def _may_lack(self, number: int) -> bool:
        """Whether the response may be sent. Until 2.50 none is while an output has no tensor."""
        return self._lenient or all(self._values[name][number].tensor is not None for name in self._requested)

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
                # 2.51: each output that holds data repeats the sequence parameters, for any request
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
        """Send the error, or let it wait. Each time that it waits, the ensemble's name is put before it once more."""
        if self._ended:
            return
        message = f"in ensemble '{self._ensemble.definition.name}', {error.message}"
        self._error = error = TritonError(error.code, message)
        if self._running and self._errors_wait:
            return
        self._ended = True
        call = self._call
        call.failed = True
        # 2.51: counted when the error is sent, and once more when the request is released; it is never released while a
        # step still runs
        call.failures = ("OTHER",) if self._running else ("OTHER", "OTHER")
        response = InferResponse(call.request.model_name, str(call.version), call.request.id)
        response.error = error
        call.respond(response, final=True)


def _sequence_parameters(request: InferRequest) -> tuple[tuple[str, Parameter], ...]:
    identifier = request.sequence_id
    if isinstance(identifier, int) and identifier >= 1 << 63:
        identifier -= 1 << 64  # 2.51: the unsigned number of the request is answered as a signed one
    return (
        ("sequence_id", identifier),
        ("sequence_start", request.sequence_start),
        ("sequence_end", request.sequence_end),
    )
