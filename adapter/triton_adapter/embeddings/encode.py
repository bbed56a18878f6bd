"""Encodes rows of inputs as the HTTP request of a model that embeds. Pure."""

from collections.abc import Mapping
from typing import Any

from triton_adapter.call import Call
from triton_adapter.embeddings.plan import COMPANIONS, Plan
from triton_adapter.embeddings.requests import EmbeddingRequest
from triton_adapter.errors import BadRequestError, UnsupportedParameterError
from triton_adapter.jsontext import dumps
from triton_adapter.profiles.slot import Slot, request_parameter
from triton_adapter.settings import Settings
from triton_adapter.steps import HttpRequest
from triton_adapter.target import Target
from triton_adapter.tokens import detokenize, load_tokenizer
from triton_adapter.triton.codec import Tensor, encode_infer
from triton_adapter.triton.replies import JSON


def adapted(plan: Plan, item: Any, settings: Settings) -> Any:
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


def other_inputs(
    plan: Plan, request: EmbeddingRequest, call: Call, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of the model's other inputs: those in the settings, then those that the caller named.

    What `extra_body` or the settings name and the model lacks becomes a request parameter; a keyword is refused.
    """
    found: dict[str, Any] = {}
    inputs = plan.info.inputs if plan.info else {}
    batched = plan.info is not None and plan.info.max_batch_size > 0
    given = {**fixed, **request.body_extra, **request.extra}
    for name, value in given.items():
        if name in inputs and name != plan.slot.name:
            slot = Slot.of(inputs[name], batched=batched)
            found[name] = (slot, slot.value(name, value))
        elif name not in request.extra or name in call.allowed_params:
            request.parameters[name] = request_parameter(name, value)
        elif call.drop_params:
            call.dropped.append(name)
        else:
            raise UnsupportedParameterError(
                f"'{name}' cannot reach the model: it has no input for it", param=name
            )
    return found


def encode(
    target: Target, plan: Plan, rows: list[Any], extra: dict[str, Any], request: EmbeddingRequest, call: Call
) -> HttpRequest:
    """Return the request for some rows; `extra` is what `other_inputs` found."""
    if plan.info is not None and plan.info.decoupled:
        return _generate_wire(target, plan, rows[0], extra, request, call)
    if plan.info is None:
        # LiteLLM's own shape: nothing is known of the model, so only the rows are sent.
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
        parameters=request.parameters,
        binary=True,
    )
    return target.post(target.url("infer"), body, headers)


def _repeated(slot: Slot, value: Any, rows: int) -> Tensor:
    one = slot.tensor(value)
    return Tensor(one.name, one.datatype, [rows, *one.shape[1:]], one.data * rows)


def _generate_wire(
    target: Target, plan: Plan, item: Any, extra: dict[str, Any], request: EmbeddingRequest, call: Call
) -> HttpRequest:
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
    body = dumps(values | {"parameters": request.parameters, "id": call.request_id})
    return target.post(target.url("generate_stream"), body, JSON)
