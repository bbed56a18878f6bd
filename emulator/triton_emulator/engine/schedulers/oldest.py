"""Sequence batching, oldest first: one request of each sequence at a time goes to a dynamic batcher."""

from collections import deque

from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.controls import Controls
from triton_emulator.engine.schedulers.dynamic import DynamicBatcher, batch_sizes
from triton_emulator.engine.schedulers.policy_queue import PolicyQueue, QueuePolicy
from triton_emulator.engine.schedulers.sequence import Release, SlotQueue
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.config.model_config import ModelConfig


class OldestSlots:
    """One instance's slots. A sequence's next request is batched after its previous one has been executed."""

    def __init__(self, config: ModelConfig, slots: int, controls: Controls, release: Release) -> None:
        sizes = batch_sizes(config, config.proto.sequence_batching.oldest)
        # at most one request per slot is in a batch, so there are never more batches than slots
        self._batcher = DynamicBatcher(sizes, PolicyQueue(QueuePolicy()), ahead=slots)
        self._queues: list[SlotQueue] = [deque() for _ in range(slots)]
        self._running: list[Call | None] = [None] * slots
        self._slot_of: dict[Call, int] = {}
        self._controls = controls
        self.dropped: list[tuple[Call, TritonError]] = []
        self._release = release

    def put(self, slot: int, call: Call | None, now: int) -> None:
        self._queues[slot].append(call)
        if self._running[slot] is None:
            self._next(slot, now)

    def take(self, now: int) -> list[Call]:
        calls = self._batcher.take(0, now)
        if dropped := self._batcher.dropped:
            self._batcher.dropped = []
            self.dropped += dropped
            self.done([call for call, _ in dropped], now)
        return calls

    def wake_ns(self) -> int:
        return self._batcher.wake_ns(0)

    def done(self, calls: list[Call], now: int) -> None:
        slots = [self._slot_of.pop(call) for call in calls]
        for slot in slots:
            self._running[slot] = None
            self._next(slot, now)

    def _next(self, slot: int, now: int) -> None:
        """Give the slot's next request to the batcher; free the slot if the sequence ends with it."""
        queue = self._queues[slot]
        while queue and self._running[slot] is None:
            call = queue[0]
            ended = call is None or call.cancelled or call.request.sequence_end
            if call is None or not call.cancelled:
                queue.popleft()
            if call is not None and not call.cancelled:
                call.request.controls = self._controls.tensors(call.request)
                self._running[slot] = call
                self._slot_of[call] = slot
                queued = call.queued_ns
                self._batcher.add(call, now)
                call.queued_ns = queued
            if ended:
                self._release(slot, queue)
