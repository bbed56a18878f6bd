"""What models ask of the server that they run in: to run other models (BLS, steps of ensembles), to load, to unload.

Their requests are no exchanges: no client waits for them. Each is counted after its last response.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.repository.repository import Repository


class ModelServer:
    """`backends.python.server.Server` and `backends.ensemble.run.Members` over a repository.

    Made on the event loop's thread. Every method raises TritonError. `is_ready`, `is_decoupled`, `infer`, `load` and
    `unload` are for Python models and may be called on any thread; `load` and `unload` not on the event loop's.
    """

    def __init__(
        self,
        repository: Repository[LoadedModel],
        loop: asyncio.AbstractEventLoop,
        finish: Callable[[Call, LoadedModel], None],
    ) -> None:
        """`finish` counts a request that has been answered; it is called on the event loop."""
        self._repository = repository
        self._loop = loop
        self._thread = threading.get_ident()
        self._finish = finish

    def is_ready(self, name: str, version: str) -> bool:
        return self._repository.is_ready(name, version)

    def is_decoupled(self, name: str, version: str) -> bool:
        return self._repository.get(name, version).config.decoupled

    def load(self, name: str, parameters: Mapping[str, str | bytes]) -> None:
        self._repository.load(name, parameters)

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        self._repository.unload(name, unload_dependents=unload_dependents)

    # --- inference ---

    def model(self, name: str, version: str, namespace: str) -> LoadedModel:
        """The loaded version that a step of an ensemble means."""
        return self._repository.get(name, version, namespace)

    def prepare_inner(self, model: LoadedModel, request: InferRequest, deliver: Deliver) -> Call:
        """A validated call that is counted after its last response; `deliver` is called on the event loop."""

        def count(response: InferResponse | None, final: bool) -> None:
            deliver(response, final)
            if final:
                self._finish(call, model)

        call = model.prepare(request, count)
        return call

    def infer(self, request: InferRequest, receive: Deliver) -> Callable[[], object]:
        """Send a Python model's request to another model; `receive` is called on the event loop.

        What is returned cancels the request, on any thread.
        """
        model = self._repository.get(request.model_name, request.model_version)
        call = self.prepare_inner(model, request, receive)
        if model.scheduler.any_thread or threading.get_ident() == self._thread:
            model.submit(call)
        else:
            self._submit_on_the_loop(model, call)
        return partial(self._loop.call_soon_threadsafe, call.cancel)

    def _submit_on_the_loop(self, model: LoadedModel, call: Call) -> None:
        """Submit on the event loop, and raise here what the call is refused for."""
        submitted: Future[None] = Future()

        def submit() -> None:
            try:
                model.submit(call)
            except Exception as fault:  # noqa: BLE001  (raised again by `result`)
                submitted.set_exception(fault)
            else:
                submitted.set_result(None)

        self._loop.call_soon_threadsafe(submit)
        submitted.result()
