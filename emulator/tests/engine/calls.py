"""Makes calls as the schedulers get them, for tests of the schedulers alone."""

from collections.abc import Sequence

from triton_emulator.engine.call import Call, Deliver
from triton_emulator.protocol.messages import InferRequest, InferResponse
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.pbtxt import parse_config

MILLISECOND = 1_000_000


def config(text: str) -> ModelConfig:
    """A configuration from the text of a config.pbtxt."""
    return ModelConfig.of(parse_config('name: "m"\nbackend: "python"\n' + text))


def call(
    name: str = "",
    *,
    rows: int = 1,
    shape: Sequence[int] = (1,),
    inputs: Sequence[str] = ("X",),
    priority: int = 0,
    timeout: int = 0,
    sequence: int | str = 0,
    start: bool = False,
    end: bool = False,
    deliver: Deliver | None = None,
) -> Call:
    """A call with INT32 inputs of `rows` rows; `timeout` in microseconds."""
    tensors = [Tensor(tensor, "INT32", (rows, *shape), data=bytes(4 * rows * shape[0])) for tensor in inputs]
    request = InferRequest(
        "m",
        id=name,
        inputs=tensors,
        priority=priority,
        timeout=timeout,
        sequence_id=sequence,
        sequence_start=start,
        sequence_end=end,
    )
    made = Call(request, 1, deliver or _ignore, lambda take, response, final: take(response, final))
    made.batch_size = rows
    return made


def names(calls: Sequence[Call]) -> list[str]:
    """The request ids of calls, "-" for padding."""
    return ["-" if one.padding else one.request.id for one in calls]


def _ignore(response: InferResponse | None, final: bool) -> None:
    """Ignores the response."""
