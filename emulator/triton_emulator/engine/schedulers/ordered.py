"""`preserve_ordering`: responses are delivered in the order in which their requests arrived."""

from collections import deque

from triton_emulator.engine.call import Call, Deliver
from triton_emulator.engine.schedulers.plain import Scheduler
from triton_emulator.protocol.messages import InferResponse


class _Slot:
    """The responses to one request, held back until all earlier requests have been answered."""

    __slots__ = ("deliver", "final", "held")

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.held: deque[tuple[InferResponse | None, bool]] = deque()
        self.final = False


class OrderedScheduler:
    """Wraps a scheduler and puts its responses in order, on the event loop."""

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
        slot.held.append((response, final))
        slot.final = final
        slots = self._slots
        while slots and slots[0].held:
            first = slots[0]
            if first.final:
                slots.popleft()
            while first.held:
                first.deliver(*first.held.popleft())
            if not first.final:
                return

    def stop(self) -> None:
        self._scheduler.stop()
