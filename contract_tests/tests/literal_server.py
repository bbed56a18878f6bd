"""A server of literal bytes: for each request header that it reads it writes the next of the given answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from triton_contract.clients.http import Address

CLOSE = b"<close>"
"""Instead of an answer, or at its end: close the connection."""
RESET = b"<reset>"
"""Instead of an answer: reset the connection."""
SILENCE = b"<silence>"
"""Instead of an answer: nothing."""


@contextmanager
def literal_server(*answers: bytes) -> Iterator[Address]:
    """Answers each request of a connection with the next of `answers`. After the last one it reads on and does not
    answer. Every further connection starts with the first answer again."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()
    threads: list[threading.Thread] = []

    def serve() -> None:
        while not stopped.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=_converse, args=(sock, answers))
            thread.start()
            threads.append(thread)

    acceptor = threading.Thread(target=serve)
    acceptor.start()
    try:
        yield Address("127.0.0.1", listener.getsockname()[1])
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def _converse(sock: socket.socket, answers: Sequence[bytes]) -> None:
    with sock:
        for answer in answers:
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(65536)
                if not data:
                    return
                head += data
            if answer.endswith(CLOSE):
                sock.sendall(answer.removesuffix(CLOSE))
                return
            if answer == RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                return
            if answer != SILENCE:
                sock.sendall(answer)
        while sock.recv(65536):
            pass
