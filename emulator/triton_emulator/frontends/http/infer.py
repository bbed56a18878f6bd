"""`POST /v2/models/<m>/infer`: from the body to one answer.

2.51 sets the content type between reading the headers and parsing the body, and forgets it once the model has run: an
error before the first moment or after the second calls itself text/plain, one in between application/json.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from triton_emulator.engine.call import Call
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.frontends.aside import LARGE, aside, is_large
from triton_emulator.frontends.http.errors import typed_error, untyped_error
from triton_emulator.frontends.outputs import requested
from triton_emulator.frontends.responses import Responses
from triton_emulator.protocol import compression
from triton_emulator.protocol.errors import TritonError, internal, invalid_arg, unsupported
from triton_emulator.protocol.infer_request import parse_infer
from triton_emulator.protocol.infer_response import render_infer
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.session.world import World
from triton_emulator.wire.reply import JSON_TYPE, OCTET_TYPE, Headers, Reply, typed

T = TypeVar("T")

_ACCEPTED: Headers = ((b"Accept-Encoding", b"gzip, deflate"),)


#: how long the names of those headers are: to look at the length spares the other headers a lower()
_LENGTHS = frozenset({15, 16, 31})


def _head(headers: list[tuple[bytes, bytes]]) -> tuple[str, str, bytes | None]:
    """What the headers say: the body's coding, the codings that the client takes, the length of the JSON."""
    encoding, accept = "identity", ""
    header_length = None
    for key, value in headers:
        if len(key) in _LENGTHS:
            name = key.lower()
            if name == b"content-encoding":
                encoding = value.decode("latin-1")
            elif name == b"accept-encoding":
                accept = value.decode("latin-1")
            elif name == b"inference-header-content-length":
                header_length = value
    return encoding, accept, header_length


async def infer(
    world: World, name: str, version: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> Reply:
    """Answer an inference request; `headers` are the client's, with their spelling."""
    encoding, accept, length = _head(headers)
    try:
        model = world.model(name, version)
        if model.config.decoupled:
            raise unsupported("HTTP end point doesn't support models with decoupled transaction policy")
        world.trace.sample(name)
        if encoding != "identity":
            if encoding not in compression.CODINGS:
                return untyped_error(unsupported("Unsupported compression type"), _ACCEPTED)
            body = await _aside(len(body), _decompressed, world, body)
        header_length = len(body) if length is None else _header_length(length, len(body))
    except TritonError as error:
        return untyped_error(error)
    with world.system_shared_memory.lease() as regions:
        responses = Responses()
        try:
            if header_length > LARGE:
                request = await aside(parse_infer, body, header_length, name, regions)
            else:
                request = parse_infer(body, header_length, name, regions)
            request.model_version = version
            world.forward_headers(headers, request)
            call = world.submit(model, request, responses.deliver)
        except TritonError as error:
            return typed_error(error)
        response, final = await responses.next()
        while not final:
            later, final = await responses.next()
            response = response or later
        try:
            if is_large(response):
                reply = await aside(_answer, world, model, call, response)
            else:
                reply = _answer(world, model, call, response)
        except TritonError as error:
            return untyped_error(error)
        finally:
            world.finish(call, model)
    if accept and (coding := compression.choose(accept)):
        return await _aside(len(reply.body), _compressed, reply, coding)
    return reply


async def _aside(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Do what takes long for a large body in a thread: the event loop has other clients."""
    return await aside(work, *arguments) if size > LARGE else work(*arguments)


def _compressed(reply: Reply, coding: str) -> Reply:
    (_, content_type), *extra, _ = reply.headers
    body = compression.compress(reply.body, coding)
    return typed(reply.status, content_type, body, (*extra, (b"Content-Encoding", coding.encode())))


def _decompressed(world: World, body: bytes) -> bytes:
    try:
        return compression.decompress(body, world.settings.http_max_input_size)
    except compression.TooLarge:
        raise too_large(world) from None


def _header_length(text: bytes, content_length: int) -> int:
    """C's atoi: leading digits count, anything else is 0; 0 makes a raw binary request (2.51)."""
    digits = text.strip()
    sign = -1 if digits[:1] == b"-" else 1
    digits = digits.lstrip(b"+-") if digits[:1] in (b"+", b"-") else digits
    end = 0
    while end < len(digits) and digits[end : end + 1].isdigit():
        end += 1
    length = sign * int(digits[:end][:19] or b"0")
    length = (length + 2**31) % 2**32 - 2**31
    if not 0 <= length <= content_length:
        raise invalid_arg(
            f"inference header size should be in range (0, {content_length}), got: {text.decode('latin-1')}"
        )
    return length


def too_large(world: World) -> TritonError:
    limit = world.settings.http_max_input_size
    return invalid_arg(
        f"request size exceeds the maximum allowed input size of {limit} bytes. "
        "Use --http-max-input-size to increase the limit."
    )


def _answer(world: World, model: LoadedModel, call: Call, response: InferResponse | None) -> Reply:
    request = call.request
    if response is None:
        raise internal(f"model '{model.name}' sent no response")
    if response.error is not None:
        raise response.error
    if request.outputs:
        try:
            _check_classes(request, response)
            response.outputs = [requested(world, model, request, tensor) for tensor in response.outputs]
        except TritonError:
            call.failed = True
            raise
    header, blobs = render_infer(request, response)
    body = b"".join((header, *blobs)) if blobs else header
    extra: Headers = ((b"Inference-Header-Content-Length", b"%d" % len(header)),) if blobs else ()
    return typed(200, OCTET_TYPE if blobs else JSON_TYPE, body, extra)


def _check_classes(request: InferRequest, response: InferResponse) -> None:
    """2.51 crashes at the classes of an output without elements, over HTTP alone."""
    if not any(output.classification for output in request.outputs):
        return
    first = {output.name: output for output in reversed(request.outputs)}
    for tensor in response.outputs:
        if not tensor.count and tensor.name in first and first[tensor.name].classification:
            raise invalid_arg(f"class result not available for output '{tensor.name}', which has no elements")
