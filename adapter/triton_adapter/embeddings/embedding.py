"""One embeddings call as steps: the inputs cut into requests the model can take, their rows put back in order.

Outputs come as binary data, so FP16 and BF16 models work (Triton refuses those in JSON) and base64, the openai
client's default, costs next to nothing.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_adapter.call import Call, answer, check_requests, send_all
from triton_adapter.embeddings.plan import COMPANIONS, NUMBERS, OUTPUTS, Plan, make_plan
from triton_adapter.embeddings.vectors import shown, split
from triton_adapter.errors import (
    BadGatewayError,
    BadRequestError,
    InternalServerError,
    MissingParameterError,
    UnsupportedParameterError,
)
from triton_adapter.openai.parameters import checked, is_int
from triton_adapter.profiles.slot import Slot, request_parameter
from triton_adapter.settings import Settings
from triton_adapter.steps import Reply, Steps, Wire
from triton_adapter.target import Target
from triton_adapter.tokens import count, detokenize, load_tokenizer
from triton_adapter.triton.codec import Tensor, decode_infer, encode_infer
from triton_adapter.triton.jsontext import dumps, loads
from triton_adapter.triton.replies import JSON, refuse_error
from triton_adapter.triton.sse import EventReader


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for: `inputs` holds strings and token lists."""

    inputs: list[Any]
    base64: bool
    dimensions: int | None
    extra: dict[str, Any]
    body_extra: dict[str, Any]
    parameters: dict[str, Any]


def embedding(target: Target, body: Mapping[str, Any], call: Call) -> Steps:
    """Answer an embeddings request: a `list` dict of embeddings in the order of the input."""
    return answer(target, body, call, prefix="embd-", read=_read, attempt=_attempt, bind=False)


def _attempt(target: Target, asked: Asked, call: Call) -> Steps:
    plan = make_plan(target.info, target)
    check_requests(-(-len(asked.inputs) // plan.rows), "input")
    inputs = [_adapted(plan, item, at, target.settings) for at, item in enumerate(asked.inputs)]
    extra = _extra(plan, asked, call, target.settings.fixed_inputs)
    wires = []
    sizes = []
    for start in range(0, len(inputs), plan.rows):
        rows = inputs[start : start + plan.rows]
        sizes.append(len(rows))
        wires.append(_wire(target, plan, rows, extra, asked, call))
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
                "embedding": shown(vector, as_base64=asked.base64, dimensions=asked.dimensions),
            }
            for at, vector in enumerate(vectors)
        ],
        "model": call.model or target.model,
        "usage": _usage(asked, told, target.settings),
    }


def _read(body: Mapping[str, Any]) -> Asked:
    given = body.get("input")
    if given is None:
        raise MissingParameterError("Missing required parameter: 'input'.", param="input")
    form = body.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise BadRequestError(
            "'encoding_format' must be float or base64", param="encoding_format", code="invalid_value"
        )
    dimensions = body.get("dimensions")
    if dimensions is not None and (not is_int(dimensions) or dimensions < 1):
        raise BadRequestError(
            "'dimensions' must be an integer of 1 or more", param="dimensions", code="invalid_value"
        )
    for name in ("user", "extra_body"):
        if body.get(name) is not None:
            checked(name, body[name])
    known = {"input", "model", "encoding_format", "dimensions", "user", "extra_body"}
    extra = {name: value for name, value in body.items() if name not in known and value is not None}
    parameters = {} if body.get("user") is None else {"user": body["user"]}
    return Asked(
        _inputs(given), form == "base64", dimensions, extra, dict(body.get("extra_body") or {}), parameters
    )


def _inputs(given: Any) -> list[Any]:
    if isinstance(given, str) and given:
        return [given]
    if isinstance(given, list) and given:
        if all(map(is_int, given)):
            return [given]
        if all(isinstance(item, str) and item for item in given):
            return given
        if all(isinstance(item, list) and item and all(map(is_int, item)) for item in given):
            return given
    raise BadRequestError(
        "'input' must be a string, a list of strings, a list of tokens or a list of token lists, none of them empty",
        param="input",
        code="invalid_value",
    )


def _adapted(plan: Plan, item: Any, at: int, settings: Settings) -> Any:
    """Return an input in the form the model takes: text or tokens."""
    if plan.kind == "text" and not isinstance(item, str):
        return detokenize(item, settings.tokenizer, param="input")
    if plan.kind == "tokens":
        if isinstance(item, str):
            if not settings.tokenizer:
                raise BadRequestError(
                    "'input' holds text, but the model takes token ids and no tokenizer is configured",
                    param="input",
                    code="invalid_type",
                )
            item = load_tokenizer(settings.tokenizer).encode(item).ids
        return plan.slot.value("input", item)
    return item


def _extra(plan: Plan, asked: Asked, call: Call, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the model's other inputs: those in the settings, then those that the caller named.

    What `extra_body` or the settings name and the model lacks becomes a request parameter; a keyword is refused.
    """
    found: dict[str, Any] = {}
    inputs = plan.info.inputs if plan.info else {}
    batched = plan.info is not None and plan.info.max_batch_size > 0
    given = {**fixed, **asked.body_extra, **asked.extra}
    for name, value in given.items():
        if name in inputs and name != plan.slot.name:
            slot = Slot.of(inputs[name], batched=batched)
            found[name] = (slot, slot.value(name, value))
        elif name not in asked.extra or name in call.allowed_params:
            asked.parameters[name] = request_parameter(name, value)
        elif call.drop_params:
            call.dropped.append(name)
        else:
            raise UnsupportedParameterError(
                f"'{name}' cannot reach the model: it has no input for it", param=name
            )
    return found


def _wire(
    target: Target, plan: Plan, rows: list[Any], extra: dict[str, Any], asked: Asked, call: Call
) -> Wire:
    if plan.info is not None and plan.info.decoupled:
        return _generate_wire(target, plan, rows[0], extra, asked, call)
    if plan.info is None:
        # LiteLLM's own shape: the server tells nothing, so nothing is asked of it but the rows.
        tensors = [Tensor(plan.slot.name, "BYTES", [len(rows)], rows)]
        body, headers = encode_infer(tensors)
        return target.post(plan.bare or "", body, headers)
    batched = plan.info.max_batch_size > 0
    tensors = []
    if plan.kind == "tokens":
        tensors = [plan.slot.tensor(rows[0])]
        for name, value in COMPANIONS.items():
            if name in plan.info.inputs:
                slot = Slot.of(plan.info.inputs[name], batched=batched)
                tensors.append(slot.tensor([value] * len(rows[0])))
    elif batched:
        ones = [1] * max(1, len(plan.slot.dims))
        tensors = [Tensor(plan.slot.name, "BYTES", [len(rows), *ones[: len(plan.slot.dims)]], rows)]
    else:
        shape = [len(rows)] if len(plan.slot.dims) == 1 else [1] * len(plan.slot.dims)
        tensors = [Tensor(plan.slot.name, "BYTES", shape, rows)]
    tensors += [
        _repeated(slot, value, len(rows)) if batched else slot.tensor(value) for slot, value in extra.values()
    ]
    body, headers = encode_infer(
        tensors,
        outputs=[plan.output or ""],
        request_id=call.request_id,
        parameters=asked.parameters,
        binary=True,
    )
    return target.post(target.url("infer"), body, headers)


def _repeated(slot: Slot, value: Any, rows: int) -> Tensor:
    one = slot.tensor(value)
    return Tensor(one.name, one.datatype, [rows, *one.shape[1:]], one.data * rows)


def _generate_wire(
    target: Target, plan: Plan, item: Any, extra: dict[str, Any], asked: Asked, call: Call
) -> Wire:
    values: dict[str, Any] = {name: value for name, (_, value) in extra.items()}
    info = plan.info
    if plan.kind == "vllm":
        values[plan.slot.name] = dumps({"input": item}).decode()
        if info is not None and "text_input" in info.inputs and not info.inputs["text_input"].optional:
            values["text_input"] = item if isinstance(item, str) else ""
        if info is not None and "return_num_input_tokens" in info.inputs:
            values["return_num_input_tokens"] = True
    else:
        values[plan.slot.name] = item
    body = dumps(values | {"parameters": asked.parameters, "id": call.request_id})
    return target.post(target.url("generate_stream"), body, JSON)


def _rows(plan: Plan, reply: Reply, size: int, settings: Settings) -> tuple[list[Any], int | None]:
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


def _event_rows(plan: Plan, reply: Reply) -> tuple[list[Any], int | None]:
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


def _usage(asked: Asked, told: int | None, settings: Settings) -> dict[str, Any]:
    estimated = False
    if told is None:
        told = 0
        for item in asked.inputs:
            tokens, guess = (len(item), False) if isinstance(item, list) else count(item, settings.tokenizer)
            told += tokens
            estimated |= guess
    usage: dict[str, Any] = {"prompt_tokens": told, "total_tokens": told}
    if estimated:
        usage["estimated"] = True
    return usage
