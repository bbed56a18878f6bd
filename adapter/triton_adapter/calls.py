"""One completion as steps: encode, send, decode. No I/O: each step yields what is to be done and is sent its result.

The steps yield `Wire` (answered by a `Reply`), `Sleep` and `Together`; failures of the transport are thrown into
them as errors of ours. The synchronous and the asynchronous transport drive the same steps.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from triton_adapter.answers import Answer, Lane
from triton_adapter.chat_template import render_chat
from triton_adapter.errors import AdapterError, BadGatewayError, BadRequestError, NotFoundError
from triton_adapter.flow import Flow, Form, chat_form, labelled, text_form
from triton_adapter.openai.requests import Generation, read_chat, read_completion
from triton_adapter.pieces import Piece, from_event, from_tensors
from triton_adapter.profiles.binding import Binding
from triton_adapter.profiles.encode import (
    Sampling,
    generate_body,
    infer_body,
    litellm_body,
    prompt_values,
    sampling,
)
from triton_adapter.target import Steps, Target
from triton_adapter.tokens import detokenize
from triton_adapter.tool_use import prepare_tools
from triton_adapter.triton.codec import decode_infer
from triton_adapter.triton.jsontext import loads
from triton_adapter.triton.replies import JSON, Reply, Wire, read_error, refuse_error
from triton_adapter.triton.sse import EventReader

# Requests to Triton that one call may become.
MOST_REQUESTS = 2048


@dataclass(slots=True)
class Call:
    """What one call brings beside its body. `model` is the name the reply carries; `dropped` is filled in."""

    model: str = ""
    request_id: str | None = None
    drop_params: bool = False
    allowed_params: tuple[str, ...] = ()
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Together:
    """An effect: run these steps side by side; the result is the list of theirs, in order."""

    steps: list[Steps]


def check_requests(number: int, param: str) -> None:
    """Raise BadRequestError if one call would become more requests to Triton than are let through."""
    if number > MOST_REQUESTS:
        raise BadRequestError(
            f"'{param}' would make {number} requests to this model; one call may make {MOST_REQUESTS} at most",
            param=param,
            code="invalid_value",
        )


def chat(target: Target, body: Mapping[str, Any], call: Call) -> Steps:
    """Answer a chat completion: a `chat.completion` dict, or a `Flow` if the body says `stream`."""
    return (yield from _answer(target, body, call, chat_form(), read_chat))


def completion(target: Target, body: Mapping[str, Any], call: Call) -> Steps:
    """Answer a text completion: a `text_completion` dict, or a `Flow` if the body says `stream`."""
    return (yield from _answer(target, body, call, text_form(), read_completion))


def _answer(target: Target, body: Mapping[str, Any], call: Call, form: Form, read: Any) -> Steps:
    request = read(body)
    call.request_id = call.request_id or form.prefix + token_hex(16)
    try:
        binding = target.binding or (yield from target.bind())
        try:
            return (yield from _attempt(target, binding, request, call, form))
        except AdapterError as error:
            if not (yield from target.refreshed(error)):
                raise
        return (yield from _attempt(target, target.binding, read(body), call, form))
    except AdapterError as error:
        raise labelled(error, call.request_id, target.endpoint.base)  # noqa: B904 - the same error


def _attempt(target: Target, binding: Any, request: Generation, call: Call, form: Form) -> Steps:
    prompts, make_parser = _prepare(binding, request, call, form)
    shared = sampling(binding, request, drop=call.drop_params, allowed=call.allowed_params)
    call.dropped[:] = [*call.dropped, *(name for name in shared.dropped if name not in call.dropped)]
    per_lane = request.n if shared.native_n else 1
    check_requests(len(prompts) * (request.n // per_lane), "prompt")
    lanes, wires = [], []
    streaming = request.stream and not (binding.bare and binding.by_infer)
    for at, prompt in enumerate(prompts):
        for copy in range(request.n // per_lane):
            lanes.append(Lane(at * request.n + copy, per_lane, prompt, again=copy > 0))
            values = _values(binding, shared, prompt, copy, stream=streaming)
            wires.append(_wire(target, binding, values, shared, call, stream=streaming))
    identifier = call.request_id or ""
    if not identifier.startswith(form.prefix):
        identifier = form.prefix + identifier
    head = {"id": identifier, "object": "", "created": int(time.time()), "model": call.model or target.model}
    answer = Answer(binding, request, lanes, shared.max_tokens, make_parser)
    flow = Flow(form, answer, request, head, prompts, call.request_id, target.endpoint.base)
    if streaming:
        opened = yield from _sent(target, wires[0], call)
        flow.opened = [opened.source]
        flow.openings = [_result(opened), *(_sent(target, wire, call) for wire in wires[1:])]
        return flow
    if len(wires) == 1:
        replies = [(yield from _sent(target, wires[0], call))]
    else:
        replies = yield Together([_sent(target, wire, call) for wire in wires])
    if request.stream:  # a model that can only answer whole: one event per choice
        flow.whole = [_pieces(binding, reply) for reply in replies]
        return flow
    for lane, reply in zip(lanes, replies, strict=True):
        for piece in _pieces(binding, reply):
            for _ in answer.feed(lane, piece):
                pass
        for _ in answer.end(lane):
            pass
    return flow.reply()


def _prepare(binding: Binding, request: Generation, call: Call, form: Form) -> tuple[list[str], Any]:
    if not form.chat:
        tokenizer = binding.settings.tokenizer
        prompts = [
            prompt if isinstance(prompt, str) else detokenize(prompt, tokenizer, param="prompt")
            for prompt in request.prompts
        ]
        return prompts, None
    make_parser = (
        prepare_tools(binding, request, call.dropped if call.drop_params else None) if request.tools else None
    )
    return [render_chat(binding, request)], make_parser


def _values(binding: Binding, shared: Sampling, prompt: str, copy: int, *, stream: bool) -> dict[str, Any]:
    flag = stream and (binding.bare is not None or binding.info.decoupled)
    values = prompt_values(
        binding, shared, prompt, stream=flag or (binding.info.decoupled and binding.settings.stream_upstream)
    )
    if copy and (slot := binding.slots.get("seed")) is not None:
        # The same seed gives the same text: further choices take the next seeds, or any where none was given.
        given = values.get(slot.name)
        values[slot.name] = given + copy if isinstance(given, int) else random.getrandbits(31)
    return values


def _wire(
    target: Target, binding: Binding, values: dict[str, Any], shared: Sampling, call: Call, *, stream: bool
) -> Wire:
    if binding.by_infer and not stream:
        outputs = () if binding.bare else binding.outputs
        if outputs and "logprobs" in binding.roles and values.get(binding.profile.logprobs_input) is True:
            outputs = (*outputs, binding.roles["logprobs"])
        body, headers = infer_body(
            binding, values, shared, outputs, None if binding.bare else call.request_id
        )
        return target.post(binding.bare or target.url("infer"), body, headers)
    events = stream or (binding.info.decoupled and binding.bare is None)
    if binding.bare:
        path, _, query = binding.bare.partition("?")
        url = f"{path}{'_stream' if events else ''}{'?' + query if query else ''}"
        body = litellm_body(binding, values, shared.parameters)
    else:
        url = target.url("generate_stream" if events else "generate")
        body = generate_body(values, shared.parameters, call.request_id)
    return target.post(url, body, JSON, stream=stream)


def _sent(target: Target, wire: Wire, call: Call) -> Steps:
    return (yield from target.retrying(lambda: _once(target, wire, call)))


def _once(target: Target, wire: Wire, call: Call) -> Steps:
    reply = yield wire
    if reply.status == 200:
        return reply
    error = read_error(reply, request_id=call.request_id, upstream=target.endpoint.base)
    if (
        isinstance(error, NotFoundError)
        and target.unknown is not None
        and wire.url.startswith(target.endpoint.base)
    ):
        raise NotFoundError(target.unknown.message, param="model", request_id=call.request_id) from error
    raise error


def _result(reply: Reply) -> Steps:
    """Steps that are done."""
    yield from ()
    return reply


def _pieces(binding: Binding, reply: Reply) -> list[Piece]:
    refuse_error(reply)
    if binding.by_infer:
        return [from_tensors(binding, decode_infer(reply.headers, reply.body))]
    if binding.info.decoupled and binding.bare is None:
        reader = EventReader()
        pieces = [from_event(binding, event) for event in reader.feed(reply.body)]
        reader.end()
        return pieces
    try:
        event = loads(reply.body)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise BadGatewayError("the reply is not a generate response of Triton's")
    return [from_event(binding, event)]
