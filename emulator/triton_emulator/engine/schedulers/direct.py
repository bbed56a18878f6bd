"""Sequence batching, direct: a slot is a row of the batch, which a sequence keeps from its start to its end."""

from collections import deque

from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.controls import Controls
from triton_emulator.engine.schedulers.equal_inputs import EqualInputs
from triton_emulator.engine.schedulers.sequence import Release, SlotQueue
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.config.model_config import ModelConfig


class DirectSlots:
    """One instance's slots. Each batch takes the next request of every slot that has one and pads the other rows."""

    def __init__(self, config: ModelConfig, slots: int, controls: Controls, release: Release) -> None:
        direct = config.proto.sequence_batching.direct
        self._queues: list[SlotQueue] = [deque() for _ in range(slots)]
        self._controls = controls
        self._equal = EqualInputs.of(config)
        self._release = release
        self._delay_ns = direct.max_queue_delay_microseconds * 1000
        self._enough = direct.minimum_slot_utilization * slots
        self._wake = 0
        self.dropped: list[tuple[Call, TritonError]] = []

    def put(self, slot: int, call: Call | None, now: int) -> None:
        self._queues[slot].append(call)

    def wake_ns(self) -> int:
        return self._wake

    def done(self, calls: list[Call], now: int) -> None:
        """Nothing to do: slots are freed when their last request is taken."""

    def take(self, now: int) -> list[Call]:
        self._wake = 0
        ready = self._ready()
        if not ready:
            return []
        calls = [self._front(slot) for slot in ready]
        if self._delay_ns and self._enough and len(ready) < self._enough:
            due = min(call.queued_ns for call in calls) + self._delay_ns
            if now <= due:
                self._wake = due + 1
                return []
        first = calls[0]
        batch = []
        for slot in range(ready[-1] + 1):
            queue = self._queues[slot]
            if not queue or not self._equal.fit(first, self._front(slot)):
                batch.append(self._controls.padding(first))
                continue
            call = self._front(slot)
            queue.popleft()
            call.request.controls = self._controls.tensors(call.request)
            batch.append(call)
            if call.request.sequence_end:
                self._release(slot, queue)
        return batch

    def _front(self, slot: int) -> Call:
        call = self._queues[slot][0]
        assert call is not None  # noqa: S101  (`_ready` has removed ended sequences)
        return call

    def _ready(self) -> list[int]:
        """Free the slots whose sequence was ended or cancelled, then return the slots that have a request."""
        for slot, queue in enumerate(self._queues):
            if not queue:
                continue
            front = queue[0]
            if front is None:
                queue.popleft()
            elif not front.cancelled:
                continue
            self._release(slot, queue)
        return [slot for slot, queue in enumerate(self._queues) if queue and queue[0] is not None]
