"""The control API: sessions, plans, stubs and the journal over HTTP with JSON, for tests in any language.

It is a client of the harness and of the server's sessions, and no part of the data plane: it listens on a port of its
own. FastAPI is imported only where it is turned on (`control_port`).

    listener    the port, and who may ask
    app         the routes
    shapes      the bodies of requests and answers
    rendering   entries of the journal, plans, stubs and models as JSON
    sending     requests to a session's own HTTP port
    page        the console: one page, whose files are in `console/`
"""

from importlib.util import find_spec

from triton_emulator.server import Server
from triton_emulator.settings import Settings


class Unavailable(RuntimeError):
    """The control API is asked for, and a package that it needs is not installed."""


def require(settings: Settings) -> None:
    """Raise Unavailable where the control API is on and cannot be served."""
    if settings.control_port is not None and find_spec("fastapi") is None:
        raise Unavailable("the control API needs FastAPI: pip install 'triton-emulator[control]'")


async def serve(server: Server) -> None:
    """Serve the control API of a server that serves, where it is on."""
    if server.control_socket is not None:
        from triton_emulator.control.listener import ControlListener

        listener = ControlListener(server, server.control_socket)
        await server.attach(listener, server.control_socket.getsockname()[:2])
