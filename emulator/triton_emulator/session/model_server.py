"""What a Python model may ask of the server that it runs in: other models' answers (BLS), loading, unloading."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from triton_emulator.backends.python.server import Receive
from triton_emulator.protocol.messages import InferRequest

if TYPE_CHECKING:
    from triton_emulator.session.world import World


class ModelServer:
    """`backends.python.server.Server` over a world; every method may be called on any thread but the event loop's."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def is_ready(self, name: str, version: str) -> bool:
        return self._world.repository.is_ready(name, version)

    def is_decoupled(self, name: str, version: str) -> bool:
        return self._world.model(name, version).config.decoupled

    def infer(self, request: InferRequest, receive: Receive) -> None:
        self._world.infer(request.model_name, request.model_version, request, receive)

    def load(self, name: str, parameters: Mapping[str, str | bytes]) -> None:
        self._world.repository.load(name, parameters)

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        self._world.repository.unload(name, unload_dependents=unload_dependents)
