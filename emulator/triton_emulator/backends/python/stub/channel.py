"""Messages between a server and a stub process: pickles over a Unix socket, large tensors in shared memory.

A message on the socket:

    8 bytes    the size of the pickle, the number of large buffers (uint32, in the machine's order)
    8 bytes    for each large buffer: its size
    the pickle

If there are large buffers, the descriptor of one unnamed file comes with the first byte. The buffers lie in it one
after the other, each at a multiple of 64 bytes. The receiver maps the file and copies nothing.
"""

import array
import io
import logging
import mmap
import os
import pickle
import socket
import struct
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

from triton_emulator.protocol.datatypes import Buffer
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import RemoteTensor, Tensor

_LOG = logging.getLogger(__name__)
_HEAD = struct.Struct("=II")
#: bytes from which on a tensor travels in shared memory: below, a copy through the socket costs less than a mapping
_LARGE = 1 << 16
_ALIGNMENT = 64
#: the pages are all read, so that a fault for each is only lost time
_MAPPING = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
#: the mapping needs no descriptor of its own; before Python 3.13 it has one for as long as it lives
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
#: bytes that are read at a time, and descriptors that may come with them
_PIECE = 1 << 16
_MOST_DESCRIPTORS = 16
#: `raw_input` is what an input was made of already, and may be large
_REQUEST = tuple(field.name for field in fields(InferRequest))


class Channel:
    """One end of the connection. `send` may be called on any thread, `receive` on one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent: deque[object] = deque()
        self._sending = threading.Lock()
        #: what has arrived and is not taken yet: bytes, and descriptors in the order of their messages
        self._arrived = bytearray()
        self._descriptors: deque[int] = deque()

    def send(self, message: object) -> None:
        """Send a message. Raises OSError if the other end is gone.

        It never waits for another sender: the one that is at work sends this message too. So it may be called by a
        `__del__` that the garbage collector runs in the middle of a send on the same thread.
        """
        self._unsent.append(message)
        while self._unsent and self._sending.acquire(blocking=False):
            try:
                while self._unsent:
                    self._write(self._unsent.popleft())
            finally:
                self._sending.release()

    def receive(self) -> Any:
        """The next message. Raises EOFError or OSError if there is none any more.

        So it does if a message cannot be read, which the log then says: what comes after it cannot be read either.
        """
        try:
            return self._receive()
        except (EOFError, OSError):
            raise
        except Exception as fault:
            _LOG.exception("cannot read a message between the server and the process of a model")
            raise EOFError from fault

    def _receive(self) -> Any:
        size, count = _HEAD.unpack(self._take(_HEAD.size))
        sizes = array.array("Q", self._take(8 * count))
        pickled = self._take(size)
        buffers = _mapped(self._descriptors.popleft(), sizes) if sizes else ()
        return pickle.loads(pickled, buffers=buffers)  # noqa: S301

    def end(self) -> None:
        """Let `receive`, on either side, end after what has arrived, although other processes may hold the sockets."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket. To be called on the thread that receives, after its last message."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _write(self, message: object) -> None:
        large: list[pickle.PickleBuffer] = []
        out = io.BytesIO()
        _Pickler(out, large).dump(message)
        pickled = out.getbuffer()
        sizes = array.array("Q", [buffer.raw().nbytes for buffer in large])
        data = b"".join((_HEAD.pack(len(pickled), len(sizes)), sizes, pickled))
        done = 0
        if large:
            descriptor = _shared(large)
            try:
                done = socket.send_fds(self._socket, [data], [descriptor])
            finally:
                os.close(descriptor)
        self._socket.sendall(memoryview(data)[done:])

    def _take(self, size: int) -> bytearray:
        """The next bytes."""
        while len(self._arrived) < size:
            data, descriptors, _, _ = socket.recv_fds(self._socket, max(_PIECE, size), _MOST_DESCRIPTORS)
            if not data:
                raise EOFError
            self._arrived += data
            self._descriptors += descriptors
        taken = self._arrived[:size]
        del self._arrived[:size]
        return taken


class _Pickler(pickle.Pickler):
    """Pickles tensors by their bytes, the large ones aside."""

    def __init__(self, file: io.BytesIO, large: list[pickle.PickleBuffer]) -> None:
        def keep(buffer: pickle.PickleBuffer) -> bool:
            """Whether the buffer is to be part of the pickle."""
            if buffer.raw().nbytes < _LARGE:
                return True
            large.append(buffer)
            return False

        super().__init__(file, protocol=5, buffer_callback=keep)
        self.dispatch_table = _REDUCED


def _reduced_tensor(tensor: Tensor) -> tuple[Any, ...]:
    return _tensor, (tensor.name, tensor.datatype, tensor.shape, pickle.PickleBuffer(tensor.data))


def _reduced_request(request: InferRequest) -> tuple[Any, ...]:
    return InferRequest, tuple(None if name == "raw_input" else getattr(request, name) for name in _REQUEST)


def _reduced_error(error: TritonError) -> tuple[Any, ...]:
    return TritonError, (error.code, error.message)


_REDUCED: dict[type, Callable[[Any], Any]] = {
    Tensor: _reduced_tensor,
    RemoteTensor: _reduced_tensor,
    InferRequest: _reduced_request,
    TritonError: _reduced_error,
}


def _tensor(name: str, datatype: str, shape: tuple[int, ...], data: Buffer) -> Tensor:
    return Tensor(name, datatype, shape, data=data)


def _places(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where each buffer begins in the file, and the file's size."""
    places, at = [], 0
    for size in sizes:
        places.append(at)
        at += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, at


def _shared(buffers: Sequence[pickle.PickleBuffer]) -> int:
    """The descriptor of a new unnamed file in memory that holds the buffers."""
    views = [buffer.raw() for buffer in buffers]
    places, size = _places([view.nbytes for view in views])
    descriptor = _unnamed_file()
    try:
        os.ftruncate(descriptor, size)
        for view, at in zip(views, places, strict=True):
            done = 0
            while done < view.nbytes:
                done += os.pwrite(descriptor, view[done:], at + done)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("triton_emulator")
    with tempfile.TemporaryFile() as file:  # a system without files in memory
        return os.dup(file.fileno())


def _mapped(descriptor: int, sizes: Sequence[int]) -> list[memoryview]:
    """The buffers in the file of that descriptor, which is closed. They keep the memory while they are used."""
    places, whole = _places(sizes)
    try:
        mapped = memoryview(mmap.mmap(descriptor, whole, flags=_MAPPING, prot=mmap.PROT_READ, **_UNTRACKED))
    finally:
        os.close(descriptor)
    return [mapped[at : at + size] for at, size in zip(places, sizes, strict=True)]
