"""A real emulator process for the tests of hostile input, and readings of its memory, descriptors and threads."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LISTENS = re.compile(r'"Started HTTPService at 127\.0\.0\.1:(\d+)"')


@dataclass
class Process:
    """A running emulator."""

    pid: int
    port: int

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    @property
    def threads(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())

    @property
    def resident_bytes(self) -> int:
        """The memory in use now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, *pieces: bytes) -> bytes:
        """Send `pieces` one after another; return what the server sends until it closes."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return read_to_end(connection)

    def get(self, path: str) -> tuple[int, bytes]:
        return parse(self.send(f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode()))

    def post(self, path: str, body: Any, *headers: str) -> tuple[int, bytes]:
        """POST a body; return status and body of the answer. A `body` that is not bytes is sent as JSON."""
        return parse(self.send(request(path, body, "Connection: close", *headers)))


def request(path: str, body: Any, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the connection is closed or reset."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def parse(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@contextlib.contextmanager
def running(*flags: str) -> Iterator[Process]:
    """An emulator on a free port. Its log is read until it names its address, and discarded after that."""
    words = [sys.executable, "-m", "triton_emulator.cli", "--http-port=0"]
    words += ["--allow-grpc=false", "--allow-metrics=false", *flags]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line.decode())
            if (found := _LISTENS.search(log[-1])) is not None:
                break
        else:
            raise AssertionError("".join(log))
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        try:
            yield Process(process.pid, int(found[1]))
        finally:
            process.kill()
            reader.join()
