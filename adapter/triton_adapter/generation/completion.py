"""A chat or text completion as steps: read the body, make the prompts, encode, send, decode.

1. The OpenAI body is read (`openai.requests`) and its messages become a prompt (`chat_template`).
2. The parameters are put where the model takes them (`encode`), once for all prompts.
3. Every prompt, and every further choice that the model cannot give by itself, becomes a request (a `Lane`).
4. Responses are read (`pieces`) and added to the `Answer`, at once for a whole reply; for a stream the steps end with
   a `Flow`, whose first lane is open, and the transport feeds it.
"""

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from triton_adapter.call import Call, answer, check_requests, send, send_all
from triton_adapter.errors import BadGatewayError, NotFoundError
from triton_adapter.generation.answers import Answer, Lane
from triton_adapter.generation.chat_template import render_chat
from triton_adapter.generation.encode import (
    Sampling,
    generate_body,
    infer_body,
    litellm_body,
    prompt_values,
    sampling,
)
from triton_adapter.generation.flow import Flow, Form, chat_form, text_form
from triton_adapter.generation.pieces import Piece, from_event, from_tensors
from triton_adapter.generation.tool_use import prepare_tools
from triton_adapter.jsontext import loads
from triton_adapter.openai.requests import Generation, read_chat, read_completion
from triton_adapter.profiles.binding import Binding
from triton_adapter.steps import HttpReply, HttpRequest, Steps
from triton_adapter.target import Target
from triton_adapter.tokens import detokenize
from triton_adapter.triton.codec import decode_infer
from triton_adapter.triton.replies import JSON, refuse_error
from triton_adapter.triton.sse import EventReader

# Requests to Triton that one call may become.
MOST_REQUESTS = 2048


def chat(target: Target, body: Mapping[str, Any], call: Call) -> Steps:
    """Answer a chat completion: a `chat.completion` dict, or a `Flow` if the body says `stream`."""
    return _answer(target, body, call, chat_form(), read_chat)


def completion(target: Target, body: Mapping[str, Any], call: Call) -> Steps:
    """Answer a text completion: a `text_completion` dict, or a `Flow` if the body says `stream`."""
    return _answer(target, body, call, text_form(), read_completion)


def _answer(
    target: Target, body: Mapping[str, Any], call: Call, form: Form, read: Callable[..., Generation]
) -> Steps:
    attempt = partial(_attempt, form)
    return answer(target, body, call, prefix=form.prefix, read=read, attempt=attempt, bind=True)


def _attempt(form: Form, target: Target, request: Generation, call: Call) -> Steps:
    binding = target.binding
    assert binding is not None  # noqa: S101 - made before the first attempt and again before the second
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
    call.usage = answer.usage
    flow = Flow(form, answer, request, head, prompts, target, call.request_id)
    if streaming:
        opened = yield from _send(target, wires[0], call)
        flow.opened = [opened.source]
        flow.openings = [_result(opened), *(_send(target, wire, call) for wire in wires[1:])]
        return flow
    replies = yield from send_all(target, wires, call, _send)
    if request.stream:  # the model cannot stream: one chunk for each choice
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
        # The same seed gives the same text, so further choices take the next seeds, or random ones if none was given.
        given = values.get(slot.name)
        values[slot.name] = given + copy if isinstance(given, int) else random.getrandbits(31)
    return values


def _wire(
    target: Target, binding: Binding, values: dict[str, Any], shared: Sampling, call: Call, *, stream: bool
) -> HttpRequest:
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


def _send(target: Target, wire: HttpRequest, call: Call) -> Steps:
    """Send one request. If the model is not found at an assumed URL, the error says why the URL had to be assumed."""
    try:
        return (yield from send(target, wire, call))
    except NotFoundError as error:
        if target.unknown is None or not wire.url.startswith(target.api_base.server):
            raise
        raise NotFoundError(target.unknown.message, param="model", request_id=call.request_id) from error


def _result(reply: HttpReply) -> Steps:
    """Return steps that give a reply which is already here."""
    yield from ()
    return reply


def _pieces(binding: Binding, reply: HttpReply) -> list[Piece]:
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
        raise BadGatewayError("the reply is not a generate response")
    return [from_event(binding, event)]
