"""Loads a stand-in from the text of a config and sends it requests. The test advances its clock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triton_emulator.backends import standins
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import Executor, ModelDefinition
from triton_emulator.engine.schedulers.plain import execute
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.messages import InferRequest, InferResponse, Parameter, RequestedOutput
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.pbtxt import parse_config

Given = Mapping[str, tuple[str, Sequence[Any]] | tuple[str, Sequence[Any], Sequence[int]]]


class Clock:
    """The scheduled calls and their times in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Timer] = []

    def schedule(self, delay_s: float, function: Callable[[], None]) -> "Timer":
        timer = Timer(self, self.now + delay_s, function)
        self.due.append(timer)
        return timer

    def schedule_at(self, due_ns: int, function: Callable[[], None]) -> "Timer":
        return self.schedule(max(due_ns - self.now_ns(), 0) / 1e9, function)

    def now_ns(self) -> int:
        return round(self.now * 1e9)

    def step(self) -> None:
        """Advance to the next scheduled call and make it."""
        self.due.sort(key=lambda timer: timer.at)
        timer = self.due.pop(0)
        self.now = max(self.now, timer.at)
        timer.function()

    def run(self) -> None:
        while self.due:
            self.step()


@dataclass
class Timer:
    """One scheduled call."""

    clock: Clock
    at: float
    function: Callable[[], None]

    def cancel(self) -> None:
        self.clock.due.remove(self)


class Exchange:
    """One request and the responses to it so far."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.responses: list[InferResponse] = []
        self.times: list[float] = []
        self.final = False

    def texts(self, name: str = "text_output") -> list[Any]:
        """One output of each response, as nested lists."""
        return [value(response, name) for response in self.responses if response.error is None]

    @property
    def error(self) -> tuple[str, str] | None:
        last = self.responses[-1].error
        return None if last is None else (last.code.name, last.message)

    @property
    def outputs(self) -> list[str]:
        return [tensor.name for tensor in self.responses[-1].outputs]


class Model:
    """A loaded stand-in."""

    def __init__(self, config: str, settings: str = "{}", name: str = "m") -> None:
        proto = parse_config(config)
        proto.name = proto.name or name
        standins.complete(proto)
        self.config = ModelConfig.of(proto)
        self.clock = Clock()
        entry = standins.ModelSettings.parse(f"models: {{m: {settings}}}").for_model("m")
        self.definition = ModelDefinition(proto.name, 1, self.config, Path("/nowhere"), entry)
        self.executor: Executor = standins.load(
            self.definition, standins.Hooks(self.clock.schedule, self.clock.schedule_at, self.clock.now_ns)
        )

    def start(
        self,
        inputs: Given,
        *,
        outputs: Sequence[str] = (),
        id: str = "",
        parameters: dict[str, Parameter] | None = None,
    ) -> Exchange:
        """Send a request without advancing the clock."""
        request = InferRequest(
            self.definition.name,
            id=id,
            inputs=[tensor(name, *given) for name, given in inputs.items()],
            outputs=[RequestedOutput(name) for name in outputs],
            parameters=list((parameters or {}).items()),
        )
        exchange: Exchange

        def deliver(response: InferResponse | None, final: bool) -> None:
            assert not exchange.final
            exchange.final = final
            if response is not None:
                exchange.responses.append(response)
                exchange.times.append(round(self.clock.now, 6))

        def post(*_: Any) -> None:
            raise AssertionError("an inline stand-in never leaves the event loop's thread")

        exchange = Exchange(Call(request, 1, deliver, post))
        execute(self.executor, [exchange.call], 0)
        return exchange

    def ask(self, inputs: Given, **options: Any) -> Exchange:
        """Send a request and advance the clock until it is answered."""
        exchange = self.start(inputs, **options)
        self.clock.run()
        assert exchange.final
        return exchange


def tensor(name: str, datatype: str, values: Sequence[Any], shape: Sequence[int] | None = None) -> Tensor:
    """A tensor of one dimension, or of `shape`."""
    if datatype == "BYTES":
        array = np.empty(len(values), dtype=np.object_)
        array[:] = [value if isinstance(value, bytes) else value.encode() for value in values]
    else:
        array = np.array(values, dtype=DATATYPES[datatype].numpy)
    return Tensor(name, datatype, shape or [len(values)], array=array)


def value(response: InferResponse, name: str) -> Any:
    """An output's elements as nested lists, texts decoded."""
    found = next(tensor for tensor in response.outputs if tensor.name == name)
    array = np.asarray(found.array).reshape(found.shape)
    return _decoded(array.tolist())


def _decoded(nested: Any) -> Any:
    if isinstance(nested, list):
        return [_decoded(one) for one in nested]
    return nested.decode() if isinstance(nested, bytes) else nested
