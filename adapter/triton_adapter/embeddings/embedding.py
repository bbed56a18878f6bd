"""An embeddings call as steps: the inputs are split into requests of the size that the model takes, and the vectors
are put back in order.

Outputs come as binary data, so FP16 and BF16 models work (Triton refuses those in JSON) and base64, the openai
client's default, is cheap.
"""

from array import array
from collections.abc import Mapping
from functools import partial
from typing import Any

from triton_adapter.call import Call, answer, check_requests, send_all
from triton_adapter.embeddings.encode import adapted, encode, other_inputs
from triton_adapter.embeddings.plan import NUMBERS, OUTPUTS, Plan, make_plan
from triton_adapter.embeddings.requests import EmbeddingRequest, read_embedding
from triton_adapter.embeddings.vectors import shown, split
from triton_adapter.errors import (
    BadGatewayError,
    InternalServerError,
)
from triton_adapter.jsontext import loads
from triton_adapter.openai.parameters import is_int
from triton_adapter.settings import Settings
from triton_adapter.steps import HttpReply, Steps
from triton_adapter.target import Target
from triton_adapter.tokens import count
from triton_adapter.triton.codec import decode_infer
from triton_adapter.triton.replies import refuse_error
from triton_adapter.triton.sse import EventReader


def embedding(target: Target, body: Mapping[str, Any], call: Call) -> Steps:
    """Answer an embeddings request: a `list` dict of embeddings in the order of the input."""
    return answer(target, body, call, prefix="embd-", read=read_embedding, attempt=_attempt, bind=False)


def _attempt(target: Target, request: EmbeddingRequest, call: Call) -> Steps:
    plan = make_plan(target.info, target)
    check_requests(-(-len(request.inputs) // plan.rows), "input")
    inputs = [adapted(plan, item, target.settings) for item in request.inputs]
    extra = other_inputs(plan, request, call, target.settings.fixed_inputs)
    wires = []
    sizes = []
    for start in range(0, len(inputs), plan.rows):
        rows = inputs[start : start + plan.rows]
        sizes.append(len(rows))
        wires.append(encode(target, plan, rows, extra, request, call))
    call.usage = partial(_usage, request, None, target.settings)
    replies = yield from send_all(target, wires, call)
    vectors: list[Any] = []
    told: int | None = 0
    for reply, size in zip(replies, sizes, strict=True):
        rows, tokens = _rows(plan, reply, size, target.settings)
        vectors += rows
        told = None if tokens is None or told is None else told + tokens
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": at,
                "embedding": shown(vector, as_base64=request.base64, dimensions=request.dimensions),
            }
            for at, vector in enumerate(vectors)
        ],
        "model": call.model or target.model,
        "usage": _usage(request, told, target.settings),
    }


def _rows(plan: Plan, reply: HttpReply, size: int, settings: Settings) -> tuple[list[Any], int | None]:
    """Return a reply's vectors, one per input, and the number of tokens if the backend tells it."""
    refuse_error(reply)
    if plan.info is not None and plan.info.decoupled:
        return _event_rows(plan, reply)
    tensors = decode_infer(reply.headers, reply.body)
    name = plan.output or next((key for key in OUTPUTS if key in tensors), None)
    name = name or next((key for key, tensor in tensors.items() if tensor.datatype in NUMBERS), None)
    if name is None or name not in tensors:
        raise BadGatewayError("the model's reply holds no embedding")
    return split(tensors[name], size, settings.pooling), None


def _event_rows(plan: Plan, reply: HttpReply) -> tuple[list[Any], int | None]:
    reader = EventReader()
    events = list(reader.feed(reply.body))
    reader.end()
    if len(events) != 1:
        raise BadGatewayError(f"the model gave {len(events)} responses for one embedding")
    if "error" in events[0]:
        raise InternalServerError(str(events[0]["error"]))
    value = events[0].get(plan.output or "")
    try:
        if isinstance(value, str):  # vLLM's backend writes the vector as JSON text
            value = loads(value)
        vector = array("f", value or ())
    except (TypeError, ValueError, OverflowError) as error:
        raise BadGatewayError("the model's reply holds no embedding") from error
    if not vector:
        raise BadGatewayError("the model's reply holds no embedding")
    tokens: Any = events[0].get("num_input_tokens")
    return [vector], tokens if is_int(tokens) and 0 <= tokens < 2**53 else None


def _usage(request: EmbeddingRequest, told: int | None, settings: Settings) -> dict[str, Any]:
    estimated = False
    if told is None:
        told = 0
        for item in request.inputs:
            tokens, guess = (len(item), False) if isinstance(item, list) else count(item, settings.tokenizer)
            told += tokens
            estimated |= guess
    usage: dict[str, Any] = {"prompt_tokens": told, "total_tokens": told}
    if estimated:
        usage["estimated"] = True
    return usage
