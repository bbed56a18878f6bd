"""A running server: its sockets, its event loop, and the sessions that it serves."""

from triton_emulator.server.loop import new_loop
from triton_emulator.server.server import Address, Server, StartupError, described, host_and_port
from triton_emulator.server.sockets import PortInUse

__all__ = ["Address", "PortInUse", "Server", "StartupError", "described", "host_and_port", "new_loop"]
