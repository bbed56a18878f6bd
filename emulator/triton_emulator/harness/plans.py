"""Plans: a fault, the requests that it is for, how often, and what has become of it.

Plans are tried in the order in which they were made, and a request takes the first that fits. They are made and removed
on a test's threads and tried on the event loop: the list of them is replaced, never changed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

from triton_emulator.engine.call import Now
from triton_emulator.harness.criteria import Criteria
from triton_emulator.harness.errors import NeedsModels
from triton_emulator.harness.fault import Fault
from triton_emulator.harness.journal import JournalEntry
from triton_emulator.harness.operations import OPERATIONS
from triton_emulator.harness.parts import Alter, NotReady, Script, TruncatedBinary

#: seconds: a plan that lasts longer lasts as long
_LONGEST = 1e10


class Plan:
    """A fault with the requests that it is for. `inject` makes it.

    `fired` is how many requests have met it, `completed` on how many of them all of the fault has taken place: a cut
    after five events does not take place in an answer of three. A wait takes place when it begins, so that a client
    may give up meanwhile.
    """

    def __init__(
        self,
        fault: Fault,
        criteria: Criteria,
        *,
        times: int | None = 1,
        after: int = 0,
        probability: float | None = None,
        standing: bool = False,
        number: int = 1,
        now: Now,
        seed: object = 0,
        remove: Callable[[Plan], None],
    ) -> None:
        #: from 1 on, in the order in which the plans of a session were made
        self.number = number
        self.fault = fault
        self.criteria = criteria
        self.times = times
        self.after = after
        self.probability = probability
        #: whether it is for every test, as that of a file: no test is told that it has not fired
        self.standing = standing
        self.fired = 0
        self.completed = 0
        #: the requests that the plan is for, whether they met it or passed
        self.seen = 0
        #: what `where` raised
        self.mistake: BaseException | None = None
        #: the parts that did not take place, of the last request on which the fault was not complete
        self.missed: list[str] = []
        self._remove = remove
        self._chance = random.Random(f"{seed}") if probability is not None else None
        lasting = [part for part in fault.parts if isinstance(part, NotReady)]
        if lasting and lasting[0].uses is not None:
            self.times = lasting[0].uses
        elif lasting:
            self.times = None
        self._now = now
        seconds = lasting[0].seconds if lasting else None
        self._ends = None if seconds is None else now() + round(min(seconds, _LONGEST) * 1e9)

    def __repr__(self) -> str:
        limit = "for ever" if self.times is None else f"times={self.times}"
        rest = "".join(
            f", {name}={value}"
            for name, value in (("after", self.after), ("probability", self.probability))
            if value
        )
        return f"<Plan {self.fault} for {self.criteria}, {limit}{rest}: fired {self.fired}, completed {self.completed}>"

    def remove(self) -> None:
        """Let no further request meet it. A plan that is removed is not judged at the end of a test."""
        self._remove(self)

    def take(self, entry: JournalEntry) -> Script | None:
        """The fault at work on this request, None where the request does not meet it. On the event loop."""
        if self.times is not None and self.fired >= self.times:
            return None
        if self._ends is not None and self._now() >= self._ends:
            return None
        kind = OPERATIONS.get(entry.operation)
        if kind is None or not all(part.fits(kind, entry.protocol) for part in self.fault.parts):
            return None
        try:
            if not self.criteria.fits(entry):
                return None
        except BaseException as mistake:  # noqa: BLE001  (of the test: it is told there, and the server goes on)
            # pytest.fail and sys.exit raise what is no Exception, and would end the emulator's thread
            self.mistake = mistake
            return None
        self.seen += 1
        if self.seen <= self.after:
            return None
        if self._chance is not None and self._chance.random() >= (self.probability or 0.0):
            return None
        self.fired += 1
        return Script(self.fault.parts, self._complete)

    def _complete(self) -> None:
        self.completed += 1

    def settle(self, script: Script) -> None:
        """A request that met the plan has its answer."""
        if not script.complete:
            self.missed = script.missed

    def problems(self) -> Iterator[str]:
        """What a test that made the plan and has ended would want to know."""
        plan = f"the plan {self.fault} for {self.criteria}"
        if self.mistake is not None:
            yield f"{plan}: its `where` raised {type(self.mistake).__name__}: {self.mistake}"
        elif self.probability is None and self.times is not None and self.fired < self.times:
            met = f"{self.seen} fitting requests came" + (
                f", the first {self.after} pass" if self.after else ""
            )
            yield f"{plan} fired {self.fired} of {self.times} times: {met}"
        elif not self.seen:
            yield f"{plan} never fired: no fitting request came"
        if self.completed < self.fired:
            missed = f": {', '.join(self.missed)} did not happen" if self.missed else ""
            yield f"{plan} fired {self.fired} times and completed {self.completed} times{missed}"


class Plans:
    """The plans of one session."""

    def __init__(self, seed: int, now: Now, *, passes: bool = False) -> None:
        """`passes` says that the answers are those of a real server, which pass as they are."""
        self._seed = seed
        self._now = now
        self._passes = passes
        self._made = 0
        self._plans: tuple[Plan, ...] = ()
        #: held by the threads of a test that replace the plans, never by the event loop
        self._changing = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._plans)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans)

    def add(
        self,
        fault: Fault,
        criteria: Criteria,
        *,
        times: int | None = 1,
        after: int = 0,
        probability: float | None = None,
        standing: bool = False,
    ) -> Plan:
        """Make a plan. Raises TypeError or ValueError for what means nothing."""
        check_plan(fault, criteria, times=times, after=after, probability=probability)
        changing = [part.text for part in fault.parts if isinstance(part, Alter | TruncatedBinary)]
        if self._passes and changing:
            raise NeedsModels(
                f"{changing[0]} changes what a model answers; the answers of an upstream pass as they are"
            )
        with self._changing:
            self._made += 1
            plan = Plan(
                fault,
                criteria,
                times=times,
                after=after,
                probability=probability,
                standing=standing,
                number=self._made,
                now=self._now,
                seed=(self._seed, self._made),
                remove=self._remove,
            )
            self._plans = (*self._plans, plan)
        return plan

    def _remove(self, plan: Plan) -> None:
        with self._changing:
            self._plans = tuple(each for each in self._plans if each is not plan)

    def choose(self, entry: JournalEntry) -> tuple[Plan, Script] | None:
        """The first plan that the request meets."""
        for plan in self._plans:
            if (script := plan.take(entry)) is not None:
                return plan, script
        return None


def check_plan(
    fault: Fault,
    criteria: Criteria,
    *,
    times: int | None = 1,
    after: int = 0,
    probability: float | None = None,
) -> None:
    """Raise TypeError or ValueError for a plan that means nothing."""
    if not isinstance(fault, Fault):
        raise TypeError(
            f"a fault is made by triton_emulator.fault, for example fault.error(503), not {fault!r}"
        )
    fault.check(criteria.operation, criteria.protocol)
    check_limits(times, after, probability)
    if times != 1 and any(isinstance(part, NotReady) for part in fault.parts):
        raise ValueError(f"{fault} says how long it lasts; leave `times` out")


def check_limits(times: int | None = 1, after: int = 0, probability: float | None = None) -> None:
    """Raise ValueError for one that means nothing."""
    _check_count("times", times, 1)
    _check_count("after", after, 0)
    if probability is not None and (type(probability) not in (int, float) or not 0 < probability <= 1):
        raise ValueError(f"probability is above 0 and at most 1, not {probability!r}")


def _check_count(name: str, value: object, least: int) -> None:
    if name == "times" and value is None:
        return
    if type(value) is not int or value < least:
        none = " (None, in a file null, is for ever)" if name == "times" else ""
        raise ValueError(f"{name} is a whole number, {least} or more{none}, not {value!r}")
