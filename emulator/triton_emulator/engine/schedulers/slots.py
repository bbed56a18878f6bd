"""A model that works on so many requests at a time: the others wait in its queue.

This is for executors that never block. The queue has the policies of `dynamic_batching`: its size, timeouts and
priorities. Requests are not batched.
"""

from collections.abc import Callable

from triton_emulator.clock import Clock
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import Executor
from triton_emulator.engine.schedulers.batches import InlineBatches
from triton_emulator.engine.schedulers.policy_queue import PolicyQueue, QueuePolicy
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.config.model_config import ModelConfig


class Slots:
    """The `Batcher` of such a model; each batch is one request, which has its slot until its last response."""

    def __init__(self, slots: int, queue: PolicyQueue, freed: Callable[[], None]) -> None:
        """`freed` is called when a slot is free again."""
        self._free = slots
        self._queue = queue
        self._freed = freed
        self.dropped: list[tuple[Call, TritonError]] = []

    @classmethod
    def of(cls, config: ModelConfig, slots: int, freed: Callable[[], None]) -> "Slots":
        batching = config.proto.dynamic_batching
        policies = {level: QueuePolicy.of(policy) for level, policy in batching.priority_queue_policy.items()}
        queue = PolicyQueue(
            QueuePolicy.of(batching.default_queue_policy),
            batching.priority_levels,
            batching.default_priority_level,
            policies,
        )
        return cls(slots, queue, freed)

    @property
    def tick_ns(self) -> int:
        """When the next waiting request becomes too old; 0 means never."""
        due = self._queue.closest_deadline()
        return due + 1 if due else 0

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises UNAVAILABLE if the queue is full."""
        call.queued_ns = now
        self._queue.add(call, now)
        call.on_cancel = self._freed  # what is cancelled leaves the queue when the next batch is taken

    def take(self, instance: int, now: int) -> list[Call]:
        """The next request, or an empty list."""
        self.dropped += self._queue.sweep(now)
        if not self._free:
            return []
        calls = self._queue.take(1)
        for call in calls:
            self._free -= 1
            call.on_cancel = None
            call.on_end(self._leave)
        return calls

    def _leave(self) -> None:
        self._free += 1
        self._freed()

    def wake_ns(self, instance: int) -> int:
        """A slot that becomes free is told."""
        return 0

    def done(self, instance: int, calls: list[Call], now: int) -> None:
        """A request that has been given to its executor has still its slot."""

    def tick(self, now: int) -> None:
        """Drop what is too old or cancelled."""
        self.dropped += self._queue.sweep(now)


class SlotScheduler(InlineBatches):
    """Gives a slot to each request in its turn."""

    def __init__(self, executor: Executor, config: ModelConfig, slots: int, clock: Clock) -> None:
        self._running = self._again = False
        super().__init__(executor, Slots.of(config, slots, self._run), clock)

    def _run(self) -> None:
        self._again = True
        if self._running:  # a request that was answered at once has freed its slot: the loop below goes on
            return
        self._running = True
        try:
            while self._again:
                self._again = False
                super()._run()
        finally:
            self._running = False
