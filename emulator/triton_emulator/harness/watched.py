"""What `Emulator` and `Session` offer to a test: plans, the journal, and what was wrong at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from triton_emulator.clock import Clock
from triton_emulator.harness.arguments import named
from triton_emulator.harness.criteria import Criteria, Predicate
from triton_emulator.harness.fault import Fault
from triton_emulator.harness.harness import Harness
from triton_emulator.harness.near_miss import Expected, failure
from triton_emulator.harness.plans import Plan
from triton_emulator.harness.requests import Requests
from triton_emulator.harness.stubs import Stub
from triton_emulator.harness.verdict import Verdict, judge


class WatchedState(Protocol):
    """What a session has for tests."""

    harness: Harness | None
    clock: Clock

    def reset_harness(self) -> None: ...


class Watched:
    """The part of an emulator or a session that is for tests. All of it may be called on any thread."""

    @property
    def _watched_state(self) -> WatchedState:
        raise NotImplementedError

    def _watched(self) -> Harness:
        harness = self._watched_state.harness
        if harness is None:
            raise RuntimeError("the journal is off (journal_requests=0), and with it plans and requests")
        return harness

    def reset(self) -> None:
        """Forget all requests, plans, stubs and problems, as at the start: those of files and flags are made anew.

        Latencies that the control API has set are again those of `emulator.yaml`. What is allowed stays so. Models,
        statistics and shared memory stay as they are; a session of its own has its own. What `requests` gave before
        this shows the requests until now.
        """
        self._watched()
        self._watched_state.reset_harness()

    @named
    def inject(
        self,
        fault: Fault,
        *,
        operation: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
        protocol: str | None = None,
        headers: Mapping[str, Any] | None = None,
        where: Predicate | None = None,
        times: int | None = 1,
        after: int = 0,
        probability: float | None = None,
    ) -> Plan:
        """Let a fault happen to the requests that fit: `times` of them (None: all), `after` so many have passed.

        `operation` is a name as "infer", `protocol` is "http" or "grpc". A header's value is a text, a compiled pattern
        that matches somewhere, or None for any. `where` is a function of the entry of the journal; it runs on the
        emulator's thread, so it cannot wait for the emulator. `probability` is the chance of each request; the same
        seed gives the same choice.

        Plans are tried in the order in which they were made, and each request meets at most one. Raises ValueError
        where the fault makes no sense for the operation or the protocol, TypeError for another type.
        """
        criteria = Criteria.of(
            operation, model, version, protocol, headers, where, self._watched().journal.secrets
        )
        return self._watched().plans.add(fault, criteria, times=times, after=after, probability=probability)

    @property
    def clock(self) -> Clock:
        """The clock of what is modelled, measured and waited for: `triton.clock.advance(3.0)`, where it is virtual."""
        return self._watched_state.clock

    @property
    def plans(self) -> Sequence[Plan]:
        """The plans that are in force, in the order in which they are tried."""
        return list(self._watched().plans)

    @property
    def requests(self) -> Requests:
        """All requests that have come, with their answers, in their order."""
        return Requests(self._watched().journal)

    @named
    def when(
        self,
        operation: str | None = None,
        *,
        model: str,
        version: str | int | None = None,
        protocol: str | None = None,
        headers: Mapping[str, Any] | None = None,
        where: Predicate | None = None,
        inputs: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Stub:
        """A stub for the inferences of a model that fit, to be given its answer: `triton.when(...).respond(...)`.

        `inputs` are arrays (or lists) by their names: datatype, shape and elements are to be equal where they are
        arrays, the elements alone where they are lists. The other arguments are those of `inject`. The newest stub that
        fits answers. A model that is in no repository is served, in version 1, while a stub names it.

        Raises TypeError and ValueError for what means nothing, and where the model's config has no such input.
        """
        criteria = Criteria.of(
            operation, model, version, protocol, headers, where, self._watched().journal.secrets
        )
        return self._watched().stubs.add(Expected(criteria, inputs or {}, parameters or {}))

    @property
    def stubs(self) -> Sequence[Stub]:
        """The stubs, in the order in which they are tried."""
        return list(self._watched().stubs)

    @named
    def assert_requested(
        self,
        operation: str | None = None,
        *,
        model: str | None = None,
        version: str | int | None = None,
        protocol: str | None = None,
        headers: Mapping[str, Any] | None = None,
        where: Predicate | None = None,
        inputs: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> Requests:
        """Fail with AssertionError unless such a request has come: at least once, or exactly `times`.

        `inputs` are arrays (or lists) by their names: datatype, shape and elements are to be equal where they are
        arrays, the elements alone where they are lists. `parameters` are to be there with these values. The text of the
        failure shows the requests that come nearest, with what is different. Returns the requests that fit.
        """
        criteria = Criteria.of(
            operation, model, version, protocol, headers, where, self._watched().journal.secrets
        )
        expected = Expected(criteria, inputs or {}, parameters or {}, times)
        fitting = self.requests.where(where=expected.fits)
        if text := failure(expected, self.requests):
            raise AssertionError(text)
        return fitting

    @named
    def verdict(self, *, ignore: Collection[str] = ()) -> Verdict:
        """What the client did wrong, as far as the requests that have come show it.

        `ignore` names rules that are not wanted. Raises ValueError for a name that is no rule.
        """
        return judge(self.requests, self.clock.real_seconds, ignore)

    def allow(self, *problems: str) -> None:
        """Do not fail the test at its end for these: "unfired", "unused", "unknown", "exceptions".

        They are plans that did not fire, stubs that were not used, requests for what is not there, and handlers that
        failed.

        Raises ValueError for another word.
        """
        self._watched().allow(*problems)

    def check(self) -> None:
        """Raise AssertionError if there are `problems`, as the pytest fixture `triton` does after its test."""
        if problems := self.problems():
            raise AssertionError("\n".join(problems))

    def problems(self) -> Sequence[str]:
        """What a test should be failed for when it ends, as texts.

        These are plans that did not fire or complete, stubs that were not used, requests for paths and models that are
        not there, and handlers that failed.
        """
        return list(self._watched().problems())
