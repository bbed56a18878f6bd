"""Triton's error answers over HTTP."""

from triton_emulator.protocol.errors import HTTP_STATUS, TritonError, invalid_arg
from triton_emulator.protocol.json_dialect import write_string
from triton_emulator.protocol.personality import Personality
from triton_emulator.wire.reply import JSON_TYPE, Headers, Reply, json_reply, typed, untyped


def body(error: TritonError) -> bytes:
    return b'{"error":%b}' % write_string(error.message)


def status(error: TritonError, rules: Personality) -> int:
    return HTTP_STATUS[error.code] if rules.status_by_code else 400


def typed_error(error: TritonError, rules: Personality, extra: Headers = ()) -> Reply:
    """An error with the content type application/json."""
    return typed(status(error, rules), JSON_TYPE, body(error), extra)


def untyped_error(error: TritonError, rules: Personality, extra: Headers = ()) -> Reply:
    """An error as JSON with the content type text/plain, which 2.51 sends on infer before it has set a type."""
    return untyped(status(error, rules), body(error), extra)


def too_large(limit: int) -> TritonError:
    """A body is larger than `limit` bytes."""
    return invalid_arg(
        f"request size exceeds the maximum allowed input size of {limit} bytes. "
        "Use --http-max-input-size to increase the limit."
    )


NOT_FOUND = untyped(404, b'{"error":"Not Found"}')
METHOD_NOT_ALLOWED = json_reply(b'{"error":"Method Not Allowed"}', 405)
METHOD_NOT_ALLOWED_UNTYPED = untyped(405, b'{"error":"Method Not Allowed"}')
