"""`preserve_ordering`: responses leave in the order in which their requests came."""

from collections import deque

from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.schedulers.plain import Scheduler
from triton_emulator.protocol.messages import InferResponse


class _Slot:
    """The responses to one request, kept until those to the requests before it are out."""

    __slots__ = ("deliver", "final", "kept")

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.kept: deque[tuple[InferResponse | None, bool]] = deque()
        self.final = False


class OrderedScheduler:
    """Another scheduler, whose responses are put in order on the event loop."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._slots: deque[_Slot] = deque()

    @property
    def any_thread(self) -> bool:
        return self._scheduler.any_thread

    @property
    def pending(self) -> int:
        return self._scheduler.pending

    def submit(self, call: Call) -> None:
        slot = _Slot(call.redirect(lambda response, final: self._take(slot, response, final=final)))
        self._slots.append(slot)
        try:
            self._scheduler.submit(call)
        except BaseException:
            self._slots.remove(slot)
            raise

    def _take(self, slot: _Slot, response: InferResponse | None, *, final: bool) -> None:
        slot.kept.append((response, final))
        slot.final = final
        slots = self._slots
        while slots and slots[0].kept:
            first = slots[0]
            if first.final:
                slots.popleft()
            while first.kept:
                first.deliver(*first.kept.popleft())
            if not first.final:
                return

    def stop(self) -> None:
        self._scheduler.stop()
