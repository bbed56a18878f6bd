"""`POST /v2/models/<m>/infer`: reads the request and sends one answer.

2.51 sets the content type after it has read the headers, and drops it after the model has run. So an error before the
body is parsed, or after the model has run, is text/plain; an error in between is application/json.
"""

from triton_emulator.cxx.numbers import atoi
from triton_emulator.frontends.http.access import forward
from triton_emulator.frontends.http.errors import too_large, typed_error, untyped_error
from triton_emulator.frontends.http.request import Request
from triton_emulator.frontends.threads import LARGE, is_large, run_by_size, run_in_thread
from triton_emulator.inference import HTTP_INFER, Exchange
from triton_emulator.protocol import compression
from triton_emulator.protocol.errors import TritonError, invalid_arg, unsupported
from triton_emulator.protocol.infer_request import parse_infer
from triton_emulator.protocol.infer_response import render_infer
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.wire.reply import JSON_TYPE, OCTET_TYPE, Headers, Reply, typed

_ACCEPTED: Headers = ((b"Accept-Encoding", b"gzip, deflate"),)


#: the lengths of those headers' names: comparing the length first avoids a lower() for other headers
_LENGTHS = frozenset({15, 16, 31})


def _head(headers: list[tuple[bytes, bytes]]) -> tuple[str, str, bytes | None]:
    """Read the headers: the body's coding, the codings that the client accepts, the length of the JSON."""
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


async def infer(request: Request) -> None:
    """Answer an inference request."""
    captures = request.captures
    with Exchange(HTTP_INFER, request.session, captures.name, captures.version) as exchange:
        await request.reply(await _answer(exchange, request))


async def _answer(exchange: Exchange, asked: Request) -> Reply:
    encoding, accept, json_length = _head(asked.headers)
    body = asked.body
    try:
        exchange.find()
        if encoding != "identity":
            if encoding not in compression.CODINGS:
                return untyped_error(unsupported("Unsupported compression type"), _ACCEPTED)
            body = await run_by_size(
                len(body), _decompressed, body, asked.session.settings.http_max_input_size
            )
        header_length = len(body) if json_length is None else _header_length(json_length, len(body))
    except TritonError as error:
        return untyped_error(error)
    try:
        name, lease = exchange.name, exchange.lease()
        if header_length > LARGE:
            request = await run_in_thread(parse_infer, body, header_length, name, lease)
        else:
            request = parse_infer(body, header_length, name, lease)
        request.model_version = exchange.version
        forward(asked.session, asked.headers, request)
        exchange.submit(request)
    except TritonError as error:
        return typed_error(error)
    try:
        response = await exchange.answer()
        if is_large(response):
            reply = await run_in_thread(_render, exchange, request, response)
        else:
            reply = _render(exchange, request, response)
    except TritonError as error:
        return untyped_error(error)
    if accept and (coding := compression.choose(accept)):
        return await run_by_size(len(reply.body), _compressed, reply, coding)
    return reply


def _compressed(reply: Reply, coding: str) -> Reply:
    (_, content_type), *extra, _ = reply.headers
    body = compression.compress(reply.body, coding)
    return typed(reply.status, content_type, body, (*extra, (b"Content-Encoding", coding.encode())))


def _decompressed(body: bytes, limit: int) -> bytes:
    try:
        return compression.decompress(body, limit)
    except compression.TooLarge:
        raise too_large(limit) from None


def _header_length(value: bytes, content_length: int) -> int:
    """2.51 reads the number with atoi. A 0, which also stands for no number, makes a raw binary request."""
    text = value.decode("latin-1")
    length = atoi(text)
    if not 0 <= length <= content_length:
        raise invalid_arg(f"inference header size should be in range (0, {content_length}), got: {text}")
    return length


def _render(exchange: Exchange, request: InferRequest, response: InferResponse) -> Reply:
    if request.outputs:
        try:
            _check_classes(request, response)
            exchange.requested_outputs(request, response)
        except TritonError:
            exchange.fail()
            raise
    header, blobs = render_infer(request, response)
    body = b"".join((header, *blobs)) if blobs else header
    extra: Headers = ((b"Inference-Header-Content-Length", b"%d" % len(header)),) if blobs else ()
    return typed(200, OCTET_TYPE if blobs else JSON_TYPE, body, extra)


def _check_classes(request: InferRequest, response: InferResponse) -> None:
    """Refuse the classification of an output without elements: 2.51 crashes there, only over HTTP."""
    if not any(output.classification for output in request.outputs):
        return
    first = {output.name: output for output in reversed(request.outputs)}
    for tensor in response.outputs:
        if not tensor.count and tensor.name in first and first[tensor.name].classification:
            raise invalid_arg(f"class result not available for output '{tensor.name}', which has no elements")
