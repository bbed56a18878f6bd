"""An inference request and its responses, as every frontend and every backend sees them."""

from dataclasses import dataclass, field

from triton_emulator.protocol.datatypes import Buffer
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.tensor import Tensor

Parameter = str | int | bool | float


@dataclass(slots=True)
class SharedMemoryRef:
    """Where in a registered shared memory region a tensor lies (bytes)."""

    region: str
    offset: int
    byte_size: int


@dataclass(slots=True)
class RequestedOutput:
    """One entry of a request's `outputs`."""

    name: str
    binary: bool = False
    classification: int = 0
    shared_memory: SharedMemoryRef | None = None


@dataclass(slots=True)
class InferRequest:
    """A parsed request. `inputs` and `outputs` are in the order of the document; `outputs` empty asks for all.

    `model_version` is "" where the request names none. `timeout` is in microseconds. `sequence_id` is 0 or "" where
    there is none. `parameters` are the pairs that the client set itself, never the reserved keys; a name may come
    several times, in JSON and in forwarded headers. `raw_input` is the whole body of a raw binary request, whose only
    input the model's configuration names. `binary_output` is how an output is sent that `outputs` does not list.
    `controls` are the inputs that a scheduler adds for the model.
    """

    model_name: str
    model_version: str = ""
    id: str = ""
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    parameters: list[tuple[str, Parameter]] = field(default_factory=list)
    sequence_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False
    priority: int = 0
    timeout: int = 0
    raw_input: Buffer | None = None
    binary_output: bool = False
    controls: list[Tensor] = field(default_factory=list)

    @property
    def log_id(self) -> str:
        """The prefix that Triton puts before the messages that name a request."""
        return f"[request id: {self.id or '<id_unknown>'}] "


@dataclass(slots=True)
class InferResponse:
    """One response of a model. `outputs` are in the order in which the backend made them.

    `parameters` are pairs: 2.51's ensembles send the same names several times.
    """

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[Tensor] = field(default_factory=list)
    parameters: list[tuple[str, Parameter]] = field(default_factory=list)
    error: TritonError | None = None


@dataclass(slots=True)
class SharedResponse(InferResponse):
    """A response that many requests get, so nobody may change it.

    Frontends keep what they have made of it: `event` over HTTP, `message` over gRPC. A copy with other values
    (`dataclasses.replace`) begins without them.
    """

    event: bytes = field(default=b"", init=False)
    message: bytes = field(default=b"", init=False)
