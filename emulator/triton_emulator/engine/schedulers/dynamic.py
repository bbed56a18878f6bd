"""Dynamic batching: which waiting requests of a model run together, and when.

The rules are those of core 2.51 (DynamicBatchScheduler). Without queue policies a batch is formed as soon as requests
arrive: up to two batches per instance are kept ready, and the last of them grows until it has a preferred size, cannot
grow, or is started. With queue policies a batch is formed only when an instance is idle, so that a late request with a
high priority can still overtake.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.equal_inputs import EqualInputs
from triton_emulator.engine.schedulers.policy_queue import PolicyQueue, QueuePolicy
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.schema import Proto


@dataclass(slots=True)
class _Batch:
    """Requests that run together. Once `full`, later requests start another batch; once `closed`, nothing joins it."""

    calls: list[Call] = field(default_factory=list)
    size: int = 0
    full: bool = False
    closed: bool = False
    started: bool = False


@dataclass(frozen=True, slots=True)
class _Choice:
    """How many waiting requests join the batch, whether it is full then, and how long to wait if none joins."""

    count: int = 0
    full: bool = False
    closed: bool = False
    wait_ns: int = 0


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """The rules for a batch's size. A request may wait `delay_ns` for others."""

    largest: int
    preferred: frozenset[int]
    delay_ns: int
    equal: EqualInputs

    @property
    def largest_preferred(self) -> int:
        return max(self.preferred, default=0)

    def choose(self, batch: _Batch, waiting: Iterable[Call], now: int, deadline: int = 0) -> _Choice:
        """Choose which of `waiting` join `batch` now. At `deadline` the first becomes too old; 0 means never."""
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


#: 2.51: an idle queue with policies is checked this long after the last arrival, and then at this interval
_LOOK_NS = 500_000_000


class DynamicBatcher:
    """The `Batcher` of a model with dynamic batching. Times are nanoseconds of a monotonic clock."""

    def __init__(self, sizes: BatchSizes, queue: PolicyQueue, *, ahead: int, looks: bool = True) -> None:
        """`ahead` is how many batches may be kept ready; 0 forms each one when an instance asks for it.

        `looks`: whether requests are refused or dropped while no instance asks for a batch.
        """
        self._looks = looks
        self._sizes = sizes
        self._queue = queue
        self._ahead = ahead
        self._current = _Batch()
        self._ready: deque[_Batch] = deque()
        self._wake = 0
        self.dropped: list[tuple[Call, TritonError]] = []
        self.tick_ns = 0

    @classmethod
    def of(cls, config: ModelConfig, instances: int, rules: Personality) -> "DynamicBatcher":
        batching = config.proto.dynamic_batching
        default = QueuePolicy.of(batching.default_queue_policy)
        levels = batching.priority_levels
        policies = {level: QueuePolicy.of(policy) for level, policy in batching.priority_queue_policy.items()}
        queue = PolicyQueue(default, levels, batching.default_priority_level, policies)
        sizes = batch_sizes(config, batching)
        return cls(
            sizes,
            queue,
            ahead=0 if levels or not default.is_plain else 2 * instances,
            looks=rules.late_requests_refused_at_once,
        )

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises UNAVAILABLE if the queue is full."""
        call.queued_ns = now
        self._queue.add(call, now)
        if not self._ahead and self._looks:
            self.tick_ns = now + _LOOK_NS
        self._form(now)

    def take(self, instance: int, now: int) -> list[Call]:
        """Return the next batch to run, or an empty list."""
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
        """When `take` may return a batch although no request has arrived; 0 means never."""
        return self._wake

    def done(self, instance: int, calls: list[Call], now: int) -> None:
        """Note that a batch has been executed (nothing depends on it here)."""

    def tick(self, now: int) -> None:
        """Drop what is too old or cancelled while no instance asks for a batch."""
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
        """Move waiting requests into batches, up to the number that may be kept ready."""
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
        """2.51: with a queue delay, later batches that have waited that long join this one when it starts."""
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
    """Read the rules from a `dynamic_batching` or `oldest` message."""
    return BatchSizes(
        max(1, config.max_batch_size),
        frozenset(batching.preferred_batch_size),
        batching.max_queue_delay_microseconds * 1000,
        EqualInputs.of(config),
    )
