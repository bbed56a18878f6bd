"""What a model may ask its server for: to run other models, to load them and to unload them."""

from collections.abc import Callable, Mapping
from typing import Protocol

from triton_emulator.protocol.messages import InferRequest, InferResponse

#: Called, on any thread, with each response and whether it is the last. A final flag alone comes with None.
Receive = Callable[[InferResponse | None, bool], None]

#: Called, on any thread, to cancel a request.
Cancel = Callable[[], object]


class Server(Protocol):
    """The server as a model sees it. Every method may be called on any thread but the event loop's."""

    def is_ready(self, name: str, version: str) -> bool:
        """Whether a model is ready; `version` is "" for any. Raises TritonError for a version that is no number."""

    def is_decoupled(self, name: str, version: str) -> bool:
        """Whether a ready model uses the decoupled transaction policy."""

    def infer(self, request: InferRequest, receive: Receive) -> Cancel:
        """Submit a request; `receive` gets the responses. Raises TritonError if the request is refused.

        What is returned tells the request's model that nobody wants its answer any more.
        """

    def load(self, name: str, parameters: Mapping[str, str | bytes]) -> None:
        """Load a model as the repository API does: "config" (JSON text) and "file:<path>" parameters."""

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        """Unload a model as the repository API does."""
