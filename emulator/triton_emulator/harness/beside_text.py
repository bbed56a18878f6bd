"""What a language model answers beside its text, where a stub has given the text.

A request asks for it by its inputs `return_<output>`: why the answer ends, how many tokens it has. A client that has
asked waits for it: one that is told no `finish_reason` takes the answer as broken off.
"""

from collections.abc import Iterator, Sequence

from triton_emulator.backends.standins import llm_tensors, text_outputs
from triton_emulator.backends.standins.generator import Answer
from triton_emulator.backends.standins.text_outputs import Cell, Part
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig


def beside_text(
    config: ModelConfig, output: str, tokens: Sequence[str], request: InferRequest, *, streams: bool
) -> Iterator[list[Tensor]]:
    """The further outputs of each response: one for each token where it `streams`, else one.

    `output` is the one with the text. There are none for a model whose tensors are not known, and none that a
    request does not ask for.
    """
    steps = [[token] for token in tokens] if streams else [list(tokens)]
    contract = llm_tensors.find(config)
    if contract is None or contract.text != output:
        yield from ([] for _ in steps)
        return
    batched = config.max_batch_size > 0
    ask = llm_tensors.read_for_text(contract, request, batched=batched)
    makers = [
        (spec, text_outputs.MAKERS[spec.name])
        for spec in config.outputs
        if spec.name in text_outputs.MAKERS and text_outputs.gate(spec, contract) in ask.flags
    ]
    answer = Answer(list(tokens), "stop")
    end = 0
    for step in steps:
        end += len(step)
        cell = Cell("".join(step), step, answer, last=end == len(tokens), end=end)
        part = Part([[cell] for _ in ask.rows], ask, contract.family, batched)
        yield [make(spec, part) for spec, make in makers]
