"""The gRPC listener: grpc.aio on the event loop that is already running."""

from collections.abc import Mapping

import grpc

from triton_emulator.frontends.grpc.service import Service
from triton_emulator.settings import Settings
from triton_emulator.world import World

_INT32_MAX = (1 << 31) - 1


class GrpcServer:
    """Serves the worlds on an address until it is closed. Raises OSError where the address is not to be had."""

    def __init__(self, world: World, sessions: Mapping[str, World], address: str, port: int) -> None:
        settings = world.settings
        self._server = grpc.aio.server(
            handlers=(Service(world, sessions),),
            options=_options(settings),
        )
        host = f"[{address}]" if ":" in address else address
        try:
            self.port: int = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as fault:
            raise OSError(str(fault)) from None

    async def start(self) -> None:
        """Listen from now on."""
        await self._server.start()

    async def close(self, grace: float) -> None:
        """Accept nothing new, let the calls in flight finish for up to `grace` seconds, then cut the rest."""
        await self._server.stop(grace)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_send_message_length", _INT32_MAX),
        ("grpc.max_receive_message_length", _INT32_MAX),
        ("grpc.so_reuseport", int(settings.reuse_grpc_port)),
    ]
