"""The data plane: one request to a model and its answer, over any protocol, from its first byte to its last.

How it works
------------
A frontend reads a request, makes an `Exchange` of it, and writes what the exchange gives it. Four operations do this:
`infer` and `generate` (with `generate_stream`) over HTTP, `infer` and `stream_infer` over gRPC.

    with Exchange(operation, session, name, version) as exchange:
        exchange.find()                     the loaded version; refusals and trace sampling as the operation has them
        exchange.submit(request)            validation, then the model's scheduler
        response = await exchange.answer()  of a model that gives one; `next` gives many, one after the other
        ...                                 the frontend writes
                                            the end: counted, shared memory regions released

An exchange has one end, which is the end of the `with`. The frontend reaches it when it has handed the last byte to the
transport, in the same turn of the event loop: a client that has its answer and asks for statistics is counted in them.
It reaches it as well by an exception, by a refusal (of which nothing is counted), and when its task is cancelled: the
client has gone, its deadline has passed or the server stops. If the model is not done then, `end` marks the call as
cancelled, and the exchange ends with the model's last response instead. So whatever happens, and over any protocol:

 -  a request that a model has taken is counted once, after the model is done with it: one `RequestEvent`, from which
    `session.counts` folds statistics, metrics, summaries and cache counts;
 -  its shared memory regions can not be unregistered before.

The harness (`harness`) hangs at these two places. A frontend opens an entry of the journal, with the fault of a plan
that the request meets, before it makes the exchange, and gives it to it as `record`. The exchange does what the fault
does where a model would: it is not there (`find`), its queue refuses (`submit`), its responses are others (`_take`).
The frontend ends the entry with the last byte.

All methods are to be called on the event loop, but `prepare` and `requested_outputs`, which may be
called on any thread.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from triton_emulator.engine import request_text
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.engine.reshape import as_computed
from triton_emulator.engine.schedulers.plain import refuse
from triton_emulator.engine.schedulers.policy_queue import EXPIRED, queue_is_full
from triton_emulator.harness.harness import Harness
from triton_emulator.harness.journal import JournalEntry
from triton_emulator.harness.parts import QueueRefuses, Script, Unloaded
from triton_emulator.harness.replies import Reply, wants_stream
from triton_emulator.protocol.classification import classify
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg, unsupported
from triton_emulator.protocol.messages import InferRequest, InferResponse, RequestedOutput, SharedMemoryRef
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.repository import unloaded
from triton_emulator.session.shared_memory import Lease
from triton_emulator.session.state import SessionState

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """What is particular to one way of asking a model.

    `no_decoupled` is the text that refuses a decoupled model, "" where its responses can be told apart.
    `traces_unknown` says whether a request for a model that is not there is sampled for tracing, `streams` whether the
    answer has any number of responses.
    """

    name: str
    protocol: str
    no_decoupled: str = ""
    traces_unknown: bool = False
    streams: bool = False


HTTP_INFER = Operation(
    "infer", "http", "HTTP end point doesn't support models with decoupled transaction policy"
)
# 2.51: here a request for an unknown model counts as well
HTTP_GENERATE = Operation("generate", "http", traces_unknown=True)
HTTP_GENERATE_STREAM = Operation("generate_stream", "http", traces_unknown=True, streams=True)
GRPC_INFER = Operation(
    "infer", "grpc", "ModelInfer RPC doesn't support models with decoupled transaction policy"
)
GRPC_STREAM_INFER = Operation("stream_infer", "grpc", streams=True)


class Exchange:
    """One request to a model and its answer."""

    __slots__ = (
        "_abandoned",
        "_arrived",
        "_deliver",
        "_ended",
        "_final",
        "_lease",
        "_waiter",
        "call",
        "model",
        "name",
        "operation",
        "record",
        "session",
        "version",
    )

    #: the loaded version; set by `find`
    model: LoadedModel

    def __init__(
        self,
        operation: Operation,
        session: SessionState,
        name: str,
        version: str,
        record: JournalEntry | None = None,
    ) -> None:
        self.operation = operation
        #: what the journal keeps of it, and the fault that it has met; None without a harness
        self.record = record
        self.session = session
        self.name = name
        self.version = version
        #: None until a model has taken the request, and for ever where it was refused
        self.call: Call | None = None
        self._lease: Lease | None = None
        self._arrived: deque[tuple[InferResponse | None, bool]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._deliver: Deliver | None = None
        #: whether the last response has come
        self._final = False
        #: whether the client has gone
        self._abandoned = False
        self._ended = False

    def __repr__(self) -> str:
        call = "not submitted" if self.call is None else repr(self.call)
        state = "ended" if self._ended else "abandoned" if self._abandoned else "open"
        return f"<Exchange {self.operation.protocol} {self.operation.name} {self.name!r} {state}, {call}>"

    def __enter__(self) -> Self:
        return self

    # --- the request ---

    def find(self) -> LoadedModel:
        """The loaded version that the request is for. Raises TritonError; the order of the checks is 2.51's."""
        operation, session, name = self.operation, self.session, self.name
        if self.record is not None and self.record.script is not None:
            self._meet_unload(self.record.script)
        if operation.traces_unknown:
            session.trace.sample(name)
            self.model = model = session.repository.get(name, self.version)
        else:
            self.model = model = session.repository.get(name, self.version)
            if model.config.decoupled and operation.no_decoupled:
                raise unsupported(operation.no_decoupled)
            session.trace.sample(name)
        if self.record is not None:
            self.record.specs = model.inputs
        return model

    def _meet_unload(self, script: Script) -> None:
        if isinstance(script.answer, Unloaded):
            script.note(Unloaded)
            raise unloaded(self.name, self.version)

    def lease(self) -> Lease:
        """What the request's shared memory is read through: its regions stay registered until the end."""
        self._lease = lease = self.session.system_shared_memory.lease()
        return lease

    def prepare(self, request: InferRequest) -> Call:
        """Validate the request and copy what it has in shared memory, for `submit`. Raises TritonError.

        May be called on any thread: a request with much in shared memory would hold up the event loop.
        """
        return self.model.prepare(request, self._taker())

    def _taker(self) -> Deliver:
        """What takes the model's responses."""
        if self.record is None or self.record.script is None or not self.record.script.alters:
            return self._take
        return partial(self._take_altered, self.record.script)

    def submit(
        self, request: InferRequest, deliver: Deliver | None = None, prepared: Call | None = None
    ) -> None:
        """Validate the request, if it is not `prepared`, and hand it to the model. Raises TritonError if it is refused.

        `deliver` gets the responses, the first of them maybe before this returns; without it they wait for `next` or
        `answer`.
        """
        self._deliver = deliver
        self.call = call = prepared or self.model.prepare(request, self._taker())
        if self.session.log_settings.verbose_level:
            _LOG.debug("%s", request_text.prepared(call, self.model.config))
        if self.record is not None:
            self.record.times = call.times
        try:
            if self.record is None or not self._answered(self.record, call):
                self.model.submit(call)
        except BaseException:
            self.call = None
            raise

    def _answered(self, record: JournalEntry, call: Call) -> bool:
        """Whether a fault or a stub has answered a request that has been prepared. Raises TritonError by either."""
        if record.script is not None and self._refused(record.script, call):
            return True
        harness = self.session.harness
        return harness is not None and bool(harness.stubs) and self._stubbed(harness, record, call)

    @staticmethod
    def _refused(script: Script, call: Call) -> bool:
        """Whether a fault has answered it. Raises UNAVAILABLE by a fault."""
        if not isinstance(script.answer, QueueRefuses):
            return False
        script.note(QueueRefuses)
        if not script.answer.expired:
            raise queue_is_full(call.request)
        refuse(call, EXPIRED.copy())
        return True

    def _stubbed(self, harness: Harness, record: JournalEntry, call: Call) -> bool:
        """Whether a stub has answered it.

        Raises INVALID_ARG for a model that only stubs have where none fits, and for an answer that the model cannot
        give; UNAVAILABLE where it is unloading.
        """
        model = self.model
        # the inputs of a model with `reshape` have another shape now than the client gave them
        request = None if model.reshapes_inputs else call.request
        alone = harness.stubs.serves(self.name)
        stub = harness.stubs.choose(record, request)
        if stub is None and not alone:
            return False
        try:
            if stub is None:
                raise ValueError(harness.stubs.miss(record, request))
            reply = stub.take(None if alone else model.config)
        except (TypeError, ValueError) as fault:
            harness.missed(record, str(fault))
            raise invalid_arg(str(fault)) from None
        record.stub = stub
        responses = self._responses(call, reply)
        model.hold(call)
        call.execution = call.batch_size
        now = call.now()
        call.times.started(now)
        call.times.ended(now)
        for number, response in enumerate(responses, start=1):
            call.respond(response, final=number == len(responses))
        return True

    def _responses(self, call: Call, reply: Reply) -> list[InferResponse]:
        """The responses of a stub, as the model's backend would make them."""
        model, request = self.model, call.request
        streams = wants_stream(request, model.config, operation_streams=self.operation.streams)
        wanted = {output.name for output in request.outputs}
        responses = []
        for outputs in reply.answered(request, batch=call.batch_size, streams=streams):
            asked = [tensor for tensor in outputs if not wanted or tensor.name in wanted]
            if model.reshapes_outputs:
                asked = as_computed(asked, model.config)
            parameters = list(reply.parameters)
            responses.append(InferResponse(model.name, str(model.version), request.id, asked, parameters))
        return responses

    def cancel(self) -> None:
        """Let the model know that the client has gone. Its responses are awaited none the less."""
        if self.call is not None:
            self.call.cancel()

    @property
    def hears_cancellation(self) -> bool:
        """Whether something waits that ends when the client leaves."""
        return self.call is not None and self.call.on_cancel is not None

    def fail(self) -> None:
        """Count the request as failed although its model has answered it."""
        if self.call is not None:
            self.call.failed = True

    # --- the responses ---

    @property
    def has_response(self) -> bool:
        """Whether `next` returns without a wait."""
        return bool(self._arrived)

    async def next(self) -> tuple[InferResponse | None, bool]:
        """The next response (None where only the final flag came) and whether it is the last."""
        if not self._arrived:
            await self._arrival()
        return self._arrived.popleft()

    def pour(self, deliver: Deliver) -> None:
        """Hand each response to `deliver` as it comes from now on, with those that wait first."""
        self._deliver = deliver
        while self._arrived and self._deliver is not None:
            deliver(*self._arrived.popleft())

    async def answer(self) -> InferResponse:
        """The first response, after the last has come. Raises TritonError where it is an error or there is none."""
        while not self._final:
            await self._arrival()
        for response, _ in self._arrived:
            if response is None:
                continue
            if response.error is not None:
                raise response.error.copy()
            return response
        raise internal(f"model '{self.model.name}' sent no response")

    def _arrival(self) -> "asyncio.Future[None]":
        """Done when the next response has come."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def requested_outputs(self, request: InferRequest, response: InferResponse) -> None:
        """Make the outputs what the client asked for: as they are, their top classes, or in shared memory.

        Raises TritonError where shared memory is too small or an output has no classes.
        """
        if request.outputs:
            wanted = {output.name: output for output in reversed(request.outputs)}
            # 2.51: of two outputs with one name, HTTP makes the first what was asked for, gRPC makes both
            find = wanted.pop if self.operation.protocol == "http" else wanted.get
            response.outputs = [
                self._requested(find(tensor.name, None), tensor) for tensor in response.outputs
            ]

    def _requested(self, output: RequestedOutput | None, tensor: Tensor) -> Tensor:
        if output is None:
            return tensor
        if output.shared_memory is not None:
            try:
                self._write(tensor, output.shared_memory)
            except TritonError:
                if self.operation.protocol == "http":
                    self.fail()  # 2.51: but not where the tensor has no classes
                raise
        if output.classification:
            labels = self.model.labels.get(tensor.name, ())
            batching = self.model.config.max_batch_size > 0
            limit = self.session.personality.classification_limit
            return classify(tensor, output.classification, labels, batching=batching, limit=limit)
        return tensor

    def _write(self, tensor: Tensor, ref: SharedMemoryRef) -> None:
        if tensor.byte_size > ref.byte_size:
            raise internal(
                f"shared memory size specified with the request for output '{tensor.name}' ({ref.byte_size} bytes) "
                f"should be at least {tensor.byte_size} bytes to hold the results"
            )
        self.session.system_shared_memory.write(ref, tensor.data)

    def _take(self, response: InferResponse | None, final: bool) -> None:
        if final:
            self._final = True
        if self._deliver is not None:  # which is None once the exchange is abandoned
            self._deliver(response, final)
        elif self._abandoned:
            if final:
                self.end()
        else:
            self._keep(response, final)

    def _keep(self, response: InferResponse | None, final: bool) -> None:
        """Keep a response for `next` or `answer`."""
        self._arrived.append((response, final))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take_altered(self, script: Script, response: InferResponse | None, final: bool) -> None:
        """As `_take`, with what a fault makes of the response. The fault may end the answer before the model does."""
        if final:
            self._final = True
        for each in () if self._abandoned else self._altered(script, response, final):
            if self._abandoned:
                break
            (self._deliver or self._keep)(*each)
        if self._abandoned and final:
            self.end()

    def _altered(
        self, script: Script, response: InferResponse | None, final: bool
    ) -> list[tuple[InferResponse | None, bool]]:
        """What a fault makes of a response; an error where it cannot be made, for example of too large a value."""
        try:
            return script.altered(response, final)
        except Exception as fault:  # noqa: BLE001  (of the test: it is told there, and the client gets an answer)
            if self.record is not None and self.session.harness is not None:
                self.session.harness.failed(self.record, fault)
            error = internal(f"{self.record and self.record.fault} failed: {type(fault).__name__}: {fault}")
            of = response or InferResponse("", "")
            return [(InferResponse(of.model_name, of.model_version, of.id, error=error), True)]

    # --- the end ---

    def end(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """End the exchange: the last byte has been handed over, or the client has gone. A second call does nothing.

        Where the model is still at work it learns that the client has gone, and the end comes when it is done.
        """
        if self._ended:
            return
        call = self.call
        if call is not None and not self._final and self._abandon(call):
            return
        self._ended = True
        self._deliver = None
        if self._lease is not None:
            self._lease.release()
        if call is not None:
            self.session.counts.finish(call, self.model)

    __exit__ = end

    def _abandon(self, call: Call) -> bool:
        """Tell the model that the client has gone; returns whether it is ended, or ends it later."""
        self._abandoned = True
        self._deliver = None
        call.cancel()  # a stand-in that waits answers now, which ends the exchange
        # a model may be done without having said so
        return self._ended or not call.times.compute_end
