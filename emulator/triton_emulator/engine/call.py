"""One request on its way through a model, and the way back for its responses."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import time_ns

from triton_emulator.protocol.messages import InferRequest, InferResponse

#: Takes a response (None where only the final flag arrives) and whether it is the last. Called on the event loop.
Deliver = Callable[[InferResponse | None, bool], None]
#: Passes a response from any thread to the event loop.
Post = Callable[[Deliver, InferResponse | None, bool], None]


@dataclass(slots=True)
class CacheUse:
    """What one request did to the response cache; durations are nanoseconds.

    `inserted` is None where its response was not offered to the cache, or one was there already; else how many others
    made way for it.
    """

    hit: bool
    lookup_ns: int
    inserted: int | None = None
    insertion_ns: int = 0


class Call:
    """One request on its way through a model, and the way back for its responses.

    A backend reads `request`, sets the `*_ns` marks around its work (nanoseconds of the epoch, 0 where not reached)
    and answers through `respond`, from any thread, once or many times; the last time with `final=True`.
    `cancelled` turns True when the client has gone or asked for it: long work should look at it.
    """

    __slots__ = (
        "_deliver",
        "_ended",
        "_post",
        "batch_size",
        "cache",
        "cancelled",
        "compute_end_ns",
        "compute_input_end_ns",
        "compute_output_start_ns",
        "compute_start_ns",
        "executing",
        "execution",
        "failed",
        "failures",
        "finished",
        "padding",
        "queue_start_ns",
        "queued_ns",
        "request",
        "thread",
        "version",
    )

    def __init__(self, request: InferRequest, version: int, deliver: Deliver, post: Post) -> None:
        self.request = request
        self.version = version
        self.batch_size = 1
        self.cancelled = False
        self.failed = False
        #: why the request counts as failed, once for each; where it is empty, `failed` is one failure of the backend.
        #: 2.51 counts a failed ensemble twice, and an iterative sequence that succeeds as one that is cancelled too
        self.failures: tuple[str, ...] = ()
        #: whether this is no request of anybody's: it fills a place in a batch
        self.padding = False
        #: what became of it in the response cache, None where it was not looked up
        self.cache: CacheUse | None = None
        #: when a batcher got it, on a steady clock
        self.queued_ns = 0
        self.finished = False
        #: whether a decoupled model that may have sent its last response is still at work on it, and may yet fail
        self.executing = False
        #: number of requests executed together with this one, counted once per execution (0 on the others)
        self.execution = 0
        self.queue_start_ns = time_ns()
        self.compute_start_ns = 0
        self.compute_input_end_ns = 0
        self.compute_output_start_ns = 0
        self.compute_end_ns = 0
        self.thread = threading.get_ident()
        self._deliver = deliver
        self._post = post
        self._ended: list[Callable[[], None]] = []

    def respond(self, response: InferResponse | None, *, final: bool) -> None:
        """Send a response to the client; may be called from any thread. After `final` nothing more is sent."""
        if self.finished:
            return
        self.finished = final
        if final and self._ended:
            self.end()
        if threading.get_ident() == self.thread:
            self._deliver(response, final)
        else:
            self._post(self._deliver, response, final)

    def on_end(self, function: Callable[[], None]) -> None:
        """Call `function` when the last response is sent, on the thread that sends it."""
        self._ended.append(function)

    def end(self) -> None:
        """Let go of what is held for this call: it is answered, or will not be executed."""
        while self._ended:
            self._ended.pop()()

    def redirect(self, deliver: Deliver) -> Deliver:
        """Send the responses elsewhere from now on; returns where they went."""
        before, self._deliver = self._deliver, deliver
        return before

    def restart(self) -> None:
        """Forget that the call has been executed: it will be once more."""
        self.queue_start_ns = time_ns()
        self.compute_start_ns = self.compute_input_end_ns = 0
        self.compute_output_start_ns = self.compute_end_ns = 0
        self.execution = 0
        self.failed = False
        self.failures = ()
