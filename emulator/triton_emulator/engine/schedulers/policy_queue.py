"""The queue of requests that wait for a batch: by priority, then in order of arrival, each under its priority's policy.

Times are nanoseconds of a monotonic clock, passed by the caller.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from triton_emulator.engine.call import Call
from triton_emulator.protocol.errors import Code, TritonError, unavailable
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.repository.schema import Proto, enum_name

EXPIRED = unavailable("Request timeout expired")
CANCELLED = TritonError(Code.CANCELLED, "")


def queue_is_full(request: InferRequest) -> TritonError:
    """The refusal of a request for which the queue has no place."""
    return unavailable(f"{request.log_id}Exceeds maximum queue size")


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """A `ModelQueuePolicy`: timeouts in microseconds, 0 for none; `max_size` 0 means no limit."""

    delay: bool = False
    timeout_us: int = 0
    allow_override: bool = False
    max_size: int = 0

    @classmethod
    def of(cls, message: Proto) -> "QueuePolicy":
        return cls(
            enum_name(message, "timeout_action") == "DELAY",
            message.default_timeout_microseconds,
            message.allow_timeout_override,
            message.max_queue_size,
        )

    @property
    def is_plain(self) -> bool:
        """Whether the policy has neither a timeout nor a size limit."""
        return not (self.timeout_us or self.allow_override or self.max_size)

    def deadline(self, call: Call, now: int) -> int:
        """When a request that arrives at `now` becomes too old; 0 means never.

        2.51: a request's own timeout can only shorten the policy's, so without a policy timeout it has no effect.
        """
        timeout = self.timeout_us
        if self.allow_override and 0 < call.request.timeout < timeout:
            timeout = call.request.timeout
        return now + timeout * 1000 if timeout else 0


@dataclass(slots=True)
class _Level:
    policy: QueuePolicy
    waiting: deque[tuple[Call, int]] = field(default_factory=deque)
    #: too old (timeout action DELAY): run only when no younger request of this level waits
    delayed: deque[tuple[Call, int]] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.delayed)


class PolicyQueue:
    """The queue of one model. A model without priorities has the single level 0."""

    def __init__(
        self,
        default: QueuePolicy,
        levels: int = 0,
        default_level: int = 0,
        policies: Mapping[int, QueuePolicy] | None = None,
    ) -> None:
        self._default_level = default_level if levels else 0
        self._levels: dict[int, _Level] = {
            level: _Level((policies or {}).get(level, default))
            for level in (range(1, levels + 1) if levels else (0,))
        }

    def __len__(self) -> int:
        count = 0
        for level in self._levels.values():
            count += len(level.waiting) + len(level.delayed)
        return count

    def add(self, call: Call, now: int) -> None:
        """Queue a request. Raises UNAVAILABLE if the queue of its priority level is full."""
        # 2.51: a priority that the model does not have counts as the default priority
        level = self._levels.get(call.request.priority, self._levels[self._default_level])
        policy = level.policy
        if policy.max_size and len(level) >= policy.max_size:
            raise queue_is_full(call.request)
        level.waiting.append((call, policy.deadline(call, now)))

    def sweep(self, now: int) -> list[tuple[Call, TritonError]]:
        """Remove what is cancelled or too old; return the requests to refuse, each with its error."""
        refused: list[tuple[Call, TritonError]] = []
        for level in self._levels.values():
            if not any(call.cancelled or 0 < deadline < now for call, deadline in level.waiting):
                continue
            kept: deque[tuple[Call, int]] = deque()
            for call, deadline in level.waiting:
                if call.cancelled:
                    refused.append((call, CANCELLED))
                elif 0 < deadline < now:
                    if level.policy.delay:
                        level.delayed.append((call, deadline))
                    else:
                        refused.append((call, EXPIRED))
                else:
                    kept.append((call, deadline))
            level.waiting = kept
        return refused

    def __iter__(self) -> Iterator[Call]:
        """Iterate over the requests in the order in which they will run."""
        for level in self._levels.values():
            for queue in (level.waiting, level.delayed):
                for call, _ in queue:
                    yield call

    def take(self, count: int) -> list[Call]:
        """Remove and return the first `count` requests."""
        taken: list[Call] = []
        for level in self._levels.values():
            for queue in (level.waiting, level.delayed):
                while queue and len(taken) < count:
                    taken.append(queue.popleft()[0])
        return taken

    def closest_deadline(self) -> int:
        """When the first of the waiting requests becomes too old; 0 means never."""
        deadlines = [deadline for level in self._levels.values() for _, deadline in level.waiting if deadline]
        return min(deadlines, default=0)
