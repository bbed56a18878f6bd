"""A model version that is loaded: its configuration, its scheduler and executor, and its statistics."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from triton_emulator.clock import Clock
from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.executor import Executor, ModelDefinition, ThreadedExecutor
from triton_emulator.engine.first_responses import FirstResponses, bounds_of
from triton_emulator.engine.in_flight import InFlight
from triton_emulator.engine.mailbox import Mailbox
from triton_emulator.engine.reporters import Reporter, Reporters
from triton_emulator.engine.reshape import reshape_inputs, reshapes_inputs, reshapes_outputs, reshaping
from triton_emulator.engine.response_cache import ResponseCache
from triton_emulator.engine.schedulers.plain import Scheduler
from triton_emulator.engine.schedulers.selection import Hooks, scheduler_for
from triton_emulator.engine.statistics import ModelStatistics
from triton_emulator.engine.summaries import ModelSummaries
from triton_emulator.engine.validation import Validate, validator
from triton_emulator.engine.warmup import samples_of, warm_up
from triton_emulator.protocol.errors import BackendRefusal, TritonError, unavailable
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import RemoteTensor
from triton_emulator.repository.config.model_config import TensorSpec
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.labels import Labels


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a loaded model needs of the session that it is in.

    `count` counts a request that no client waits for; it may be called on any thread. `response_cache` is None where
    the server has none. `summarizes` is whether summaries of latencies are wanted, `histograms` whether histograms
    are. `thread` is the event loop's.
    """

    mailbox: Mailbox
    clock: Clock
    count: Callable[[Call, "LoadedModel"], None]
    reporters: Reporters
    response_cache: ResponseCache | None = None
    summarizes: bool = False
    histograms: bool = False
    thread: int = field(default_factory=threading.get_ident)


class LoadedModel:
    """One loaded version of a model.

    Raises TritonError where its warm-up fails, and where its histogram cannot be.
    """

    def __init__(
        self,
        definition: ModelDefinition,
        executor: Executor,
        labels: Labels,
        surroundings: Surroundings,
        load_seconds: float = 0,
        *,
        validate: Validate | None = None,
    ) -> None:
        """`labels` are the class names of its outputs, `load_seconds` is what its backend needed to load it.

        `validate` checks requests in place of what the config says.
        """
        self.load_seconds = load_seconds
        self.definition = definition
        self.labels = labels
        self.name = definition.name
        self.version = definition.version
        self.config = definition.config
        self.executor = executor
        self._surroundings = surroundings
        self._rules = definition.rules
        self._post, self._thread = surroundings.mailbox.post, surroundings.thread
        self._now = surroundings.clock.time_ns
        self._validate = validate or validator(definition.config, definition.rules)
        self.statistics = ModelStatistics()
        self._in_flight = InFlight()
        self.metric_labels = metric_labels(definition)
        try:
            self.reporter = surroundings.reporters.enter(
                self.metric_labels, self.statistics, self._new_reporter
            )
            self._first_responses = self.reporter.first_responses
            try:
                self._warm_up()
                self.scheduler = self._new_scheduler()
            except TritonError:
                self._leave()
                raise
        except TritonError:
            executor.finalize()
            raise
        self.stands_in = not (definition.config.is_ensemble or isinstance(executor, ThreadedExecutor))
        # what stands in for a model answers in the shapes that clients see
        self.reshapes_inputs = not self.stands_in and reshapes_inputs(definition.config)
        self.reshapes_outputs = not self.stands_in and reshapes_outputs(definition.config)
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in definition.config.inputs}

    def _new_reporter(self) -> Reporter:
        proto, surroundings = self.config.proto, self._surroundings
        caches, now = proto.response_cache.enable, surroundings.clock.monotonic_ns
        bounds = bounds_of(proto)
        times_first = surroundings.histograms and (
            self.config.decoupled or self._rules.times_every_first_response
        )
        return Reporter(
            self.metric_labels,
            caches,
            ModelSummaries(now, caches=caches) if surroundings.summarizes else None,
            FirstResponses(bounds, now) if times_first else None,
        )

    def _new_scheduler(self) -> Scheduler:
        surroundings = self._surroundings
        hooks = Hooks(surroundings.clock, self._count, surroundings.response_cache)
        return scheduler_for(self.definition, self.executor, hooks)

    def _warm_up(self) -> None:
        samples = samples_of(self.definition)
        if isinstance(self.executor, ThreadedExecutor):
            warm_up(self.definition, self.executor, samples, self._count, self._now)

    def _leave(self) -> None:
        self._surroundings.reporters.leave(self.reporter, self.statistics)

    def _count(self, call: Call) -> None:
        self._surroundings.count(call, self)

    def __repr__(self) -> str:
        waiting = f"{len(self._in_flight)} in flight, {self.pending} pending"
        return f"<LoadedModel {self.name}:{self.version} {type(self.executor).__name__} {waiting}>"

    @property
    def pending(self) -> int:
        """How many requests wait for an instance."""
        return self.scheduler.pending

    @property
    def in_flight(self) -> int:
        """How many requests have no last response yet."""
        return len(self._in_flight)

    @property
    def healthy(self) -> bool:
        """Whether its backend says that it can answer. Only Python models may not. If it `asks_model`, it may block."""
        return bool(getattr(self.executor, "healthy", True))

    @property
    def asks_model(self) -> bool:
        """Whether `healthy` runs the model's own code."""
        return bool(getattr(self.executor, "asks_model", False))

    def describe(self, definition: ModelDefinition) -> None:
        """Have other inputs and outputs from now on: of a model that takes any (`validate`), as only stubs do."""
        self.definition, self.config = definition, definition.config
        self.inputs = {spec.name: spec for spec in definition.config.inputs}

    def prepare(self, request: InferRequest, deliver: Deliver) -> Call:
        """A validated call for `submit`; `deliver` gets the responses on the event loop. Raises TritonError.

        Shared memory is copied here, after the checks. May be called on any thread.
        """
        try:
            batch = self._validate(request, self.config, self._rules)
        except BackendRefusal:
            self._count_refused(Call(request, self.version, deliver, self._post, self._thread, self._now))
            raise
        for tensor in request.inputs:
            if type(tensor) is RemoteTensor:
                tensor.fetch()
        if self.reshapes_inputs:
            reshape_inputs(request, self.config)
        if self.reshapes_outputs:
            deliver = reshaping(deliver, self.config)
        if self._first_responses is not None:
            deliver = self._first_responses.watching(deliver)
        call = Call(request, self.version, deliver, self._post, self._thread, self._now)
        call.batch_size = batch
        return call

    def _count_refused(self, call: Call) -> None:
        call.failed = True
        call.execution = 0
        self._count(call)

    def submit(self, call: Call) -> None:
        """Queue a validated call. Raises TritonError where the scheduler refuses it or the version is unloading.

        To be called on the event loop, unless the scheduler says `any_thread`.
        """
        self.hold(call)
        try:
            self.scheduler.submit(call)
        except BaseException:
            call.end()
            raise

    def hold(self, call: Call) -> None:
        """Keep the version loaded until `call`, to this model or to an ensemble over it, has its last response.

        Raises UNAVAILABLE where the version is unloading already.
        """
        if not self._in_flight.enter():
            raise unavailable(
                f"Request for unknown model: '{self.name}' version {self.version} is not at ready state"
            )
        call.on_end(self._in_flight.leave)

    def stop(self) -> None:
        """Finish the requests in flight and release the model. Blocks: never on the event loop."""
        self._in_flight.close()
        self.scheduler.stop()
        self._leave()


def metric_labels(definition: ModelDefinition) -> dict[str, str]:
    """The labels of a model's metrics: its tags after an underscore each, its name, its version, its namespace."""
    tags = {f"_{to_text(key)}": to_text(value) for key, value in definition.config.proto.metric_tags.items()}
    labels = {**tags, "model": definition.name, "version": str(definition.version)}
    if definition.namespace and definition.rules.namespaces_in_metrics:
        labels["namespace"] = definition.namespace
    return labels
