"""The stand-in of a language model: it answers a prompt with text, whole or as a stream of tokens.

`llm_tensors` reads the request, `generator` makes the text, and `text_outputs` makes tensors of it. This module divides
an answer into responses and sends them over time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from triton_emulator.backends.standins import generator, llm_tensors, text_outputs
from triton_emulator.backends.standins.generator import DEFAULT_SOURCE, Answer, Source
from triton_emulator.backends.standins.inline import Hooks, InlineExecutor, cancelled
from triton_emulator.backends.standins.latency import Latency, TokenTimes
from triton_emulator.backends.standins.llm_tensors import Ask, Contract, Family
from triton_emulator.backends.standins.synthetic import Drawing, Filler
from triton_emulator.backends.standins.text_outputs import Cell, Maker, Part
from triton_emulator.clock import Timer
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.protocol.errors import Code, TritonError, internal
from triton_emulator.protocol.messages import InferRequest, SharedResponse
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import TensorSpec

_NS_PER_MS = 1_000_000
#: How many tokens of a stream are sent before other requests get a turn on the event loop.
BURST = 16

#: the latencies of a language model, by the names of `emulator.yaml`
_LATENCIES = ("time_to_first_token_ms", "time_per_token_ms")

#: How many responses are kept to be sent again.
_MOST_SHARED = 4096

#: The error of a backend if `stream` is set and the model is not decoupled. Other backends answer with one response.
_NOT_DECOUPLED = {
    Family.ENGINE: "Streaming is only supported if model is deployed using decoupled mode.",
    Family.TRTLLM: "Streaming is only supported if model is deployed using decoupled mode.",
    Family.LLMAPI: "Error generating request: Streaming is only supported in decoupled mode.",
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Settings of the stand-in of a language model; times are in milliseconds.

    `max_tokens` is the limit for requests that give none; `stream` and `exclude_input_in_output` are the values for
    requests that leave these inputs out. With `cumulative`, each response of a stream holds the text so far instead of
    the new token. An answer longer than `fail_after_tokens` ends with the error `fail_message`.
    """

    source: Source = DEFAULT_SOURCE
    max_tokens: int | None = None
    stream: bool | None = None
    exclude_input_in_output: bool | None = None
    cumulative: bool | None = None
    time_to_first_token_ms: float | Latency = 0
    time_per_token_ms: float | Latency = 0
    fail_after_tokens: int | None = None
    fail_message: str = "the stand-in was told to fail here"


@dataclass(slots=True)
class Generation:
    """The answers to one request, [row][sequence], and how many tokens of each have been sent."""

    ask: Ask
    answers: list[list[Answer]]
    steps: int
    #: the number of the request, which decides its latencies
    request: int = 0
    at: int = 0
    #: responses by their tokens, where other requests get the same, and the tokens of the one answer then
    shared: dict[str, SharedResponse] | None = None
    tokens: list[str] = field(default_factory=list)
    #: outputs that are the same in every response
    constant: dict[str, Tensor] = field(default_factory=dict)

    def part(self, stop: int, *, cumulative: bool) -> list[list[Cell]]:
        """The cells of the next response: the tokens from `at` up to `stop`."""
        start, self.at = self.at, stop
        lead = not self.ask.exclude_input and (start == 0 or cumulative)
        return [
            [
                Cell(
                    (row.prompt if lead else "") + "".join(answer.tokens[0 if cumulative else start : stop]),
                    answer.tokens[start:stop],
                    answer,
                    stop >= len(answer.tokens),
                    stop,
                )
                for answer in answers
            ]
            for row, answers in zip(self.ask.rows, self.answers, strict=True)
        ]


class TextExecutor(InlineExecutor):
    """Answers prompts. It streams if the model is decoupled and the request asks for a stream."""

    def __init__(
        self,
        definition: ModelDefinition,
        hooks: Hooks,
        contract: Contract,
        behaviour: Behaviour,
        drawing: Drawing,
    ) -> None:
        super().__init__(definition, hooks)
        config = definition.config
        if contract.family is Family.ENGINE:
            # An engine answers with token ids: a reply of the settings is a text and cannot be one.
            behaviour = replace(behaviour, source=replace(behaviour.source, reply=(), replies={}))
        if behaviour.max_tokens is None and contract.family is Family.VLLM:
            behaviour = replace(behaviour, max_tokens=llm_tensors.VLLM_MAX_TOKENS)
        if behaviour.exclude_input_in_output is not None:
            contract = replace(contract, echoes=not behaviour.exclude_input_in_output)
        self.contract = contract
        self.behaviour = behaviour
        self._loaded = {name: getattr(behaviour, name) for name in _LATENCIES}
        self._taken = dict(self._loaded)
        self.times = self._times()
        self.cumulative = (
            contract.family is Family.LLMAPI if behaviour.cumulative is None else behaviour.cumulative
        )
        self.stream_default = (
            config.decoupled and "stream" not in contract.roles
            if behaviour.stream is None
            else behaviour.stream
        )
        self.cancel_input = contract.roles.get("cancel") if contract.family is not Family.VLLM else None
        self.running: dict[str, Call] = {}
        self._shared: dict[str, SharedResponse] = {}
        self.changing = text_outputs.CHANGING | {contract.text}
        self.outputs = [
            (spec, text_outputs.gate(spec, contract), _maker(spec, contract) or Filler(spec, config, drawing))
            for spec in config.outputs
        ]
        self.made_up = frozenset(spec.name for spec, _, make in self.outputs if isinstance(make, Filler))

    def latencies(self) -> Mapping[str, float | Latency | None]:
        """What its tokens take, in milliseconds."""
        return self._taken

    def _set_latency(self, name: str, latency: float | Latency | None) -> None:
        self._taken = {**self._taken, name: self._loaded[name] if latency is None else latency}
        self.times = self._times()

    def _times(self) -> TokenTimes:
        first, rest = (self._taken[name] for name in _LATENCIES)
        return TokenTimes(first, rest, self._latency_seed)

    def answer(self, call: Call) -> None:
        request = call.request
        if self.cancel_input is not None and self._asks_to_cancel(call):
            return
        ask = llm_tensors.read(
            self.contract, request, batched=self.batched, stream_default=self.stream_default
        )
        if ask.stream and not self.config.decoupled:
            refusal = _NOT_DECOUPLED.get(self.contract.family)
            if refusal:
                raise internal(refusal)
            ask = ask._replace(stream=False)
        generation = self._generate(ask)
        if request.id and self.cancel_input is not None:
            self.running[request.id] = call
        if ask.stream:
            generation.shared = self._shared_by(call.request, generation)
            # an answer without tokens is one empty response
            generation.tokens = (
                generation.answers[0][0].tokens or [""] if generation.shared is not None else []
            )
            _Streaming(self, call, generation).start()
        else:
            delay = self.times.whole(generation.request, self.reached(generation))
            self.after(delay, call, lambda call: self._whole(call, generation))

    def _generate(self, ask: Ask) -> Generation:
        source, default = self.behaviour.source, self.behaviour.max_tokens
        engine = self.contract.family is Family.ENGINE
        answers = []
        for row in ask.rows:
            limits = row.limits
            if default is not None and limits.max_tokens is None:
                limits = limits._replace(max_tokens=default)
            vocabulary = [f" {token}" for token in row.prompt.split() or ["0"]] if engine else ()
            answers.append(
                [
                    generator.answer(
                        source,
                        row.prompt,
                        limits,
                        seed=row.seed,
                        index=index,
                        vocabulary=vocabulary,
                    )
                    for index in range(ask.sequences)
                ]
            )
        longest = max([len(answer.tokens) for row in answers for answer in row], default=0)
        return Generation(ask, answers, max(longest, 1), self.times.next_request())

    def reached(self, generation: Generation) -> int:
        """The number of tokens before the answer ends or fails."""
        limit = self.behaviour.fail_after_tokens
        return generation.steps if limit is None else min(generation.steps, limit)

    def _whole(self, call: Call, generation: Generation) -> None:
        if self.reached(generation) < generation.steps:
            raise internal(self.behaviour.fail_message)
        self._send(call, generation, generation.steps)

    def _shared_by(self, request: InferRequest, generation: Generation) -> dict[str, SharedResponse] | None:
        """The responses to share, where those of a stream are one token each and nothing else that differs."""
        ask = generation.ask
        if self.cumulative or request.id or request.outputs or len(ask.rows) != 1 or ask.sequences != 1:
            return None
        wanted = [make for _, gate, make in self.outputs if gate is None or gate in ask.flags]
        return self._shared if wanted == [text_outputs.text] else None

    def send_token(self, call: Call, generation: Generation) -> None:
        """Send the next token of a stream."""
        shared, at = generation.shared, generation.at
        if shared is None or (at == 0 and not generation.ask.exclude_input):
            self._send(call, generation, at + 1)
            return
        token = generation.tokens[at]
        response = shared.get(token)
        if response is None:
            response = self._share(token, generation)
        generation.at = at = at + 1
        if at < generation.steps:
            call.respond(response, final=False)
        else:
            call.times.ended(call.now())
            call.respond(response, final=True)

    def _share(self, token: str, generation: Generation) -> SharedResponse:
        """The response that is this token."""
        if len(self._shared) >= _MOST_SHARED:
            self._shared.clear()
        cell = Cell(token, [token], generation.answers[0][0], last=False, end=0)
        part = Part([[cell]], generation.ask, self.contract.family, self.batched)
        (spec,) = (spec for spec, _, make in self.outputs if make is text_outputs.text)
        made = SharedResponse(self.name, self.version, outputs=[text_outputs.text(spec, part)])
        self._shared[token] = made
        return made

    def _send(self, call: Call, generation: Generation, stop: int) -> None:
        cells = generation.part(stop, cumulative=self.cumulative and generation.ask.stream)
        part = Part(cells, generation.ask, self.contract.family, self.batched)
        flags = generation.ask.flags
        batch = len(cells)
        outputs = []
        for spec, gate, make in self.outputs:
            if gate is not None and gate not in flags:
                continue
            tensor = generation.constant.get(spec.name)
            if tensor is None:
                if isinstance(make, Filler):
                    tensor = make.fill(call.request, batch if self.batched else 1)
                else:
                    tensor = make(spec, part)
                if spec.name not in self.changing:
                    generation.constant[spec.name] = tensor
            outputs.append(tensor)
        final = stop >= generation.steps
        if final and self.running:
            self.running.pop(call.request.id, None)
        self.respond(call, outputs, final=final)

    def _asks_to_cancel(self, call: Call) -> bool:
        """Handle TensorRT-LLM's `stop` input: the request cancels the one with the same id and gets an error itself."""
        tensor = next((tensor for tensor in call.request.inputs if tensor.name == self.cancel_input), None)
        if tensor is None or not tensor.count or not tensor.array.ravel()[0]:
            return False
        if not call.request.id:
            raise internal("A request id must be provided for request cancellation")
        running = self.running.pop(call.request.id, None)
        if running is not None:
            running.cancel()
        raise TritonError(Code.CANCELLED, "Request cancelled by client")


class _Streaming:
    """An answer that is sent token by token, each at its own time: a late token does not make those after it late."""

    __slots__ = ("_call", "_due_ns", "_executor", "_fails", "_generation", "_pace_ns", "_timer", "_times")

    def __init__(self, executor: TextExecutor, call: Call, generation: Generation) -> None:
        self._executor = executor
        self._call = call
        self._generation = generation
        reached = executor.reached(generation)
        #: the number of tokens after which the answer fails
        self._fails = reached if reached < generation.steps else None
        #: those with which it began, if the executor gets others meanwhile
        self._times = executor.times
        pace = self._times.constant
        #: nanoseconds from each token to the next, where they are the same for all
        self._pace_ns = None if pace is None else round(pace * _NS_PER_MS)
        self._timer: Timer | None = None
        #: when the next token is due
        self._due_ns = executor.now_ns()

    def start(self) -> None:
        """Send the first token when it is due. Raises TritonError where the call is cancelled already."""
        first = self._times.first(self._generation.request)
        if first <= 0:
            self._call.on_cancel = self._stop
            self._go()
            return
        if self._call.cancelled:
            raise cancelled()
        self._call.on_cancel = self._stop
        self._due_ns += round(first * _NS_PER_MS)
        self._timer = self._executor.schedule_at(self._due_ns, self._go)

    def _stop(self) -> None:
        """The client has gone, or has asked for it."""
        if self._timer is not None:
            self._timer.cancel()
        self._call.on_cancel = None
        self._executor.fail(self._call, cancelled())

    def _go(self) -> None:
        call = self._call
        self._executor.guard(call, self._send)
        if call.finished:
            call.on_cancel = None

    def _send(self, call: Call) -> None:
        """Send what is due, and wait for the next token."""
        executor, generation = self._executor, self._generation
        left = BURST
        while left:
            if call.cancelled:
                raise cancelled()
            if generation.at == self._fails:
                raise internal(executor.behaviour.fail_message)
            executor.send_token(call, generation)
            if call.finished:
                return
            pace_ns = self._pace_ns
            if pace_ns is None:
                pace_ns = round(self._times.token(generation.request, generation.at) * _NS_PER_MS)
            if pace_ns > 0:
                self._due_ns = due_ns = self._due_ns + pace_ns
                self._timer = executor.schedule_at(due_ns, self._go)
                return
            left -= 1
        self._timer = executor.schedule(0, self._go)


def _maker(spec: TensorSpec, contract: Contract) -> Maker | None:
    """The function that makes an output; None for an output with made-up values."""
    if spec.name == contract.text:
        return text_outputs.output_ids if contract.family is Family.ENGINE else text_outputs.text
    return text_outputs.MAKERS.get(spec.name)


def contract_of(definition: ModelDefinition, prompt: str, text: str) -> Contract:
    """The tensor contract of a model that answers as a language model. Raises LoadError if it has none."""
    contract = llm_tensors.find(definition.config, prompt, text)
    if contract is None:
        raise LoadError(
            f"Invalid argument: behaviour 'text' of model '{definition.name}' finds no BYTES input for the prompt or "
            "no BYTES output for the text; name them with 'input' and 'output'"
        )
    return contract
