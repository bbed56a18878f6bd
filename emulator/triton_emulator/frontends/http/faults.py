"""What a fault does to a request over HTTP, in place of its answer and on its way to the wire."""

from typing import Any

from triton_emulator.clock import Clock
from triton_emulator.frontends.asgi import Send, send_reply
from triton_emulator.frontends.http.entries import HttpEntry, cut_binary
from triton_emulator.frontends.http.errors import typed_error, untyped_error
from triton_emulator.harness.parts import Break, NotReady, Refuse, Script, TruncatedBinary, Unloaded, Wait
from triton_emulator.protocol.errors import invalid_arg, unavailable
from triton_emulator.protocol.json_dialect import write_string
from triton_emulator.repository.repository import unloaded
from triton_emulator.session.state import SessionState
from triton_emulator.wire.http_cycle import UNLAWFUL, WHOLE
from triton_emulator.wire.operations import Body, End, Head, Operation, Pause
from triton_emulator.wire.reply import Reply, json_reply, untyped


async def answers(entry: HttpEntry, session: SessionState, send: Send) -> bool:
    """Do what the fault does before the request is looked at; returns whether that was the whole answer."""
    script = entry.script
    if script is None:
        return False
    script.note(Wait)  # now: the client may leave meanwhile
    if script.waits and await perform(Pause(script.waits), send, session.clock):
        return True
    answer = script.answer
    if isinstance(answer, Break):
        script.note(Break)
        for operation in answer.operations:
            await perform(operation, send, session.clock)
        return True
    reply: Reply | None = None
    if isinstance(answer, Refuse):
        reply = json_reply(b'{"error":%b}' % write_string(answer.message), answer.status)
        if answer.retry_after is not None:
            reply.headers = ((b"Retry-After", b"%d" % answer.retry_after), *reply.headers)
    elif isinstance(answer, NotReady):
        reply = _not_ready(entry, session)
    elif isinstance(answer, Unloaded):
        reply = _unloaded(entry, session)
    if reply is None:
        return False
    script.note(Refuse, NotReady, Unloaded)
    await send_reply(send, reply)
    return True


def _not_ready(entry: HttpEntry, session: SessionState) -> Reply:
    rules = session.personality
    if entry.operation == "server_ready":
        return untyped(400)
    if entry.operation == "model_ready":
        return untyped_error(invalid_arg("Model version not ready"), rules)
    error = unavailable("Server not ready")
    return untyped_error(error, rules) if entry.operation == "infer" else typed_error(error, rules)


def _unloaded(entry: HttpEntry, session: SessionState) -> Reply | None:
    """The answer to what asks about a model; None for an inference, which is refused where it looks for the model."""
    rules = session.personality
    match entry.operation:
        case "infer" | "generate" | "generate_stream":
            return None
        case "model_ready" if not rules.tells_why_no_model_is_ready:
            return untyped_error(invalid_arg("Model version not ready"), rules)
        case "model_ready":
            return untyped_error(unloaded(entry.model, entry.version), rules)
    return typed_error(unloaded(entry.model, entry.version), rules)


def shaping(script: Script | None, send: Send, clock: Clock) -> Send:
    """A `send` that does to the answer what the fault does on the wire."""
    if script is None or not script.shapes:
        return send

    gone = False

    async def shaped(message: dict[str, Any]) -> None:
        nonlocal gone
        for operation in _operations(message):
            for after in script.shaped(operation):
                gone = gone or await perform(after, send, clock)

    return shaped


def truncated(script: Script, reply: Reply) -> Reply:
    """The answer to an inference, before it is compressed, without the bytes of an output that the fault leaves out."""
    part = script.truncated
    body = None if part is None else cut_binary(reply.headers, reply.body, part.name, part.missing)
    if body is None:
        return reply
    script.note(TruncatedBinary)
    length = (b"Content-Length", b"%d" % len(body))
    headers = tuple(length if name == b"Content-Length" else (name, value) for name, value in reply.headers)
    return Reply(reply.status, headers, body)


def _operations(message: dict[str, Any]) -> list[Operation]:
    """The wire operations of a message of an application."""
    if message["type"] == WHOLE:
        reply = message["reply"]
        return [Head(reply.status, reply.headers), *([Body(reply.body)] if reply.body else []), End()]
    if message["type"] == "http.response.start":
        return [Head(message["status"], message["headers"])]
    body = message.get("body", b"")
    return [*([Body(body)] if body else []), *([] if message.get("more_body", False) else [End()])]


async def perform(operation: Operation, send: Send, clock: Clock) -> bool:
    """Do one wire operation, a pause by the clock; returns whether the client was seen to have gone meanwhile."""
    match operation:
        case Head(status, headers):
            await send({"type": "http.response.start", "status": status, "headers": headers})
        case Body(data):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        case End():
            await send({"type": "http.response.body", "body": b""})
        case _:
            message = {"type": UNLAWFUL, "operation": operation, "clock": clock}
            await send(message)
            return bool(message.get("gone"))
    return False
