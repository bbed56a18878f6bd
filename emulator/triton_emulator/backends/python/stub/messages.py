"""The messages between a server and a stub process. All are plain values."""

from typing import Any, NamedTuple

from triton_emulator.backends.python.plan import InstancePlan
from triton_emulator.protocol.messages import InferRequest, InferResponse

# --- from the server over the first channel: jobs, each of which is answered by Done, Failed or Executed -----------


class Load(NamedTuple):
    """Import model.py."""

    plan: InstancePlan
    has_server: bool


class AutoComplete(NamedTuple):
    """Call the model's `auto_complete_config` with a configuration as JSON text. Done brings what it returned."""

    config_json: str


class Initialize(NamedTuple):
    """Make the model object and call its `initialize`."""

    args: dict[str, str]


class SentCall(NamedTuple):
    """A call as the stub process needs it; `number` names it in later messages."""

    number: int
    request: InferRequest
    version: int
    execution: int


class Execute(NamedTuple):
    """Run the model over the calls."""

    calls: list[SentCall]


class Finalize(NamedTuple):
    """Call the model's `finalize` and end the process."""


# --- from the server over the second channel ------------------------------------------------------------------------


class Reply(NamedTuple):
    """The answer to an Ask: `value`, or the error that was raised."""

    number: int
    value: Any = None
    error: Exception | None = None


class BlsResponse(NamedTuple):
    """A response to the request of the Ask of that number."""

    number: int
    response: InferResponse | None
    final: bool


class AskReady(NamedTuple):
    """Ask the model's `is_ready`. TellReady is the answer; there is one question at a time."""


# --- from the stub process over the first channel -------------------------------------------------------------------


class Done(NamedTuple):
    """A job is done."""

    value: Any = None


class Failed(NamedTuple):
    """A job failed: the reason of a LoadError."""

    text: str


class CallState(NamedTuple):
    """What the stub process has made of a call: four times in nanoseconds of the epoch, and what is counted of it."""

    compute_start: int
    input_end: int
    output_start: int
    compute_end: int
    failed: bool
    execution: int


class Respond(NamedTuple):
    """A response to a call, or the final flag alone."""

    number: int
    response: InferResponse | None
    final: bool
    state: CallState


class Executed(NamedTuple):
    """The calls of an Execute have been run; those in `rescheduled` are to be executed once more.

    `responses` are those that the model has returned.
    """

    states: list[CallState]
    rescheduled: list[int]
    responses: list[Respond]


# --- from the stub process over the second channel, beside Respond ---------------------------------------------------


class Ask(NamedTuple):
    """A question, answered by a Reply unless it is one of those that need none."""

    number: int
    question: str
    args: tuple[Any, ...]


class TellReady(NamedTuple):
    """What the model's `is_ready` says; False where it raises, for the reason in `why`."""

    ready: bool
    why: str


class Log(NamedTuple):
    """A line for the server's log."""

    logger: str
    level: int
    path: str
    line: int
    function: str
    text: str
