"""The base of the stand-ins: an executor that answers on the event loop, at once or after a delay."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import ClassVar

import numpy as np

from triton_emulator.backends.standins.latency import Delay, Delays, Latency, delay_of
from triton_emulator.clock import Timer
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.protocol.datatypes import Array
from triton_emulator.protocol.errors import Code, TritonError, internal
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.protocol.tensor import Tensor

#: Runs a function on the event loop after a delay in seconds.
Schedule = Callable[[float, Callable[[], None]], Timer]
#: Runs a function on the event loop at a nanosecond of a steady clock.
ScheduleAt = Callable[[int, Callable[[], None]], Timer]


def latency_seed(definition: ModelDefinition) -> str:
    """What decides the order of a model's latencies."""
    return f"{definition.settings.get('seed', 0)}/{definition.name}"


def call_later(delay_s: float, function: Callable[[], None]) -> Timer:
    """Run a function on the running event loop after `delay_s` seconds."""
    return asyncio.get_running_loop().call_later(delay_s, function)


def call_at(due_ns: int, function: Callable[[], None]) -> Timer:
    """Run a function on the running event loop when `monotonic_ns` has come to `due_ns`."""
    return call_later((due_ns - monotonic_ns()) / 1e9, function)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a stand-in needs from the server: the ways in which it waits, and the time.

    `now_ns` has the clock of `schedule_at`.
    """

    schedule: Schedule = call_later
    schedule_at: ScheduleAt = call_at
    now_ns: Callable[[], int] = monotonic_ns


class InlineExecutor:
    """An executor that runs on the event loop; subclasses implement `answer`.

    `answer` sends responses with `respond`. It may raise TritonError before the last response. `made_up` names the
    outputs that `values` and `dims` of `emulator.yaml` apply to.
    """

    instances: ClassVar[int] = 1

    def __init__(self, definition: ModelDefinition, hooks: Hooks, delay: Delay = 0) -> None:
        """`delay` is what a request takes, where `answer` says no more about it."""
        self.delay = self._loaded_delay = delay
        self._latency_seed = latency_seed(definition)
        #: the latencies that are others than when it was loaded
        self.changed: frozenset[str] = frozenset()
        self.name = definition.name
        self.version = str(definition.version)
        self.config = definition.config
        self.batched = definition.config.max_batch_size > 0
        self.schedule = hooks.schedule
        self.schedule_at = hooks.schedule_at
        self.now_ns = hooks.now_ns
        #: how many requests it works on at a time; 0 is any number
        self.slots = int(str(definition.settings.get("slots", 0)))
        self.made_up = frozenset(spec.name for spec in definition.config.outputs)

    def answer(self, call: Call) -> None:
        raise NotImplementedError

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        """Answer the calls one by one."""
        for call in calls:
            call.times.inputs_read(call.now())
            self.guard(call, self.answer)

    def finalize(self) -> None:
        """Nothing to release."""

    # --- its latencies, which somebody may change while it is loaded ---

    def latencies(self) -> Mapping[str, float | Latency | None]:
        """What its requests take, in milliseconds, by the names of `emulator.yaml`; None is a measurement by load."""
        delay = self.delay
        return {"delay_ms": delay.latency if isinstance(delay, Delays) else delay}

    def set_latency(self, name: str, latency: float | Latency | None) -> None:
        """Let requests take this from now on; None is what it was loaded with. `name` is one of `latencies`."""
        self._set_latency(name, latency)
        self.changed = self.changed - {name} if latency is None else self.changed | {name}

    def _set_latency(self, name: str, latency: float | Latency | None) -> None:
        self.delay = self._loaded_delay if latency is None else delay_of(latency, self._latency_seed)

    def restore_latencies(self) -> None:
        """Take what it was loaded with."""
        for name in self.changed:
            self.set_latency(name, None)

    def guard(self, call: Call, step: Callable[[Call], None]) -> None:
        """Run one step of an answer. An exception becomes the last response."""
        try:
            step(call)
        except TritonError as error:
            self.fail(call, error)
        except Exception as error:  # noqa: BLE001 - a request that breaks the stand-in must get an answer too
            self.fail(call, internal(f"stand-in for '{self.name}' failed: {type(error).__name__}: {error}"))

    def after(self, delay_ms: float, call: Call, step: Callable[[Call], None]) -> None:
        """Run a step now or after a delay. A call that is cancelled meanwhile is answered with an error at once."""
        if delay_ms <= 0:
            step(call)
            return
        if call.cancelled:
            raise cancelled()

        def stop() -> None:
            timer.cancel()
            self.resume(call, step)

        call.on_cancel = stop
        timer = self.schedule(delay_ms / 1000, lambda: self.resume(call, step))

    def resume(self, call: Call, step: Callable[[Call], None]) -> None:
        """Continue a call after a delay."""
        call.on_cancel = None
        if call.cancelled:
            self.fail(call, cancelled())
        else:
            self.guard(call, step)

    def respond(self, call: Call, outputs: list[Tensor], *, final: bool = True) -> None:
        """Send one response with the outputs that the request asks for."""
        request = call.request
        if request.outputs:
            wanted = {output.name for output in request.outputs}
            outputs = [tensor for tensor in outputs if tensor.name in wanted]
        if final:
            call.times.ended(call.now())
        call.respond(InferResponse(self.name, self.version, request.id, outputs), final=final)

    def fail(self, call: Call, error: TritonError) -> None:
        """Send an error as the last response."""
        call.failed = True
        call.times.ended(call.now())
        call.respond(InferResponse(self.name, self.version, call.request.id, error=error), final=True)


def cancelled() -> TritonError:
    """The error for a cancelled request, with the text of the vLLM backend."""
    return TritonError(Code.CANCELLED, "Request was cancelled")


def text_of(element: bytes | str) -> str:
    """A BYTES element as text. Bytes that are not UTF-8 become surrogates, which `bytes_of` turns back."""
    return element.decode("utf-8", "surrogateescape") if isinstance(element, bytes) else element


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def bytes_array(elements: Sequence[bytes]) -> Array:
    """A flat object array of BYTES elements."""
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array
