"""A gateway that terminates TLS and forwards the bytes to Triton, whose HTTP listener has no TLS."""

import asyncio
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

CERTIFICATES = Path(__file__).parent / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")
SERVER = str(CERTIFICATES / "server.pem")
# Certificates that are their own authority: for internal.example, and for localhost until 2020.
MISNAMED = str(CERTIFICATES / "misnamed.pem")
EXPIRED = str(CERTIFICATES / "expired.pem")
# A certificate and its key in one file, and the two in separate files.
CLIENT = str(CERTIFICATES / "client.pem")
CLIENT_ALONE = str(CERTIFICATES / "client_alone.pem")
CLIENT_KEY = str(CERTIFICATES / "client_key.pem")


class Relay:
    """Forwards connections to the server at an address. It runs in its own thread and on its own port."""

    scheme = "http"
    name = "127.0.0.1"

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        self._host, _, port = address.partition("://")[2].rpartition(":")
        self._port = int(port)
        self._tls = tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}:{self._own_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._tls)
        self._own_port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._left.wait()
        server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class TlsGateway(Relay):
    """A TLS relay. With `ask_client` it requires a client certificate that the authority has issued."""

    scheme = "https"
    name = "localhost"

    def __init__(self, address: str, *, ask_client: bool = False, certificate: str = SERVER) -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=AUTHORITY)
        tls.load_cert_chain(certificate)
        if ask_client:
            tls.verify_mode = ssl.CERT_REQUIRED
        super().__init__(address, tls)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
            await asyncio.gather(copy(reader, back), copy(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the stream ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
