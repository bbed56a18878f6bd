"""The output tensors of a language model: the texts, counts and log probabilities of one response."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from triton_emulator.backends.standins import generator
from triton_emulator.backends.standins.generator import Answer
from triton_emulator.backends.standins.inline import bytes_array, bytes_of
from triton_emulator.backends.standins.llm_tensors import Ask, Contract, Family
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import TensorSpec

_PERF_METRICS = (
    "arrival_time_ns first_scheduled_time_ns first_token_time_ns last_token_time_ns acceptance_rate "
    "total_accepted_draft_tokens total_draft_tokens kv_cache_alloc_new_blocks kv_cache_reused_blocks "
    "kv_cache_alloc_total_blocks kv_cache_reused_block kv_cache_missed_block kv_cache_hit_rate"
)
#: The flag (without its `return_`) that asks for an output, if its name is not the output's.
GATES = {
    "cum_log_probs": "log_probs",
    "output_log_probs": "log_probs",
    **dict.fromkeys(_PERF_METRICS.split(), "perf_metrics"),
}


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


class Part(NamedTuple):
    """One response before it becomes tensors; `cells` are by row and sequence."""

    cells: list[list[Cell]]
    ask: Ask
    family: Family
    batched: bool


Maker = Callable[[TensorSpec, Part], Tensor]


def gate(spec: TensorSpec, contract: Contract) -> str | None:
    """The flag that a request must set to get an output; None for an output that is always sent."""
    flag = GATES.get(spec.name, spec.name)
    return flag if flag in contract.flags.values() else None


def _shaped(spec: TensorSpec, part: Part, rows: list[list[Any]]) -> Tensor:
    """A tensor of values by row and sequence. An output of dims [1] or [] takes only the first sequence of each row."""
    if spec.dims == (1,) or not spec.dims:
        rows = [row[:1] for row in rows]
    flat = [value for row in rows for value in row]
    width = len(rows[0]) if rows else 0
    shape: list[int]
    if part.batched:
        shape = [len(rows), *([width] if spec.dims else []), *[1] * (len(spec.dims) - 1)]
    else:
        shape = [len(flat), *[1] * (len(spec.dims) - 1)] if spec.dims else []
    if spec.datatype == "BYTES":
        return Tensor(spec.name, "BYTES", shape, array=bytes_array(flat))
    return Tensor(spec.name, spec.datatype, shape, array=np.array(flat, dtype=DATATYPES[spec.datatype].numpy))


def _per_sequence(value: Callable[[Cell], Any]) -> Maker:
    def make(spec: TensorSpec, part: Part) -> Tensor:
        return _shaped(spec, part, [[value(cell) for cell in row] for row in part.cells])

    return make


text = _per_sequence(lambda cell: bytes_of(cell.text))


def logprob(token: str) -> float:
    """A token's invented log probability, between -2 and 0."""
    return -(crc32(bytes_of(token)) % 2000) / 1000


def _logprobs_json(spec: TensorSpec, part: Part) -> Tensor:
    """The vLLM backend's `logprobs`: a JSON list of {token id: details} for each answer, "null" if not asked for."""

    def details(cell: Cell) -> bytes:
        if part.ask.sampling.get("logprobs") is None:
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

    return _shaped(spec, part, [[details(cell) for cell in row] for row in part.cells])


def _log_probs(spec: TensorSpec, part: Part) -> Tensor:
    """TensorRT-LLM's `output_log_probs`, of shape [batch, beams, tokens]; shorter answers are padded with 0."""
    width = max((len(cell.tokens) for row in part.cells for cell in row), default=0)
    table = np.zeros(
        (len(part.cells), len(part.cells[0]) if part.cells else 0, width),
        dtype=DATATYPES[spec.datatype].numpy,
    )
    for place, row in enumerate(part.cells):
        for beam, cell in enumerate(row):
            table[place, beam, : len(cell.tokens)] = [logprob(token) for token in cell.tokens]
    return Tensor(spec.name, spec.datatype, table.shape if part.batched else table.shape[1:], array=table)


def output_ids(spec: TensorSpec, part: Part) -> Tensor:
    """An engine's token ids, of shape [batch, beams, tokens]; shorter answers are padded with 0."""
    ids = [[[int(token) for token in cell.text.split()] for cell in row] for row in part.cells]
    width = max((len(one) for row in ids for one in row), default=0)
    table = np.array(
        [[one + [0] * (width - len(one)) for one in row] for row in ids], dtype=DATATYPES[spec.datatype].numpy
    ).reshape(len(ids), -1, width)
    return Tensor(spec.name, spec.datatype, table.shape if part.batched else table.shape[1:], array=table)


def _prompt_tokens(spec: TensorSpec, part: Part) -> Tensor:
    tensor = _shaped(spec, part, [[generator.count(row.prompt)] for row in part.ask.rows])
    if part.family is Family.VLLM:
        tensor.shape = ()  # the vLLM backend makes this tensor from a bare number
    return tensor


def _row_index(spec: TensorSpec, part: Part) -> Tensor:
    return _shaped(spec, part, [[index] for index in range(len(part.cells))])


def _sequence_index(spec: TensorSpec, part: Part) -> Tensor:
    return _shaped(spec, part, [[index for index, _ in enumerate(row)] for row in part.cells])


_cumulative = _per_sequence(lambda cell: sum(logprob(token) for token in cell.answer.tokens[: cell.end]))

#: The outputs that may differ between the responses of a stream.
CHANGING = frozenset(
    {
        "finish_reason",
        "stop_reason",
        "cum_log_probs",
        "cumulative_logprob",
        "output_log_probs",
        "logprobs",
        "num_output_tokens",
        "sequence_length",
    }
)

MAKERS: dict[str, Maker] = {
    "finish_reason": _per_sequence(lambda cell: cell.finish_reason.encode()),
    "stop_reason": _per_sequence(lambda cell: bytes_of(str(cell.answer.stop_reason if cell.last else None))),
    "cum_log_probs": _cumulative,
    "cumulative_logprob": _cumulative,
    "output_log_probs": _log_probs,
    "logprobs": _logprobs_json,
    "sequence_length": _per_sequence(lambda cell: len(cell.text.split())),
    "num_input_tokens": _prompt_tokens,
    "num_output_tokens": _per_sequence(lambda cell: len(cell.tokens)),
    "batch_index": _row_index,
    "sequence_index": _sequence_index,
}
