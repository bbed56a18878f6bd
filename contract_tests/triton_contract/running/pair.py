"""Two sides over one group of cases: both play each case, and the observations are compared.

When the reference dies although the case does not say so, the case is played again, because some deaths of the real
server happen by chance. What a death means for the outcome is in `comparing/judge.py`.

Statistics need care. A real server counts some requests a moment after it has answered, so a difference is read again
for a while; and what was counted too late for one case falls into the next one (see `_judge`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace

from triton_contract.cases.case import Case
from triton_contract.cases.load import MODELS
from triton_contract.cases.operations import operation_of
from triton_contract.comparing.compare import EQUAL, Outcome, Verdict
from triton_contract.comparing.divergences import Divergence, apply
from triton_contract.comparing.evidence import DEFAULT_ADDRESS, evidence_of
from triton_contract.comparing.judge import everywhere, is_sound, judge
from triton_contract.comparing.redaction import redact
from triton_contract.comparing.results import CaseResult
from triton_contract.playing.observation import Counts, Observation
from triton_contract.playing.statistics import delta
from triton_contract.process import POLL_SECONDS
from triton_contract.reference import DEFAULT_VERSION
from triton_contract.targets import TargetUnavailable

from .sides import RecordedSide, Side, hurried, unanswered

RECOUNT_SECONDS = 5.0
"""Seconds for which two servers' statistics may differ before they count as different: a busy server counts late."""
RECOUNT_PAUSE = 0.02
DEATHS = 10
"""How often the reference may die in one case before the death counts. A server of 2.51 aborts by chance, more often
on a busier machine: while it answers a gRPC stream (an assertion of its own, proto_buffer_writer.h:65), and after a
`pb_utils.load_model` that failed (freeing its message throws; nearly every server within its first few such loads).
"""
CORRUPT = "its answer was not the sound one that the case names"


class Pair:
    """Two sides over one group of cases."""

    def __init__(
        self,
        expected: Side,
        actual: Side,
        divergences: tuple[Divergence, ...] = (),
        *,
        alike: bool = False,
        version: str = DEFAULT_VERSION,
        address: str = DEFAULT_ADDRESS,
    ) -> None:
        """`alike`: both sides are the same kind of server, which may crash on the same case.

        `version` is the reference's. What a case says of crashes holds for the default one; another may answer. A
        divergence may hold from a version on. `address` is the target's, in the commands that repeat a difference.
        """
        self._must_crash = version == DEFAULT_VERSION
        self._sides = (expected, actual)
        self._alike = alike
        self._address = address
        self._divergences = tuple(row for row in divergences if row.concerns(version))
        self._pool = ThreadPoolExecutor(2)
        self._gaps: list[Counts] = [{}]
        """The differences between the sides' statistics that were read since both servers started, which starts with
        none."""

    def __repr__(self) -> str:
        expected, actual = self._sides
        return f"<Pair expected={expected!r} actual={actual!r}>"

    def begin(self, repository: str, flags: Sequence[str]) -> None:
        """Start both sides. Raises ServerFailed or TargetUnavailable as soon as one of them does not start."""
        starts = [self._pool.submit(side.begin, MODELS / repository, flags) for side in self._sides]
        try:
            wait(starts, return_when=FIRST_EXCEPTION)
            for start in starts:
                if start.done():
                    start.result()
        except BaseException:
            # A side that has not yet made its process does not notice an end, so it is ended until its start is over.
            while wait(starts, timeout=POLL_SECONDS).not_done:
                for side in self._sides:
                    side.end()
            self.end()
            raise

    def run(self, case: Case) -> CaseResult:
        """Play the case on both sides and compare.

        When the reference dies and the case does not say so, the case is played again (see DEATHS): a target cannot
        be equal to a death by chance, but it can be equal to the answer of a reference that stays alive. An answer that
        is not sound (`Case.sound_answer`) counts as a death.

        Raises TargetUnavailable when the reference is a server that cannot be started anew, and was lost.
        """
        for side in self._sides:
            if reason := side.limit(case):
                return CaseResult(case.id, operation_of(case), everywhere(Verdict(Outcome.UNPROVEN, reason)))
        for _ in range(DEATHS):
            result = self._once(case)
            if (result.failed or result.crash) and (reason := self._sides[0].lost(case)):
                raise TargetUnavailable(reason)
            if case.crashes_reference or not result.crash:
                break
        return result

    def lost(self, case: Case) -> str:
        """Why the target cannot be asked a case after this one, which was run last; "" where it can."""
        return self._sides[1].lost(case)

    def _once(self, case: Case) -> CaseResult:
        reference, target = self._sides
        if isinstance(reference, RecordedSide):
            expected = reference.observe(case)
            actual = target.observe(hurried(case, expected))
        else:
            # One after the other: two servers would write to the same shared memory object.
            observe = map if case.shared_memory else self._pool.map
            expected, actual = observe(lambda side: side.observe(case), self._sides)
        if case.needs_fresh_server or case.isolated or case.edits:
            self._gaps = [{}]
        result = self._judge(case, expected, actual)
        deadline = time.monotonic() + RECOUNT_SECONDS
        while _miscounted(result) and time.monotonic() < deadline:
            time.sleep(RECOUNT_PAUSE)
            expected, actual = (s.again(o) for s, o in zip(self._sides, (expected, actual), strict=True))
            result = self._judge(case, expected, actual)
        gap = _gap(expected.after, actual.after)
        if gap is not None and gap not in self._gaps:
            self._gaps.append(gap)
        if not is_sound(case, expected):
            result = replace(result, crash=CORRUPT)
        silent = unanswered(case, expected) or unanswered(case, actual)
        if case.isolated or result.crash or actual.death or silent:
            self.renew()
        return result

    def _judge(self, case: Case, expected: Observation, actual: Observation) -> CaseResult:
        verdicts = judge(case, expected, actual, alike=self._alike, must_crash=self._must_crash)
        after = _gap(expected.after, actual.after)
        if after is not None and after in (*self._gaps, _gap(expected.before, actual.before)):
            # A count of an earlier case came late and fell into this one, perhaps on one side only. It may come after
            # several more cases, so each earlier gap counts. The case that opened a gap by a fault was told of it.
            verdicts["statistics"] = EQUAL
        verdicts = {
            axis: replace(verdict, detail=redact(verdict.detail))
            for axis, verdict in apply(case.id, verdicts, self._divergences).items()
        }
        shown = any(each.outcome in (Outcome.DIFFERENT, Outcome.DIVERGENCE) for each in verdicts.values())
        evidence = evidence_of(case, expected, actual, self._address) if shown else ()
        crash = (expected.death or "").split("\n")[0]
        return CaseResult(case.id, operation_of(case), verdicts, crash, evidence)

    def renew(self) -> None:
        """Use newly started servers for the next case."""
        self._gaps = [{}]
        for side in self._sides:
            side.renew()

    def end(self) -> None:
        list(self._pool.map(lambda side: side.end(), self._sides))
        self._pool.shutdown()

    def break_off(self) -> None:
        """Stop the servers while another thread runs a case: its answers end early, and say nothing."""
        for side in self._sides:
            side.end()


def _gap(expected: Counts | None, actual: Counts | None) -> Counts | None:
    return None if expected is None or actual is None else delta(actual, expected)


def _miscounted(result: CaseResult) -> bool:
    verdict = result.verdicts.get("statistics")
    return verdict is not None and verdict.outcome is Outcome.DIFFERENT
