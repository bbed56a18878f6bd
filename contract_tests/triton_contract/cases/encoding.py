"""The bytes of an HTTP request, from the fields of a step. No I/O."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from .case import Infer, Part, Step, Tensor

HOST = "triton"
HEADER_LENGTH = "Inference-Header-Content-Length"
_PACK = {
    "bool_": "?",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "fp16": "e",
    "fp32": "f",
    "fp64": "d",
}


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8, keys in the order written, NaN and Infinity spelt as Triton spells them."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def tensor_bytes(tensor: Tensor) -> bytes:
    """The bytes of a binary tensor."""
    if tensor.hex is not None:
        return bytes.fromhex(tensor.hex)
    if tensor.base64 is not None:
        return base64.b64decode(tensor.base64)
    if tensor.string is not None:
        encoded = [text.encode() for text in tensor.string]
        return b"".join(struct.pack("<I", len(each)) + each for each in encoded)
    name = next(iter(tensor.model_fields_set))
    values = getattr(tensor, name)
    return struct.pack(f"<{len(values)}{_PACK[name]}", *values)


def infer_bytes(infer: Infer) -> tuple[bytes, str | None]:
    """The body, and the value of Inference-Header-Content-Length (None: the header is not sent)."""
    header = infer.header.encode() if isinstance(infer.header, str) else dump(infer.header)
    body = header + b"".join(tensor_bytes(tensor) for tensor in infer.binary)
    if infer.header_length is None:
        return body, None
    return body, str(len(header) if infer.header_length == "auto" else infer.header_length)


def part_bytes(part: Part) -> bytes:
    """One piece of a joined body."""
    if part.hex is not None:
        data = bytes.fromhex(part.hex)
    elif part.base64 is not None:
        data = base64.b64decode(part.base64)
    elif part.text is not None:
        data = part.text.encode()
    else:
        data = dump(part.json_)
    return data * part.repeat


def body_bytes(step: Step) -> bytes:
    """The body before it is cut into chunks, compressed when the step asks for that."""
    kind = step.body_kind
    match kind:
        case None:
            body = b""
        case "json":
            body = dump(step.json_)
        case "text":
            body = (step.text or "").encode()
        case "base64":
            body = base64.b64decode(step.base64 or "")
        case "hex":
            body = bytes.fromhex(step.hex or "")
        case "infer" if step.infer is not None:
            body = infer_bytes(step.infer)[0]
        case _:
            body = b"".join(part_bytes(part) for part in step.join or ())
    if step.compress == "gzip":
        return gzip.compress(body, mtime=0)
    if step.compress == "deflate":
        return zlib.compress(body)
    return body


def request_pieces(step: Step, base_path: str = "") -> list[bytes]:
    """What is sent for this step, cut where it is to arrive in pieces."""
    data = request_bytes(step, base_path)
    if not step.apart:
        return [data]
    head, blank, body = data.partition(b"\r\n\r\n")
    return [head + blank, body]


def request_bytes(step: Step, base_path: str = "") -> bytes:
    """All bytes that are sent for this step.

    Host, Inference-Header-Content-Length and Content-Length are added unless the step has them or turns them off.
    """
    if step.raw is not None:
        return step.raw.encode()
    if step.raw_hex is not None:
        return bytes.fromhex(step.raw_hex)
    body = body_bytes(step)
    given = {name.lower() for name, _ in step.headers}
    headers = list(step.headers)
    if step.host and "host" not in given:
        headers.insert(0, ("Host", HOST))
    if step.infer is not None and HEADER_LENGTH.lower() not in given:
        length = infer_bytes(step.infer)[1]
        if length is not None:
            headers.append((HEADER_LENGTH, length))
    if step.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
        body = _chunked(body, step.chunked if isinstance(step.chunked, tuple) else ())
    elif step.content_length and "content-length" not in given and (body or step.verb == "POST"):
        headers.append(("Content-Length", str(len(body))))
    lines = (
        f"{step.verb} {base_path}{step.path} HTTP/{step.http_version}",
        *(f"{n}: {v}" for n, v in headers),
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def _chunked(body: bytes, sizes: Iterable[int]) -> bytes:
    """The body in chunks of these sizes; what is left goes into one more chunk."""
    chunks, at = [], 0
    for size in (*sizes, len(body)):
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            chunks.append(b"%x\r\n%s\r\n" % (len(piece), piece))
    return b"".join(chunks) + b"0\r\n\r\n"
