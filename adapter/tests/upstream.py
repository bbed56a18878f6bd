"""An upstream that answers with literal bytes, as a Triton, a gateway or a broken network may send them."""

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]

TEXT = {"name": "text_input", "datatype": "BYTES", "shape": [1]}
LIMIT = {"name": "max_tokens", "datatype": "INT32", "shape": [1]}
ANSWER = {"name": "text_output", "datatype": "BYTES", "shape": [1]}


@dataclass
class Received:
    """One request as it was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """Segments, each sent in its own write, and what follows: close, reset, hang, trickle or keep the connection."""

    segments: Iterable[bytes] = ()
    then: str = "close"


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    """A whole HTTP reply."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def chunked(*parts: bytes, kind: str = "text/event-stream; charset=utf-8", end: bool = True) -> list[bytes]:
    """A chunked HTTP reply. The head and each part are segments. Without `end` the last chunk is missing."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    found = [head, *(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)]
    return [*found, b"0\r\n\r\n"] if end else found


def endless(part: bytes) -> Iterator[bytes]:
    """A chunked HTTP reply in which this part comes again and again, until the client leaves.

    Only such a reply fills every buffer on the way: how many bytes they hold is the kernel's choice.
    """
    head, chunk = chunked(part, end=False)
    yield head
    while True:
        yield chunk


def event(**values: Any) -> bytes:
    """One event of a generate_stream."""
    return b"data: " + json.dumps(values, ensure_ascii=False).encode() + b"\n\n"


class Upstream:
    """A server with the model `m`. Every request except those for metadata gets the next one of `answers`."""

    def __init__(self, *, decoupled: bool = True) -> None:
        self.answers: deque[Answer] = deque()
        self.received: list[Received] = []
        self.left = threading.Event()
        self.leavers = threading.Semaphore(0)
        self.hide_config = False
        # Makes an answer from the number of rows in an inference request.
        self.answer_rows: Callable[[int], bytes] | None = None
        self.on_post: Callable[[], None] = lambda: None
        # The answer when `metadata` is None.
        self.refusal = http(
            b'{"error":"Request for unknown model: \'m\' is not found"}', status="404 Not Found"
        )
        self.metadata: Json | None = {
            "name": "m",
            "versions": ["1"],
            "platform": "python",
            "inputs": [TEXT, LIMIT],
            "outputs": [ANSWER],
        }
        self.config: Json = {
            "name": "m",
            "max_batch_size": 0,
            "input": [{"name": "text_input"}, {"name": "max_tokens", "optional": True}],
            "model_transaction_policy": {"decoupled": decoupled},
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def posts(self) -> list[Received]:
        return [request for request in self.received if request.method == "POST"]

    def leave(self) -> None:
        """Record that a client has left."""
        self.left.set()
        self.leavers.release()

    def answer(self, *segments: bytes, then: str = "close") -> None:
        self.answers.append(Answer(list(segments), then))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one small server
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                upstream.received.append(Received(self.command, self.path, dict(self.headers), body))
                path = self.path.partition("?")[0]
                if self.command == "GET" and upstream.hide_config and path.endswith("/config"):
                    refusal = b'{"error":"This API is restricted, expecting header \'key\'"}'
                    self.wfile.write(http(refusal, status="403 Forbidden"))
                elif self.command == "GET" and upstream.metadata is not None and path.endswith("/config"):
                    self.wfile.write(http(json.dumps(upstream.config).encode()))
                elif self.command == "GET" and upstream.metadata is not None:
                    self.wfile.write(http(json.dumps(upstream.metadata).encode()))
                elif self.command == "GET":
                    self.wfile.write(upstream.refusal)
                elif upstream.answer_rows is not None:
                    rows = json.loads(body)["inputs"][0]["shape"][0]
                    self.send(Answer([upstream.answer_rows(rows)], "keep"))
                else:
                    upstream.on_post()
                    self.send(upstream.answers.popleft() if upstream.answers else Answer())

            do_GET = do_POST = handle_any  # noqa: N815 - the standard library's names

            def send(self, answer: Answer) -> None:
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    for segment in answer.segments:
                        self.wfile.write(segment)
                except OSError:  # the client left before the answer was complete
                    upstream.leave()
                    self.close_connection = True
                    return
                if answer.then == "hang":  # until the client leaves
                    with suppress(OSError):
                        self.connection.recv(1)
                    upstream.leave()
                if answer.then == "trickle":  # send one blank at a time until the client leaves
                    with suppress(OSError):
                        while not upstream.left.wait(0.02):
                            self.wfile.write(b" ")
                if answer.then == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                self.close_connection = answer.then != "keep"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def finish(self) -> None:
                with suppress(OSError):
                    super().finish()

        return Handler
