"""What a person needs to see of a case that differs: requests, both answers, and a command to repeat it. Pure.

Everything here is text, without secrets, and short enough for a report.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from triton_contract.cases.case import Case, Step
from triton_contract.cases.encoding import HEADER_LENGTH, body_bytes, infer_bytes, request_bytes
from triton_contract.cases.rpc import Rpc
from triton_contract.clients.exchange import Exchange
from triton_contract.playing.observation import Observation

from .redaction import redact

DEFAULT_ADDRESS = "http://localhost:8000"
"""Where a command expects a server that ran on a port of its own."""
TEXT_LIMIT = 4000
"""The most characters of a request, or of an answer, that are shown."""
STEPS_LIMIT = 20
COMMAND_LIMIT = 8000
"""The most bytes of a body that goes into a command."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One step of a case: what was sent, what the reference and the target answered, and a command that sends it."""

    request: str
    expected: str
    actual: str
    command: str = ""


def evidence_of(
    case: Case, expected: Observation, actual: Observation, address: str = DEFAULT_ADDRESS
) -> tuple[Evidence, ...]:
    """The evidence of each step with an answer. `address` is that of the server in the commands."""
    found = []
    for step, ours, theirs in zip_longest(case.answered[:STEPS_LIMIT], expected.exchanges, actual.exchanges):
        if step is None:
            break
        sent = _sent(case, step)
        request, expected_text, actual_text = (
            _short(each) for each in (request_of(sent), _answer(ours), _answer(theirs))
        )
        found.append(Evidence(request, expected_text, actual_text, redact(curl_of(sent, address))))
    return tuple(found)


def _sent(case: Case, step: Step) -> Step:
    """The step that sent the request to which this step reads the answer."""
    if step.answer_of is None:
        return step
    return next((other for other in case.steps if other.in_background == step.answer_of), step)


def request_of(step: Step) -> str:
    """What a step sends, as text."""
    if isinstance(step, Rpc):
        return "\n".join(
            [f"gRPC {step.full_method}", *(f"{n}: {v}" for n, v in step.metadata), *_messages(step)]
        )
    if step.read_shared_memory is not None:
        return f"read the shared memory {step.read_shared_memory}"
    if step.path is None and not step.is_raw:
        return f"wait for {step.pending or step.arrived}"
    return _text(request_bytes(step))


def _messages(step: Rpc) -> Iterator[str]:
    if step.hex is not None:
        yield f"hex {step.hex}"
    for message in step.requests if step.requests is not None else filter(None, [step.message]):
        yield json.dumps(message, ensure_ascii=False, default=str)


def curl_of(step: Step, address: str) -> str:
    """A command line that sends the step's request to a server at `address`; "" where curl cannot send it.

    curl cannot send literal bytes or gRPC, and a long body does not fit on a line.
    """
    if isinstance(step, Rpc) or step.path is None or step.port != "http":
        return ""
    body = body_bytes(step)
    if len(body) > COMMAND_LIMIT:
        return ""
    words = ["curl", "-sS", "-i", "--path-as-is", "--globoff", "-X", step.verb]
    if step.http_version == "1.0":
        words.append("--http1.0")
    headers = [f"{name}: {value}" if value else f"{name};" for name, value in step.headers]
    given = {name.lower() for name, _ in step.headers}
    if step.infer is not None and HEADER_LENGTH.lower() not in given:
        length = infer_bytes(step.infer)[1]
        headers += [f"{HEADER_LENGTH}: {length}"] if length is not None else []
    if step.chunked:
        headers.append("Transfer-Encoding: chunked")
    if body and "content-type" not in given:
        headers.append("Content-Type:")  # else curl adds one
    for header in headers:
        words += ["-H", header]
    before = ""
    if body and (text := _plain(body)) is not None:
        words += ["--data-raw", text]
    elif body:
        before = f"printf %s {base64.b64encode(body).decode()} | base64 -d | "
        words += ["--data-binary", "@-"]
    words.append(f"{address}{step.path}")
    return before + shlex.join(words)


def _plain(body: bytes) -> str | None:
    """The body as a text that a shell's quotes keep as it is; None where it is not one."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\t" for char in text) else None


def _answer(exchange: Exchange | None) -> str:
    if exchange is None:
        return "no answer"
    response = exchange.response
    if response is None:
        return f"no answer: {exchange.ending}\n{_text(exchange.extra)}".rstrip()
    head = [f"{response.version} {response.status} {response.reason}".rstrip()]
    head += [f"{code} before it" for code in exchange.interim]
    head += [f"{name}: {value}" for name, value in response.headers]
    end = [] if exchange.ending == "open" else [f"[then the connection is {exchange.ending}]"]
    end += [] if response.complete else ["[the body is not complete]"]
    return "\n".join([*head, "", _text(response.body), *end])


def _text(data: bytes) -> str:
    """Bytes as text, on one line for each line feed, with escapes for what is not printable."""
    text = data[: TEXT_LIMIT * 2].decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def _short(text: str) -> str:
    text = redact(text)
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}\n... ({len(text)} characters in all)"
