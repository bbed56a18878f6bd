"""A language model from its config alone: text in, text out, whole or as a stream of tokens.

Which tensors carry what is `llm_tensors`' business, which words come out is `generator`'s; here an answer is laid out
in responses over time.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np

from triton_emulator.backends import generator, llm_tensors
from triton_emulator.backends.generator import DEFAULT_SOURCE, Answer, Source
from triton_emulator.backends.inline import Hooks, InlineExecutor, bytes_array, bytes_of, cancelled
from triton_emulator.backends.llm_tensors import Ask, Contract, Family
from triton_emulator.backends.synthetic import Drawing, Filler
from triton_emulator.engine.model import Call, LoadError, ModelDefinition
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.errors import Code, TritonError, internal
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.model_config import TensorSpec

#: Tokens of one stream that are sent before other requests get their turn.
BURST = 16

#: The flag (without its `return_`) that asks for an output, where it is not called like the output.
_PERF_METRICS = (
    "arrival_time_ns first_scheduled_time_ns first_token_time_ns last_token_time_ns acceptance_rate "
    "total_accepted_draft_tokens total_draft_tokens kv_cache_alloc_new_blocks kv_cache_reused_blocks "
    "kv_cache_alloc_total_blocks kv_cache_reused_block kv_cache_missed_block kv_cache_hit_rate"
)
_GATES = {
    "cum_log_probs": "log_probs",
    "output_log_probs": "log_probs",
    **dict.fromkeys(_PERF_METRICS.split(), "perf_metrics"),
}

#: What a backend answers to `stream` where its model is not decoupled; the others answer with one response.
_NOT_DECOUPLED = {
    Family.TRTLLM: "Streaming is only supported if model is deployed using decoupled mode.",
    Family.LLMAPI: "Error generating request: Streaming is only supported in decoupled mode.",
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Settings of a stood-in language model, times in milliseconds.

    `max_tokens` bounds answers to requests that name no limit, `stream` and `exclude_input_in_output` stand in for
    inputs that the request leaves out. `cumulative`: each response of a stream holds the text so far, not the new
    token. `fail_after_tokens`: an answer longer than this breaks off with `fail_message`.
    """

    source: Source = DEFAULT_SOURCE
    max_tokens: int | None = None
    stream: bool | None = None
    exclude_input_in_output: bool | None = None
    cumulative: bool | None = None
    time_to_first_token_ms: float = 0
    time_per_token_ms: float = 0
    fail_after_tokens: int | None = None
    fail_message: str = "the stand-in was told to fail here"


@dataclass(slots=True)
class Cell:
    """One answer's part of one response."""

    text: str
    tokens: list[str]
    answer: Answer
    last: bool
    end: int

    @property
    def finish_reason(self) -> str:
        """As both backends print it: Python's "None" until the answer ends."""
        return self.answer.finish_reason if self.last else "None"


@dataclass(slots=True)
class Generation:
    """The answers to one request, [row][sequence], and how many tokens of each have been sent."""

    ask: Ask
    answers: list[list[Answer]]
    steps: int
    at: int = 0
    #: outputs that are the same in each response
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
    """Answers prompts; streams where the model is decoupled and the request asks for it."""

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
        if behaviour.exclude_input_in_output is not None:
            contract = replace(contract, echoes=not behaviour.exclude_input_in_output)
        self.contract = contract
        self.behaviour = behaviour
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
        gates = set(contract.flags.values())
        self.changing = _CHANGING | {contract.text}
        self.outputs: list[tuple[TensorSpec, str | None, Any]] = []
        for spec in config.outputs:
            gate = _GATES.get(spec.name, spec.name)
            make = _text if spec.name == contract.text else _MAKERS.get(spec.name)
            self.outputs.append(
                (spec, gate if gate in gates else None, make or Filler(spec, config, drawing)),
            )

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
        behaviour = self.behaviour
        if request.id and self.cancel_input is not None:
            self.running[request.id] = call
        if ask.stream:
            self.after(behaviour.time_to_first_token_ms, call, lambda call: self._stream(call, generation))
        else:
            rest = behaviour.time_per_token_ms * (self._reached(generation) - 1)
            delay = behaviour.time_to_first_token_ms + max(rest, 0)
            self.after(delay, call, lambda call: self._whole(call, generation))

    def _generate(self, ask: Ask) -> Generation:
        source, default = self.behaviour.source, self.behaviour.max_tokens
        answers = []
        for row in ask.rows:
            limits = row.limits
            if default is not None and limits.max_tokens is None:
                limits = limits._replace(max_tokens=default)
            answers.append(
                [
                    generator.answer(source, row.prompt, limits, seed=row.seed, index=index)
                    for index in range(ask.rows[0].sequences)
                ]
            )
        longest = max((len(answer.tokens) for row in answers for answer in row), default=0)
        return Generation(ask, answers, max(longest, 1))

    def _reached(self, generation: Generation) -> int:
        """How many tokens are made before the answer ends or breaks off."""
        limit = self.behaviour.fail_after_tokens
        return generation.steps if limit is None else min(generation.steps, limit)

    def _whole(self, call: Call, generation: Generation) -> None:
        if self._reached(generation) < generation.steps:
            raise internal(self.behaviour.fail_message)
        self._send(call, generation, generation.steps)

    def _stream(self, call: Call, generation: Generation) -> None:
        reached, pace = self._reached(generation), self.behaviour.time_per_token_ms

        def go_on(call: Call) -> None:
            self._stream(call, generation)

        for _ in range(BURST):
            if call.cancelled:
                raise cancelled()
            if generation.at >= reached and reached < generation.steps:
                raise internal(self.behaviour.fail_message)
            self._send(call, generation, generation.at + 1)
            if generation.at >= generation.steps:
                return
            if pace > 0:
                self.after(pace, call, go_on)
                return
        self.schedule(0, lambda: self.resume(call, go_on))

    def _send(self, call: Call, generation: Generation, stop: int) -> None:
        cells = generation.part(stop, cumulative=self.cumulative and generation.ask.stream)
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
                    tensor = make(spec, cells, generation.ask, self)
                if spec.name not in self.changing:
                    generation.constant[spec.name] = tensor
            outputs.append(tensor)
        final = stop >= generation.steps
        if final and self.running:
            self.running.pop(call.request.id, None)
        self.respond(call, outputs, final=final)

    def _asks_to_cancel(self, call: Call) -> bool:
        """TensorRT-LLM's `stop` input: a request that cancels the one with its id and is answered with an error."""
        tensor = next((tensor for tensor in call.request.inputs if tensor.name == self.cancel_input), None)
        if tensor is None or not tensor.count or not tensor.array.ravel()[0]:
            return False
        if not call.request.id:
            raise internal("A request id must be provided for request cancellation")
        running = self.running.pop(call.request.id, None)
        if running is not None:
            running.cancelled = True
        raise TritonError(Code.CANCELLED, "Request cancelled by client")


def contract_of(definition: ModelDefinition, prompt: str, text: str) -> Contract:
    """The tensor contract of a model that is to answer as a language model; raises LoadError where it has none."""
    contract = llm_tensors.find(definition.config, prompt, text)
    if contract is None:
        raise LoadError(
            f"Invalid argument: behaviour 'text' of model '{definition.name}' finds no BYTES input for the prompt or "
            "no BYTES output for the text; name them with 'input' and 'output'"
        )
    return contract


# --- outputs: (spec, cells by row and sequence, what was asked, executor) to a tensor -----------------------------

_Cells = list[list[Cell]]
_Maker = Callable[[TensorSpec, _Cells, Ask, TextExecutor], Tensor]


def _shaped(spec: TensorSpec, executor: TextExecutor, rows: list[list[Any]]) -> Tensor:
    """Values by row and sequence as a tensor: an output of one element takes the first sequence's."""
    if spec.dims == (1,) or not spec.dims:
        rows = [row[:1] for row in rows]
    flat = [value for row in rows for value in row]
    width = len(rows[0]) if rows else 0
    shape: list[int]
    if executor.batched:
        shape = [len(rows), *([width] if spec.dims else []), *[1] * (len(spec.dims) - 1)]
    else:
        shape = [len(flat), *[1] * (len(spec.dims) - 1)] if spec.dims else []
    if spec.datatype == "BYTES":
        return Tensor(spec.name, "BYTES", shape, array=bytes_array(flat))
    return Tensor(spec.name, spec.datatype, shape, array=np.array(flat, dtype=DATATYPES[spec.datatype].numpy))


def _per_sequence(value: Callable[[Cell], Any]) -> _Maker:
    def make(spec: TensorSpec, cells: _Cells, ask: Ask, executor: TextExecutor) -> Tensor:
        return _shaped(spec, executor, [[value(cell) for cell in row] for row in cells])

    return make


_text = _per_sequence(lambda cell: bytes_of(cell.text))


def logprob(token: str) -> float:
    """A token's invented log probability, between -2 and 0."""
    return -(crc32(bytes_of(token)) % 2000) / 1000


def _logprobs_json(spec: TensorSpec, cells: _Cells, ask: Ask, executor: TextExecutor) -> Tensor:
    """The vLLM backend's `logprobs`: per answer a JSON list of {token id: details}, "null" where not asked for."""

    def details(cell: Cell) -> bytes:
        if ask.sampling.get("logprobs") is None:
            return b"null"
        return json.dumps(
            [
                {
                    crc32(bytes_of(token)) % 32000: {
                        "logprob": logprob(token),
                        "rank": 1,
                        "decoded_token": token,
                    }
                }
                for token in cell.tokens
            ]
        ).encode()

    return _shaped(spec, executor, [[details(cell) for cell in row] for row in cells])


def _log_probs(spec: TensorSpec, cells: _Cells, ask: Ask, executor: TextExecutor) -> Tensor:
    """TensorRT-LLM's `output_log_probs`: [batch, beams, tokens], shorter answers filled up with 0."""
    width = max((len(cell.tokens) for row in cells for cell in row), default=0)
    table = np.zeros((len(cells), len(cells[0]) if cells else 0, width), dtype=DATATYPES[spec.datatype].numpy)
    for place, row in enumerate(cells):
        for beam, cell in enumerate(row):
            table[place, beam, : len(cell.tokens)] = [logprob(token) for token in cell.tokens]
    return Tensor(spec.name, spec.datatype, table.shape if executor.batched else table.shape[1:], array=table)


def _prompt_tokens(spec: TensorSpec, cells: _Cells, ask: Ask, executor: TextExecutor) -> Tensor:
    tensor = _shaped(spec, executor, [[generator.count(row.prompt)] for row in ask.rows])
    if executor.contract.family is Family.VLLM:
        tensor.shape = ()  # the vLLM backend makes this tensor from a bare number
    return tensor


def _row_index(spec: TensorSpec, cells: _Cells, ask: Ask, executor: TextExecutor) -> Tensor:
    return _shaped(spec, executor, [[index] for index in range(len(cells))])


def _sequence_index(spec: TensorSpec, cells: _Cells, ask: Ask, executor: TextExecutor) -> Tensor:
    return _shaped(spec, executor, [[index for index, _ in enumerate(row)] for row in cells])


_cumulative = _per_sequence(lambda cell: sum(logprob(token) for token in cell.answer.tokens[: cell.end]))

#: The outputs that differ from one response of a stream to the next.
_CHANGING = frozenset(
    {
        "finish_reason",
        "stop_reason",
        "cum_log_probs",
        "cumulative_logprob",
        "output_log_probs",
        "logprobs",
        "num_output_tokens",
    }
)

_MAKERS: dict[str, _Maker] = {
    "finish_reason": _per_sequence(lambda cell: cell.finish_reason.encode()),
    "stop_reason": _per_sequence(lambda cell: bytes_of(str(cell.answer.stop_reason if cell.last else None))),
    "cum_log_probs": _cumulative,
    "cumulative_logprob": _cumulative,
    "output_log_probs": _log_probs,
    "logprobs": _logprobs_json,
    "num_input_tokens": _prompt_tokens,
    "num_output_tokens": _per_sequence(lambda cell: len(cell.tokens)),
    "batch_index": _row_index,
    "sequence_index": _sequence_index,
}
