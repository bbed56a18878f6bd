"""A relay that ends at its Nth connection, with the server behind it: a test's way to lose a server in the middle."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from triton_contract.clients.http import Address


@contextmanager
def dying_relay(behind: Address, count: int, end: Callable[[], None]) -> Iterator[Address]:
    """Forwards connections to the server `behind`, up to number `count`.

    Then it accepts no more, calls `end`, which ends the server, and closes that connection.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve() -> None:
        with suppress(OSError):
            for number in itertools.count(1):
                client, _ = listener.accept()
                if number == count:
                    listener.close()
                    end()
                    client.close()
                    return
                server = socket.create_connection((behind.host, behind.port))
                threads.append(threading.Thread(target=_forward, args=(client, server)))
                threads[-1].start()

    acceptor = threading.Thread(target=serve)
    acceptor.start()
    try:
        yield Address("127.0.0.1", listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def _forward(client: socket.socket, server: socket.socket) -> None:
    with client, server:
        back = threading.Thread(target=_copy, args=(server, client))
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
