"""`POST /v2/models/<m>/infer`: reads the request and sends one answer.

2.51 sets the content type after it has read the headers, and drops it after the model has run. So an error before the
body is parsed, or after the model has run, is text/plain; an error in between is application/json.
"""

from triton_emulator.cxx.numbers import INT32_MAX, INT32_MIN, atoi, stoi
from triton_emulator.frontends.http.access import forward
from triton_emulator.frontends.http.errors import too_large, typed_error, untyped_error
from triton_emulator.frontends.http.faults import truncated
from triton_emulator.frontends.http.leaving import while_connected
from triton_emulator.frontends.http.request import Request
from triton_emulator.frontends.threads import LARGE, is_heavy, is_large, run_by_size, run_in_thread
from triton_emulator.inference import HTTP_INFER, Exchange
from triton_emulator.protocol import compression
from triton_emulator.protocol.errors import TritonError, invalid_arg, unsupported
from triton_emulator.protocol.infer_request import check_raw_size, parse_infer
from triton_emulator.protocol.infer_response import render_infer
from triton_emulator.protocol.json_access import check_size
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.personality import Personality
from triton_emulator.session.state import SessionState
from triton_emulator.wire.reply import JSON_TYPE, OCTET_TYPE, Headers, Reply, typed

_LENGTH_HEADER = "Inference-Header-Content-Length"
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
    entry = request.entry
    with Exchange(HTTP_INFER, request.session, captures.name, captures.version, entry) as exchange:
        await request.reply(await _answer(exchange, request))


async def _answer(exchange: Exchange, asked: Request) -> Reply:
    encoding, accept, json_length = _head(asked.headers)
    body, rules = asked.body, asked.session.personality
    try:
        exchange.find()
        if encoding != "identity":
            if encoding not in compression.CODINGS:
                return untyped_error(unsupported("Unsupported compression type"), rules, _ACCEPTED)
            body = await run_by_size(len(body), _decompressed, body, asked.session)
        header_length = size = asked.dropped or len(body)
        if json_length is not None:
            header_length = _header_length(json_length, size, rules)
    except TritonError as error:
        return untyped_error(error, rules)
    try:
        name, lease = exchange.name, exchange.lease()
        if asked.dropped:
            _refuse_size(header_length, size, rules)
        if header_length > LARGE:
            request = await run_in_thread(parse_infer, body, header_length, name, lease, rules)
        else:
            request = parse_infer(body, header_length, name, lease, rules)
        request.model_version = exchange.version
        forward(asked.session, asked.headers, request)
        prepared = None
        if (len(body) > LARGE or lease.input_bytes > LARGE) and is_heavy(request):
            prepared = await run_in_thread(exchange.prepare, request)
        exchange.submit(request, prepared=prepared)
    except TritonError as error:
        return typed_error(error, rules)
    try:
        response = await while_connected(exchange, asked, exchange.answer())
        if is_large(response):
            reply = await run_in_thread(_render, exchange, request, response)
        else:
            reply = _render(exchange, request, response)
    except TritonError as error:
        return untyped_error(error, rules)
    if accept and (coding := compression.choose(accept)):
        return await run_by_size(len(reply.body), _compressed, reply, coding)
    return reply


def _refuse_size(header_length: int, size: int, rules: Personality) -> None:
    """Raise INVALID_ARG for a body that was too large to be kept."""
    if header_length:
        check_size(header_length, rules)
    else:
        check_raw_size(size, rules)


def _compressed(reply: Reply, coding: str) -> Reply:
    (_, content_type), *extra, _ = reply.headers
    body = compression.compress(reply.body, coding)
    return typed(reply.status, content_type, body, (*extra, (b"Content-Encoding", coding.encode())))


def _decompressed(body: bytes, session: SessionState) -> bytes:
    if not body:
        raise invalid_arg("nothing to be decompressed")
    limit = session.http_inflated_limit
    try:
        return compression.decompress(body, limit)
    except compression.TooLarge:
        if not session.personality.limits_decompressed:
            raise too_large(limit) from None
        raise invalid_arg(
            f"Decompressed data size exceeds the maximum allowed value of {limit} bytes. "
            "Use --http-max-input-size to increase the limit."
        ) from None


def _header_length(value: bytes, content_length: int, rules: Personality) -> int:
    """The number of bytes of JSON; 0 makes a raw binary request. Raises INVALID_ARG.

    Until 2.69 it is read with atoi, for which no number is a 0.
    """
    text = value.decode("latin-1")
    if rules.numeric_header_length:
        try:
            length = stoi(text)
        except ValueError:
            raise invalid_arg(f"Unable to parse {_LENGTH_HEADER}, got: {text}") from None
        except OverflowError:
            raise invalid_arg(
                f"Unable to parse {_LENGTH_HEADER}, value is out of range [ {INT32_MIN}, {INT32_MAX} ], got: {text}"
            ) from None
    else:
        length = atoi(text)
    if not 0 <= length <= content_length:
        raise invalid_arg(f"inference header size should be in range (0, {content_length}), got: {text}")
    return length


def _render(exchange: Exchange, request: InferRequest, response: InferResponse) -> Reply:
    if request.outputs:
        _check_classes(request, response)
        exchange.requested_outputs(request, response)
    header, blobs = render_infer(request, response, exchange.session.personality)
    body = b"".join((header, *blobs)) if blobs else header
    extra: Headers = ((b"Inference-Header-Content-Length", b"%d" % len(header)),) if blobs else ()
    reply = typed(200, OCTET_TYPE if blobs else JSON_TYPE, body, extra)
    record = exchange.record
    return reply if record is None or record.script is None else truncated(record.script, reply)


def _check_classes(request: InferRequest, response: InferResponse) -> None:
    """Refuse the classification of an output without elements: 2.51 crashes there, only over HTTP."""
    if not any(output.classification for output in request.outputs):
        return
    first = {output.name: output for output in reversed(request.outputs)}
    for tensor in response.outputs:
        if not tensor.count and tensor.name in first and first[tensor.name].classification:
            raise invalid_arg(f"class result not available for output '{tensor.name}', which has no elements")
