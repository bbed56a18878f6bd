"""Sequence batching: every sequence has a slot of an instance for itself, or waits for one.

As core 2.51 does it. What the strategies share is here: slots, backlog, idle sequences; how a slot's requests come into
batches is in `direct` and `oldest`. Times are nanoseconds of a steady clock.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Protocol

from triton_emulator.engine.call import Call
from triton_emulator.engine.schedulers.policy_queue import CANCELLED
from triton_emulator.protocol.errors import TritonError, invalid_arg, unavailable
from triton_emulator.repository.config.model_config import ModelConfig

SequenceId = int | str
#: A slot's requests in order; None in place of one frees the slot.
SlotQueue = deque[Call | None]

_EXPIRED = unavailable("timeout of the corresponding sequence has been expired")
#: how soon a sequence that is idle, but still waits for a slot, is looked at again
_BACKLOG_LOOK_NS = 50_000_000


@dataclass(slots=True, eq=False)
class _Backlog:
    sequence: SequenceId
    calls: deque[Call] = field(default_factory=deque)
    #: when it is given up, 0 for never
    deadline: int = 0


class Strategy(Protocol):
    """What becomes of the requests in an instance's slots. `dropped` are those that will not run, to be taken out."""

    dropped: list[tuple[Call, TritonError]]

    def put(self, slot: int, call: Call | None, now: int) -> None:
        """A request for that slot; None ends the slot's sequence without one."""

    def take(self, now: int) -> list[Call]:
        """The next batch, empty where there is none now."""

    def wake_ns(self) -> int:
        """When `take` may have something although nothing has happened, 0 for never."""

    def done(self, calls: list[Call], now: int) -> None:
        """A batch has run."""


#: Frees a slot of an instance: what is left in the queue is dropped, and the next sequence of the backlog moves in.
Release = Callable[[int, SlotQueue], None]


class SequenceBatcher:
    """The `Batcher` of a model with sequence batching."""

    def __init__(
        self, config: ModelConfig, instances: int, slots: int, make: Callable[[Release], Strategy]
    ) -> None:
        batching = config.proto.sequence_batching
        self._name = config.name
        self._idle_ns = batching.max_sequence_idle_microseconds * 1000
        self._iterative = batching.iterative_sequence
        self._next_id = 1
        self._free = [(slot, instance) for slot in range(slots) for instance in range(instances)]
        heapq.heapify(self._free)
        self._slots: dict[SequenceId, tuple[int, int]] = {}
        self._backlog: deque[_Backlog] = deque()
        self._backlogged: dict[SequenceId, _Backlog] = {}
        #: (when it is given up, a number that makes it sortable, which) of those of the backlog that are given up
        self._deadlines: list[tuple[int, int, _Backlog]] = []
        self._numbers = count()
        #: the calls of the running batches that will be seen again
        self._again: set[Call] = set()
        #: when each live sequence was last heard of, the longest silent first
        self._heard: OrderedDict[SequenceId, int] = OrderedDict()
        self.dropped: list[tuple[Call, TritonError]] = []
        self._strategies = [make(partial(self._release, instance)) for instance in range(instances)]

    # --- requests ---

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises INVALID_ARG where it belongs to no sequence or is a batch."""
        request = call.request
        if call.batch_size > 1:
            raise invalid_arg(
                f"inference request to model '{self._name}' must specify batch-size 1 due to requirements of sequence "
                "batcher"
            )
        sequence = request.sequence_id
        if not sequence:
            if not self._iterative:
                raise invalid_arg(
                    f"inference request to model '{self._name}' must specify a non-zero or non-empty correlation ID"
                )
            sequence = request.sequence_id = self._next_id
            request.sequence_start, request.sequence_end = True, False
            self._next_id += 1
        if self._iterative and not request.sequence_end:
            # 2.51 ends the sequence of an iterative model by a request of its own, which it cancels and counts
            call.failures = ("CANCELED",)
        backlog = self._backlogged.get(sequence)
        place = self._slots.get(sequence)
        if not request.sequence_start and backlog is None and place is None:
            raise invalid_arg(
                f"inference request for sequence {sequence} to model '{self._name}' must specify the START flag on the "
                "first request of the sequence"
            )
        call.queued_ns = now
        if place is None and backlog is None and self._free:
            slot, instance = heapq.heappop(self._free)
            place = self._slots[sequence] = (instance, slot)
        if place is not None:
            if request.sequence_end:
                self._forget(sequence)
            else:
                self._hear(sequence, now)
            self._strategies[place[0]].put(place[1], call, now)
            return
        if backlog is None:
            backlog = self._backlogged[sequence] = _Backlog(sequence)
            self._backlog.append(backlog)
        self._hear(sequence, now)
        if request.timeout:
            deadline = now + request.timeout * 1000
            backlog.deadline = min(backlog.deadline or deadline, deadline)
            heapq.heappush(self._deadlines, (backlog.deadline, next(self._numbers), backlog))
        backlog.calls.append(call)
        if request.sequence_end:
            # another sequence of that name is one of its own
            del self._backlogged[sequence]

    def again(self, call: Call, now: int) -> None:
        """Queue a running call once more, to be executed after the batch that it is in."""
        self._again.add(call)
        call.request.sequence_start = call.request.sequence_end = False
        self.add(call, now)

    def take(self, instance: int, now: int) -> list[Call]:
        strategy = self._strategies[instance]
        calls = strategy.take(now)
        if strategy.dropped:
            self.dropped += strategy.dropped
            strategy.dropped.clear()
        return calls

    def wake_ns(self, instance: int) -> int:
        return self._strategies[instance].wake_ns()

    def done(self, instance: int, calls: list[Call], now: int) -> None:
        if self._iterative:
            for call in calls:
                if call in self._again:
                    self._again.remove(call)
                elif not call.padding and not call.request.sequence_end:
                    self._end(call.request.sequence_id, now)
        self._strategies[instance].done(calls, now)

    def _end(self, sequence: SequenceId, now: int) -> None:
        place = self._slots.get(sequence)
        if place is not None:
            self._forget(sequence)
            self._strategies[place[0]].put(place[1], None, now)

    def _hear(self, sequence: SequenceId, now: int) -> None:
        self._heard[sequence] = now
        self._heard.move_to_end(sequence)

    def _forget(self, sequence: SequenceId) -> None:
        self._slots.pop(sequence, None)
        self._heard.pop(sequence, None)

    # --- slots ---

    def _release(self, instance: int, slot: int, queue: SlotQueue) -> None:
        if queue and queue[0] is not None:  # a cancelled sequence: the others are let go of below
            self._forget(queue[0].request.sequence_id)
        self.dropped += [(call, CANCELLED) for call in queue if call is not None]
        queue.clear()
        while self._backlog:
            backlog = self._backlog.popleft()
            backlog.deadline = 0
            live = self._backlogged.get(backlog.sequence) is backlog
            if live:
                del self._backlogged[backlog.sequence]
            if any(call.cancelled for call in backlog.calls):
                self.dropped += [(call, CANCELLED) for call in backlog.calls]
                continue
            if live:
                self._slots[backlog.sequence] = (instance, slot)
            queue.extend(backlog.calls)
            return
        heapq.heappush(self._free, (slot, instance))

    # --- the clock ---

    @property
    def tick_ns(self) -> int:
        """When a sequence may have been idle for too long, or have waited for too long; 0 for never."""
        due = self._deadlines[0][0] if self._deadlines else 0
        if self._heard:
            idle = next(iter(self._heard.values())) + self._idle_ns
            due = min(due or idle, idle)
        return due

    def tick(self, now: int) -> None:
        """End idle sequences, refuse those that have waited too long."""
        while self._heard:
            sequence, heard = next(iter(self._heard.items()))
            if now - heard < self._idle_ns:
                break
            if sequence in self._backlogged:
                self._hear(sequence, now - self._idle_ns + _BACKLOG_LOOK_NS)
            elif sequence in self._slots:
                self._end(sequence, now)
            else:
                self._forget(sequence)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, backlog = heapq.heappop(self._deadlines)
            if not 0 < backlog.deadline <= now:  # it has got a slot, or is refused already
                continue
            backlog.deadline = 0
            self._backlog.remove(backlog)
            if self._backlogged.get(backlog.sequence) is backlog:
                del self._backlogged[backlog.sequence]
                self._heard.pop(backlog.sequence, None)
            self.dropped += [(call, _EXPIRED) for call in backlog.calls]
