"""A request to an ensemble that limits how many requests of a step are in flight."""

from collections import deque
from collections.abc import Sequence
from functools import partial

from triton_emulator.backends.ensemble.limits import Lane, StepLimit
from triton_emulator.backends.ensemble.run import Ensemble, Prepared, Run
from triton_emulator.engine.call import Call, CallTimes
from triton_emulator.protocol.messages import InferResponse


class LimitedRun(Run):
    """A request to an ensemble whose steps may have only so many requests in flight.

    `limits` are those of all requests, None where each has its own.
    """

    __slots__ = ("_lane", "_limits")

    def __init__(
        self, limits: Sequence[StepLimit] | None, places: int, ensemble: Ensemble, call: Call
    ) -> None:
        super().__init__(ensemble, call)
        self._limits = limits or [StepLimit(places) for _ in ensemble.plan.steps]
        #: where what happens now came from
        self._lane = Lane()

    def _prepare(self, at: int, number: int) -> Prepared:
        prepared = super()._prepare(at, number)
        lane = Lane()

        def take_now(response: InferResponse | None, final: bool) -> None:
            self._lane = lane
            take(response, final)
            if final:
                self._limits[at].release()

        take = prepared[2].redirect(lambda response, final: lane.do(partial(take_now, response, final)))
        return prepared

    def _submit_all(self, prepared: Sequence[Prepared]) -> None:
        self._submit_in_turn(self._lane, deque(prepared))

    def _submit_in_turn(self, lane: Lane, left: deque[Prepared], *, has_place: bool = False) -> None:
        """Submit all steps that are left, and come back here where one must wait for its place."""
        waited = has_place
        while left:
            limit = self._limits[left[0][0]]
            if self._call.cancelled and not has_place:
                limit.take_anyway()
            elif not (has_place or limit.take(partial(self._resume, lane, left))):
                lane.waits = True
                return
            has_place = False
            if not self._submit(left[0], len(left)):
                limit.release()
                left.clear()
            else:
                left.popleft()
        if waited:
            lane.go_on()

    def _resume(self, lane: Lane, left: deque[Prepared]) -> None:
        left[0][2].times = CallTimes(left[0][2].now())  # its time in the queue begins now
        self._submit_in_turn(lane, left, has_place=True)
