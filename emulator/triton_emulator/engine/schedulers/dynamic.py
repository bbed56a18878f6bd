"""Dynamic batching: which of the waiting requests of a model run together, and when.

As core 2.51 does it. Without queue policies a batch is formed as soon as requests come: up to two per instance lie
ready, and the last of them grows until it has a preferred size, cannot grow or is run. With policies a batch is formed
when an instance is free, so that a late request of a high priority still gets ahead.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.equal_inputs import EqualInputs
from triton_emulator.engine.schedulers.policy_queue import PolicyQueue, QueuePolicy
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.schema import Proto


@dataclass(slots=True)
class _Batch:
    """Requests that will run together; `full` where Triton would begin another one, `closed` where it must not grow."""

    calls: list[Call] = field(default_factory=list)
    size: int = 0
    full: bool = False
    closed: bool = False
    started: bool = False


@dataclass(frozen=True, slots=True)
class _Choice:
    """How many of the waiting requests join the batch, whether it is full then, and how long to wait if none does."""

    count: int = 0
    full: bool = False
    closed: bool = False
    wait_ns: int = 0


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """The rules of a batch's size; `delay_ns` is how long a request may wait for others."""

    largest: int
    preferred: frozenset[int]
    delay_ns: int
    equal: EqualInputs

    @property
    def largest_preferred(self) -> int:
        return max(self.preferred, default=0)

    def choose(self, batch: _Batch, waiting: Iterable[Call], now: int, deadline: int = 0) -> _Choice:
        """What of `waiting` joins `batch` now. `deadline` is when the first of them gets too old, 0 for never."""
        largest_preferred = self.largest_preferred
        count = pending = best = 0
        full = stop = closed = False
        first = batch.calls[0] if batch.calls else None
        oldest = now
        for call in waiting:
            size = call.batch_size
            if first is None:
                first = call
            else:
                if batch.size + pending + size > largest_preferred and not best:
                    best = count
                    full = True
                if batch.size + pending + size > self.largest:
                    stop = True
                    break
                if not self.equal.fit(first, call):
                    stop = closed = True
                    break
            pending += size
            count += 1
            oldest = min(oldest, call.queued_ns)
            if batch.size + pending in self.preferred:
                best = count
        late = self.delay_ns != 0 and now - oldest >= self.delay_ns
        if best and not late:
            return _Choice(best, full or self.delay_ns == 0, closed)
        if not count:
            return _Choice(0, full, closed)
        if stop or batch.size + pending >= largest_preferred:
            return _Choice(count, full=True, closed=closed)
        if late or not self.delay_ns or (not full and batch.size and batch.size not in self.preferred):
            return _Choice(count, full, closed)
        wait = self.delay_ns - (now - oldest)
        if deadline:
            wait = min(wait, max(deadline - now, 1000))
        return _Choice(0, full, closed, wait)


#: 2.51: so long after the last arrival, and then so often, a queue with policies is looked at while nothing runs it
_LOOK_NS = 500_000_000


class DynamicBatcher:
    """The `Batcher` of a model with dynamic batching; times are nanoseconds of a steady clock."""

    def __init__(self, sizes: BatchSizes, queue: PolicyQueue, *, ahead: int) -> None:
        """`ahead` is how many batches may lie ready; 0 forms each when it is asked for."""
        self._sizes = sizes
        self._queue = queue
        self._ahead = ahead
        self._current = _Batch()
        self._ready: deque[_Batch] = deque()
        self._wake = 0
        self.dropped: list[tuple[Call, TritonError]] = []
        self.tick_ns = 0

    @classmethod
    def of(cls, config: ModelConfig, instances: int) -> "DynamicBatcher":
        batching = config.proto.dynamic_batching
        default = QueuePolicy.of(batching.default_queue_policy)
        levels = batching.priority_levels
        policies = {level: QueuePolicy.of(policy) for level, policy in batching.priority_queue_policy.items()}
        queue = PolicyQueue(default, levels, batching.default_priority_level, policies)
        sizes = batch_sizes(config, batching)
        return cls(sizes, queue, ahead=0 if levels or not default.is_plain else 2 * instances)

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises UNAVAILABLE where the queue is full."""
        call.queued_ns = now
        self._queue.add(call, now)
        if not self._ahead:
            self.tick_ns = now + _LOOK_NS
        self._form(now)

    def take(self, instance: int, now: int) -> list[Call]:
        """The next batch to run, empty where there is none now."""
        if not self._ahead:
            return self._form_now(now)
        self.dropped += self._queue.sweep(now)
        self._form(now)
        if not self._ready:
            return []
        batch = self._ready.popleft()
        batch.started = True
        self._merge(batch, now)
        self._form(now)
        return batch.calls

    def wake_ns(self, instance: int) -> int:
        """When `take` may have something although nothing has happened, 0 for never."""
        return self._wake

    def done(self, instance: int, calls: list[Call], now: int) -> None:
        """A batch has run."""

    def tick(self, now: int) -> None:
        """Drop what is too old or cancelled, although no instance asks for a batch."""
        if now >= self.tick_ns:
            self.dropped += self._queue.sweep(now)
            self.tick_ns = now + _LOOK_NS if len(self._queue) else 0

    def _form_now(self, now: int) -> list[Call]:
        self._wake = 0
        self.dropped += self._queue.sweep(now)
        if not len(self._queue):
            return []
        choice = self._sizes.choose(_Batch(), self._queue, now, self._queue.closest_deadline())
        if not choice.count and choice.wait_ns:
            self._wake = now + choice.wait_ns
        return self._queue.take(choice.count)

    def _form(self, now: int) -> None:
        """Move waiting requests into batches, as far as they may be formed ahead."""
        self._wake = 0
        while self._ahead and len(self._queue):
            batch = self._current
            if batch.full or batch.started:
                batch = self._current = _Batch()
            if len(self._ready) >= self._ahead:
                return
            choice = self._sizes.choose(batch, self._queue, now)
            batch.full |= choice.full
            batch.closed |= choice.closed
            if not choice.count:
                if choice.full:
                    continue
                if choice.wait_ns:
                    self._wake = now + choice.wait_ns
                return
            if not batch.calls:
                self._ready.append(batch)
            for call in self._queue.take(choice.count):
                batch.calls.append(call)
                batch.size += call.batch_size

    def _merge(self, batch: _Batch, now: int) -> None:
        """2.51: with a queue delay, batches behind this one that have waited for so long join it when it is run."""
        sizes = self._sizes
        while self._ready and sizes.delay_ns and not batch.closed:
            other = self._ready[0]
            age = now - other.calls[0].queued_ns
            if (
                other.closed
                or age <= sizes.delay_ns
                or batch.size + other.size > sizes.largest
                or not sizes.equal.fit(batch.calls[0], other.calls[0])
            ):
                return
            self._ready.popleft()
            other.started = True
            batch.calls += other.calls
            batch.size += other.size


def batch_sizes(config: ModelConfig, batching: Proto) -> BatchSizes:
    """The rules in a `dynamic_batching` or `oldest` message."""
    return BatchSizes(
        max(1, config.max_batch_size),
        frozenset(batching.preferred_batch_size),
        batching.max_queue_delay_microseconds * 1000,
        EqualInputs.of(config),
    )
