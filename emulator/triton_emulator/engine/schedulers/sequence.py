"""Sequence batching: each sequence owns one slot of one instance, or waits in a backlog until a slot is free.

The rules are those of core 2.51 (SequenceBatchScheduler). This module holds what both strategies share: slots, backlog,
timeouts and idle sequences. `direct` and `oldest` decide how the requests in the slots become batches.

A sequence goes through three places:

    first request (START) --free slot--> slot --last request (END), idle or cancelled--> gone
            |                              ^
            +--no free slot--> backlog ----+  (when a slot is released; or dropped when its timeout expires)

The id of a sequence may be reused as soon as its END request has been queued: the old sequence keeps its slot or its
backlog entry until its requests have run, but new requests with that id belong to a new sequence.
Times are nanoseconds of a monotonic clock.
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
#: A slot's requests in order. A None among them frees the slot.
SlotQueue = deque[Call | None]

_EXPIRED = unavailable("timeout of the corresponding sequence has been expired")
#: nanoseconds after which an idle sequence that still waits for a slot is checked again
_BACKLOG_LOOK_NS = 50_000_000


@dataclass(slots=True, eq=False)
class _Waiting:
    """A sequence in the backlog, with the requests that have arrived."""

    sequence: SequenceId
    calls: deque[Call] = field(default_factory=deque)
    #: when its requests are refused; 0 means never
    deadline: int = 0


class Strategy(Protocol):
    """Forms batches from the requests in an instance's slots. `dropped`, which the caller empties, will not run."""

    dropped: list[tuple[Call, TritonError]]

    def put(self, slot: int, call: Call | None, now: int) -> None:
        """Queue a request in a slot; None ends the slot's sequence without a request."""

    def take(self, now: int) -> list[Call]:
        """Return the next batch, or an empty list."""

    def wake_ns(self) -> int:
        """When `take` may return a batch although no request has arrived; 0 means never."""

    def done(self, calls: list[Call], now: int) -> None:
        """Note that a batch has been executed."""


#: Frees a slot of an instance: drops what is left in its queue and gives the slot to the next sequence in the backlog.
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
        self._backlog: deque[_Waiting] = deque()
        self._backlogged: dict[SequenceId, _Waiting] = {}
        #: a heap of (deadline, tie-breaker, sequence) for the sequences in the backlog that have a deadline
        self._deadlines: list[tuple[int, int, _Waiting]] = []
        self._numbers = count()
        #: calls of the running batches that the model asked to execute again
        self._again: set[Call] = set()
        #: when each live sequence last had a request, the least recent first
        self._last_seen: OrderedDict[SequenceId, int] = OrderedDict()
        self.dropped: list[tuple[Call, TritonError]] = []
        self._strategies = [make(partial(self._release, instance)) for instance in range(instances)]

    # --- requests ---

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises INVALID_ARG if it belongs to no sequence or has a batch size above 1."""
        if call.batch_size > 1:
            raise invalid_arg(
                f"inference request to model '{self._name}' must specify batch-size 1 due to requirements of sequence "
                "batcher"
            )
        request = call.request
        sequence = self._identify(call)
        waiting = self._backlogged.get(sequence)
        place = self._slots.get(sequence)
        if not request.sequence_start and waiting is None and place is None:
            raise invalid_arg(
                f"inference request for sequence {sequence} to model '{self._name}' must specify the START flag on the "
                "first request of the sequence"
            )
        call.queued_ns = now
        if place is None and waiting is None and self._free:
            slot, instance = heapq.heappop(self._free)
            place = self._slots[sequence] = (instance, slot)
        if place is None:
            self._wait(call, sequence, waiting, now)
            return
        if request.sequence_end:
            self._forget(sequence)
        else:
            self._touch(sequence, now)
        self._strategies[place[0]].put(place[1], call, now)

    def _identify(self, call: Call) -> SequenceId:
        """Return the sequence's id; an iterative model's request without one becomes a sequence of its own."""
        request = call.request
        if not request.sequence_id:
            if not self._iterative:
                raise invalid_arg(
                    f"inference request to model '{self._name}' must specify a non-zero or non-empty correlation ID"
                )
            request.sequence_id = self._next_id
            request.sequence_start, request.sequence_end = True, False
            self._next_id += 1
        if self._iterative and not request.sequence_end:
            # 2.51 ends the sequence of an iterative model with a request of its own, which it cancels and counts
            call.failures = ("CANCELED",)
        return request.sequence_id

    def _wait(self, call: Call, sequence: SequenceId, waiting: _Waiting | None, now: int) -> None:
        """Queue a request in the backlog."""
        request = call.request
        if waiting is None:
            waiting = self._backlogged[sequence] = _Waiting(sequence)
            self._backlog.append(waiting)
        self._touch(sequence, now)
        if request.timeout:
            deadline = now + request.timeout * 1000
            waiting.deadline = min(waiting.deadline or deadline, deadline)
            heapq.heappush(self._deadlines, (waiting.deadline, next(self._numbers), waiting))
        waiting.calls.append(call)
        if request.sequence_end:
            # from now on a request with this id belongs to a new sequence
            del self._backlogged[sequence]

    def again(self, call: Call, now: int) -> None:
        """Queue a running call again, to be executed after its present batch."""
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

    def _touch(self, sequence: SequenceId, now: int) -> None:
        self._last_seen[sequence] = now
        self._last_seen.move_to_end(sequence)

    def _forget(self, sequence: SequenceId) -> None:
        self._slots.pop(sequence, None)
        self._last_seen.pop(sequence, None)

    # --- slots ---

    def _release(self, instance: int, slot: int, queue: SlotQueue) -> None:
        if queue and queue[0] is not None:  # the sequence was cancelled; an ended one is forgotten already
            self._forget(queue[0].request.sequence_id)
        self.dropped += [(call, CANCELLED) for call in queue if call is not None]
        queue.clear()
        while self._backlog:
            waiting = self._backlog.popleft()
            waiting.deadline = 0
            live = self._backlogged.get(waiting.sequence) is waiting
            if live:
                del self._backlogged[waiting.sequence]
            if any(call.cancelled for call in waiting.calls):
                self.dropped += [(call, CANCELLED) for call in waiting.calls]
                continue
            if live:
                self._slots[waiting.sequence] = (instance, slot)
            queue.extend(waiting.calls)
            return
        heapq.heappush(self._free, (slot, instance))

    # --- the clock ---

    @property
    def tick_ns(self) -> int:
        """When the next sequence may become idle for too long or exceed its timeout; 0 means never."""
        due = self._deadlines[0][0] if self._deadlines else 0
        if self._last_seen:
            idle = next(iter(self._last_seen.values())) + self._idle_ns
            due = min(due or idle, idle)
        return due

    def tick(self, now: int) -> None:
        """End the sequences that are idle and refuse those whose timeout has expired."""
        while self._last_seen:
            sequence, heard = next(iter(self._last_seen.items()))
            if now - heard < self._idle_ns:
                break
            if sequence in self._backlogged:
                self._touch(sequence, now - self._idle_ns + _BACKLOG_LOOK_NS)
            elif sequence in self._slots:
                self._end(sequence, now)
            else:
                self._forget(sequence)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, waiting = heapq.heappop(self._deadlines)
            if not 0 < waiting.deadline <= now:  # it got a slot meanwhile, or was refused
                continue
            waiting.deadline = 0
            self._backlog.remove(waiting)
            if self._backlogged.get(waiting.sequence) is waiting:
                del self._backlogged[waiting.sequence]
                self._last_seen.pop(waiting.sequence, None)
            self.dropped += [(call, _EXPIRED) for call in waiting.calls]
