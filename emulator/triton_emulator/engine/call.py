"""A call: one request to one model version on its way through the engine, and the way back for its responses.

How it works
------------
A call is made from a request that validation has passed, for one version of one model. A client's request, a request
that a model sends to another model (BLS), a step of an ensemble and a warm-up sample are all calls.

    scheduler     queues the call, may batch it with others, and refuses it where its queue is full
    `execute`     hands it to the executor, on the event loop or on the thread of an instance
    executor      computes, marks in `times` when it reached each stage, and answers by `respond`
    `respond`     takes each response to `deliver` on the event loop: directly if it is called there, else by `post`

`respond` may be called once or many times. The last time says `final`: what was registered by `on_end` is released
then, on the thread that sends it, and nothing is sent after it. Whoever made the call counts it (`RequestEvent.of`)
after its last response. An executor never raises: a failure is a response with an error.

Threads: `respond`, `on_end` and `cancelled` may be used on any thread. Everything else belongs to whoever has the call
at the time: its scheduler, then its executor, then the event loop. Each hands it over to the next, without a lock.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import time_ns

from triton_emulator.protocol.messages import InferRequest, InferResponse

#: Takes a response (None where only the final flag arrives) and whether it is the last. Called on the event loop.
Deliver = Callable[[InferResponse | None, bool], None]
#: Nanoseconds of the epoch.
Now = Callable[[], int]
#: Passes a response from any thread to the event loop.
Post = Callable[[Deliver, InferResponse | None, bool], None]


@dataclass(slots=True)
class CacheUse:
    """What one request did to the response cache; durations are nanoseconds.

    `inserted` is None where its response was not offered to the cache, or one was there already; else how many others
    were removed to make room for it.
    """

    hit: bool
    lookup_ns: int
    inserted: int | None = None
    insertion_ns: int = 0


class CallTimes:
    """When a call reached each stage: nanoseconds of the epoch, 0 for a stage that it has not reached.

    The stages are Triton's: queue, compute input, compute infer, compute output.
    """

    __slots__ = ("compute_end", "compute_start", "input_end", "output_start", "queue_start")

    def __init__(self, now: int) -> None:
        self.queue_start = now
        self.compute_start = self.input_end = self.output_start = self.compute_end = 0

    def __repr__(self) -> str:
        if not self.compute_start:
            return "<CallTimes queued>"
        input_ns, infer_ns, output_ns = self.compute_ns()
        queue_ns = self.compute_start - self.queue_start
        return f"<CallTimes {queue_ns=} {input_ns=} {infer_ns=} {output_ns=}>"

    def started(self, now: int) -> None:
        """The executor has the call."""
        self.compute_start = now

    def inputs_read(self, now: int) -> None:
        """The inputs are in the form that the model takes."""
        self.input_end = now

    def computed(self, now: int) -> None:
        """The model has made its outputs."""
        self.output_start = now

    def ended(self, now: int) -> None:
        """The executor is done with the call; the outputs were made now, unless `computed` came before."""
        self.output_start = self.output_start or now
        self.compute_end = now

    def took(self, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Set the stages after `started` by how long each took."""
        self.input_end = self.compute_start + input_ns
        self.output_start = self.input_end + infer_ns
        self.compute_end = self.output_start + output_ns

    @property
    def complete(self) -> bool:
        """Whether the call has gone through every stage."""
        return bool(self.compute_start and self.input_end and self.output_start and self.compute_end)

    def compute_ns(self) -> tuple[int, int, int]:
        """How long compute input, infer and output took, in nanoseconds; a stage that was not reached took none."""
        inputs = self.input_end or self.compute_start
        outputs = self.output_start or inputs
        return inputs - self.compute_start, outputs - inputs, (self.compute_end or outputs) - outputs


def _ignore(response: InferResponse | None, final: bool) -> None:
    """Nothing is sent after the last response."""


class Call:
    """One request on its way through a model, and the way back for its responses.

    A backend reads `request`, marks `times` around its work and answers through `respond`, from any thread, once or
    many times; the last time with `final=True`. `cancelled` turns True when the client has gone or asked for it: long
    work should look at it. What waits on the event loop sets `on_cancel`, which is called then.
    """

    __slots__ = (
        "_deliver",
        "_on_end",
        "_post",
        "batch_size",
        "cache",
        "cancelled",
        "executing",
        "execution",
        "failed",
        "failures",
        "finished",
        "now",
        "on_cancel",
        "padding",
        "queued_ns",
        "request",
        "thread",
        "times",
        "version",
    )

    def __init__(
        self,
        request: InferRequest,
        version: int,
        deliver: Deliver,
        post: Post,
        thread: int | None = None,
        now: Now = time_ns,
    ) -> None:
        """`thread` is the one on which `deliver` may be called directly: by default the one that makes the call."""
        self.request = request
        #: the time, as the session's clock has it
        self.now = now
        self.version = version
        self.batch_size = 1
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self.failed = False
        #: why the request counts as failed, once for each; where it is empty, `failed` is one failure of the backend.
        #: 2.51 counts a failed ensemble twice, and an iterative sequence that succeeds as one that is cancelled too
        self.failures: tuple[str, ...] = ()
        #: whether it only fills an empty slot of a batch: no client sent it
        self.padding = False
        #: what it did to the response cache, None where it was not looked up
        self.cache: CacheUse | None = None
        #: when a batcher got it, on a steady clock
        self.queued_ns = 0
        #: whether the last response has been sent
        self.finished = False
        #: whether a decoupled model that may have sent its last response is still at work on it, and may yet fail
        self.executing = False
        #: number of requests executed together with this one, counted once per execution (0 on the others)
        self.execution = 0
        self.times = CallTimes(now())
        self.thread = threading.get_ident() if thread is None else thread
        self._deliver = deliver
        self._post = post
        self._on_end: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        stage = "answered" if self.finished else "running" if self.times.compute_start else "queued"
        marks = [stage]
        marks += [name for name in ("executing", "cancelled", "failed", "padding") if getattr(self, name)]
        return f"<Call {self.request.model_name}:{self.version} id={self.request.id!r} {' '.join(marks)}>"

    def respond(self, response: InferResponse | None, *, final: bool) -> None:
        """Send a response to the client; may be called from any thread. After `final` nothing more is sent."""
        if self.finished:
            return
        self.finished = final
        if final and self._on_end:
            self.end()
        deliver = self._deliver
        if final:
            # an exchange holds its call: a reference back to it would keep both, and their tensors, in memory
            self._deliver = _ignore
        if threading.get_ident() == self.thread:
            deliver(response, final)
        else:
            self._post(deliver, response, final)

    def cancel(self) -> None:
        """Say that the client has gone or asked for it. To be called on the event loop."""
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()

    def on_end(self, function: Callable[[], None]) -> None:
        """Call `function` when the last response is sent, on the thread that sends it."""
        self._on_end.append(function)

    def end(self) -> None:
        """Release what is held for this call: it is answered, or will not be executed."""
        while self._on_end:
            self._on_end.pop()()

    def redirect(self, deliver: Deliver) -> Deliver:
        """Send the responses elsewhere from now on; returns where they went."""
        before, self._deliver = self._deliver, deliver
        return before

    def restart(self) -> None:
        """Forget that the call has been executed: it will be executed once more."""
        self.times = CallTimes(self.now())
        self.execution = 0
        self.failed = False
        self.failures = ()
