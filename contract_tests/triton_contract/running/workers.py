"""Threads that run groups of cases, each over a pair of servers of its own, until none is left or the run is to end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from triton_contract.cases.case import Case
from triton_contract.cases.operations import operation_of
from triton_contract.comparing.compare import Outcome, Verdict
from triton_contract.comparing.judge import everywhere
from triton_contract.comparing.results import CaseResult
from triton_contract.process import ServerFailed
from triton_contract.targets import TargetUnavailable

from .groups import Group
from .pair import Pair
from .stop import Stop

LOOK_SECONDS = 0.1
"""How often (seconds) to look whether the run is to end."""
GRACE_SECONDS = 5.0
"""How long (seconds) a case may still take when the run is to end. Its servers are stopped, but one that we did not
start may leave it waiting for a minute."""


class Workers:
    """`pair` makes the servers of a group. `on_result` is told each result, by the thread that has it."""

    def __init__(
        self,
        groups: Iterable[Group],
        pair: Callable[[], Pair],
        stop: Stop,
        on_result: Callable[[CaseResult], None] | None = None,
    ) -> None:
        self._waiting = deque(groups)
        self._pair = pair
        self._stop = stop
        self._on_result = on_result
        self._found: dict[str, CaseResult] = {}
        self._running: list[Pair] = []
        self._failures: list[Exception] = []

    def run(self, jobs: int) -> dict[str, CaseResult]:
        """The results by case id, of the cases that were asked. Raises what went wrong in a thread."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.reason and _are_alive(threads):
                threads[-1].join(LOOK_SECONDS)
        except BaseException:
            self._stop.ask("the run was broken off")
            raise
        finally:
            self._finish(threads)
        if self._failures:
            raise self._failures[0]
        return dict(self._found)

    def _finish(self, threads: list[threading.Thread]) -> None:
        deadline = time.monotonic() + GRACE_SECONDS
        while _are_alive(threads) and time.monotonic() < deadline:
            for pair in list(self._running):
                pair.break_off()
            threads[-1].join(LOOK_SECONDS)

    def _work(self) -> None:
        try:
            while not self._stop.reason:
                try:
                    group = self._waiting.popleft()
                except IndexError:
                    return
                self._run_group(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            if not self._stop.reason:  # else it comes from the servers that were stopped under a case
                self._failures.append(error)
                self._stop.ask(f"{type(error).__name__}: {error}")

    def _run_group(self, group: Group) -> None:
        (repository, flags), members = group
        pair = self._pair()
        self._running.append(pair)
        try:
            if self._begins(pair, repository, flags, members):
                self._run_cases(pair, members)
        finally:
            self._running.remove(pair)
            pair.end()

    def _begins(self, pair: Pair, repository: str, flags: tuple[str, ...], members: list[Case]) -> bool:
        """Whether the servers have started. Where one fails, all cases of the group differ."""
        try:
            pair.begin(repository, flags)
        except TargetUnavailable as error:
            self._stop.ask(str(error))
        except ServerFailed as failure:
            verdicts = everywhere(Verdict(Outcome.DIFFERENT, str(failure)))
            for case in members:
                self._keep(CaseResult(case.id, operation_of(case), verdicts))
        else:
            return True
        return False

    def _run_cases(self, pair: Pair, members: list[Case]) -> None:
        for case in members:
            if self._stop.reason:
                return
            began = time.monotonic()
            try:
                result = pair.run(case)
            except TargetUnavailable as error:
                self._stop.ask(str(error))
                return
            self._keep(replace(result, seconds=round(time.monotonic() - began, 3)))
            if result.failed and (reason := pair.lost(case)):
                self._stop.ask(reason)

    def _keep(self, result: CaseResult) -> None:
        """Keep a result, unless the run is to end: then the servers may have been stopped under the case."""
        if self._stop.reason:
            return
        self._found[result.case] = result
        if self._on_result is not None:
            self._on_result(result)


def _are_alive(threads: Iterable[threading.Thread]) -> bool:
    return any(thread.is_alive() for thread in threads)
