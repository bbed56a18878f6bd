"""The bodies of the control API's requests and answers.

A request's body says what is there; what it means is decided by `harness.given`, as for files and flags.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from triton_emulator.harness.harness import PROBLEMS
from triton_emulator.harness.operations import OPERATIONS
from triton_emulator.settings import TritonVersion

Operation = Annotated[str, Field(json_schema_extra={"enum": [*OPERATIONS]}, examples=["generate"])]
Protocol = Annotated[str, Field(json_schema_extra={"enum": ["http", "grpc"]})]
TensorForm = Literal["data", "base64", "none"]
#: seconds that a request may wait for others
LONGEST_WAIT = 300
#: the state of the whole emulator, in place of a session's id
ROOT = "root"


class Given(BaseModel):
    """A body: nothing is taken for another type, and no field is overlooked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self) -> dict[str, Any]:
        """The fields that the body has."""
        return self.model_dump(exclude_unset=True)


class Error(BaseModel):
    """Why a request is refused; `field` is the field of its body that means nothing."""

    error: str
    field: str | None = None


class NewSession(Given):
    """A session of the emulator's own models. What is left out is as for the emulator."""

    model_control_mode: Literal["none", "poll", "explicit"] | None = None
    load_models: list[str] | None = None
    strict_readiness: bool | None = None
    strict_routes: bool | None = None
    triton_version: TritonVersion | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    journal_requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    journal_bytes: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    faults: list[str] | None = None
    clock: float | Literal["real", "virtual"] | None = None


class Session(BaseModel):
    """Where a session is reached. `grpc_headers` are the metadata that a call to it needs."""

    id: str
    http_url: str | None
    grpc_url: str | None
    grpc_headers: dict[str, str]
    metrics_url: str | None
    models: int
    requests: int
    plans: int
    stubs: int


class NewPlan(Given):
    """A plan: the arguments of `inject` but `where`. `times` null is for ever."""

    fault: Annotated[str, Field(examples=['error(503, "overloaded")', "delay(1) + cut(after_events=3)"])]
    operation: Operation | None = None
    model: str | None = None
    version: str | int | None = None
    protocol: Protocol | None = None
    headers: dict[str, str | None] | None = None
    times: Annotated[int, Field(ge=1)] | None = 1
    after: Annotated[int, Field(ge=0)] = 0
    probability: Annotated[float, Field(gt=0, le=1)] | None = None


class Criteria(BaseModel):
    """Which requests a plan or a stub is for; secrets are redacted."""

    number: int
    operation: str | None
    model: str | None
    version: str | None
    protocol: str | None
    headers: dict[str, str | None]
    #: whether a file or a flag has given it
    standing: bool
    problems: list[str]


class Plan(Criteria):
    """A plan with what has become of it."""

    fault: str
    times: int | None
    after: int
    probability: float | None
    fired: int
    completed: int


class Reply(Given):
    """An answer: `outputs`, or a `text`, or the `tokens` of one."""

    outputs: dict[str, Any] | list[dict[str, Any]] | None = None
    text: str | None = None
    tokens: list[str] | None = None
    output: str | None = None
    parameters: dict[str, str | int | float | bool] | None = None


class NewStub(Given):
    """A stub: the arguments of `when` but `where`, and those of `respond`, or a list: what follows by `then`."""

    model: str
    operation: (
        Annotated[
            str, Field(json_schema_extra={"enum": [name for name, kind in OPERATIONS.items() if kind.infers]})
        ]
        | None
    ) = None
    version: str | int | None = None
    protocol: Protocol | None = None
    headers: dict[str, str | None] | None = None
    inputs: dict[str, Any] | None = None
    parameters: dict[str, str | int | float | bool] | None = None
    respond: Reply | list[Reply]


class Stub(Criteria):
    """A stub with what has become of it. `text` says what it is for."""

    text: str
    replies: int
    used: int


class Tensor(BaseModel):
    """A tensor; `data` are its elements in one dimension, `base64` its bytes as Triton sends them."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    base64: str | None = None
    undecodable: str | None = None


class Answer(BaseModel):
    """An answer, or one event of a stream."""

    outputs: list[Tensor]
    parameters: dict[str, Any]
    error: str | None


class Event(BaseModel):
    """A piece of an answer; in a stream, one event. `seconds` are since the request came."""

    seconds: float
    bytes: int


class Entry(BaseModel):
    """A request with its answer. `undecodable` says why there are no inputs or no answers."""

    number: int
    protocol: str
    operation: str
    target: str
    model: str
    version: str
    headers: dict[str, str]
    id: str | None
    parameters: dict[str, Any] | None
    inputs: list[Tensor] | None
    requested_outputs: list[str] | None
    undecodable: str | None
    status: int | str | None
    complete: bool
    error: str | None
    answers: list[Answer] | None
    events: list[Event]
    seconds: float
    queue_seconds: float | None
    compute_seconds: float | None
    fault: str | None
    plan: int | None
    stub: int | None
    exception: str | None
    upstream_error: str | None
    truncated: bool
    #: in base64, where they are asked for
    body: str | None = None
    answer: str | None = None


class Requests(BaseModel):
    """Requests in the order in which they came. `count` is how many fit, `dropped` how many have been forgotten."""

    count: int
    dropped: int
    requests: list[Entry]


class Wanted(BaseModel):
    """Which requests are listed, and how."""

    model_config = ConfigDict(extra="forbid")

    operation: Operation | None = None
    model: str | None = None
    version: str | None = None
    protocol: Protocol | None = None
    header: Annotated[
        list[str], Field(description="`name: value`, or `name` for any value; may be repeated")
    ] = []
    after: Annotated[int, Field(ge=0, le=2**53, description="those after the request of this number")] = 0
    limit: Annotated[int, Field(ge=1, le=10_000, description="the newest of those that fit")] = 100
    tensors: TensorForm = "data"
    bodies: Annotated[bool, Field(description="with the bytes of request and answer, in base64")] = False
    count: Annotated[int, Field(ge=0, le=2**53, description="wait until so many fit and are complete")] = 0
    timeout: Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="for so many seconds")] = 10


class Expectation(Given):
    """A request that is to have come: the arguments of `assert_requested` but `where`."""

    operation: Operation | None = None
    model: str | None = None
    version: str | int | None = None
    protocol: Protocol | None = None
    headers: dict[str, str | None] | None = None
    inputs: dict[str, Any] | None = None
    parameters: dict[str, str | int | float | bool] | None = None
    times: Annotated[int, Field(ge=0)] | None = None


class Verification(BaseModel):
    """Whether an expectation is met; `text` shows the nearest requests where it is not."""

    met: bool
    text: str


class Allowed(Given):
    """Problems that are not to be reported."""

    problems: list[Annotated[str, Field(json_schema_extra={"enum": [*PROBLEMS]})]]


class Problems(BaseModel):
    """What a test should be failed for when it ends."""

    problems: list[str]


class ModelTensor(BaseModel):
    """An input or an output in a model's metadata; -1 is a size that the request chooses."""

    name: str
    datatype: str
    shape: list[int]
    #: whether a request may leave it out
    optional: bool


class Model(BaseModel):
    """A version of a model, and how it is; one that was never loaded has neither version nor state.

    `inputs` and `outputs` are of one that answers requests.
    """

    name: str
    version: int | None
    state: str | None
    reason: str
    platform: str | None
    decoupled: bool
    inputs: list[ModelTensor] | None
    outputs: list[ModelTensor] | None


#: milliseconds, up to a day
Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]


class Taken(Given):
    """A lognormal distribution of milliseconds; a constant has a p99 that is its median."""

    median: Milliseconds
    p99: Milliseconds


class NewLatency(Given):
    """What a model's requests are to take, in milliseconds; null is what `emulator.yaml` says.

    `version` null is every version. A language model has the two of tokens, other models have `delay_ms`.
    """

    model: Annotated[str, Field(min_length=1)]
    version: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    delay_ms: Milliseconds | Taken | None = None
    time_to_first_token_ms: Milliseconds | Taken | None = None
    time_per_token_ms: Milliseconds | Taken | None = None


class ModelLatencies(BaseModel):
    """What the requests of a version of a model take. Null is what it does not have, or what is `measured` by load.

    `changed` are the names of those that are others than `emulator.yaml` says.
    """

    name: str
    version: int
    delay_ms: Taken | None = None
    time_to_first_token_ms: Taken | None = None
    time_per_token_ms: Taken | None = None
    measured: list[str]
    changed: list[str]


class NewRequest(Given):
    """A request that is sent to the session's own HTTP port. `body` is its text, as it is."""

    model: Annotated[str, Field(min_length=1)]
    version: str = ""
    operation: Literal["infer", "generate", "generate_stream"]
    body: str
    binary: Annotated[
        str,
        Field(
            description="in base64, the bytes of tensors that follow the text, as Triton's binary form has them"
        ),
    ] = ""
    timeout: Annotated[float, Field(gt=0, le=LONGEST_WAIT, description="seconds")] = 60


class Sent(BaseModel):
    """What came. `status` is null where nothing came; `error` is what went wrong on the connection.

    A body that is no UTF-8 is in `base64`.
    """

    status: int | None
    headers: dict[str, str]
    body: str | None
    base64: str | None
    error: str | None
    seconds: float


class Finding(BaseModel):
    """Something that a client did; `requests` are numbers of requests, `client` is its User-Agent."""

    rule: str
    level: str
    client: str
    requests: list[int]
    text: str


class Verdict(BaseModel):
    """What was found, which rules were turned off, and which could not be judged, with the reason."""

    findings: list[Finding]
    ignored: list[str]
    not_judged: dict[str, str]


class Advance(Given):
    """How far a virtual clock is to move."""

    seconds: Annotated[float, Field(ge=0, le=1e9)]


class ClockTime(BaseModel):
    """Seconds of a session's clock since it began."""

    setting: str | float
    seconds: float
