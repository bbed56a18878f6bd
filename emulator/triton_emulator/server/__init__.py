"""A running server: its sockets, its event loop, the sessions that it serves; and a check of what it would serve."""

from triton_emulator.repository.repository import ModelFailure
from triton_emulator.server.check import CheckedModel, CheckedTensor, CheckReport, check
from triton_emulator.server.loop import new_loop, run_process
from triton_emulator.server.server import (
    FINALIZE_SECONDS,
    Address,
    Server,
    StartupError,
    State,
    described,
    has_grpc,
    host_and_port,
    no_grpc,
)
from triton_emulator.server.sockets import PortInUse

__all__ = [
    "FINALIZE_SECONDS",
    "Address",
    "CheckReport",
    "CheckedModel",
    "CheckedTensor",
    "ModelFailure",
    "PortInUse",
    "Server",
    "StartupError",
    "State",
    "check",
    "described",
    "has_grpc",
    "host_and_port",
    "new_loop",
    "no_grpc",
    "run_process",
]
