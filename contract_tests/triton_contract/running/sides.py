"""The two kinds of side that answer cases: a live target, and the recorded answers of a real server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from triton_contract.cases.case import Case, Step
from triton_contract.cases.load import MODELS
from triton_contract.clients.exchange import Exchange
from triton_contract.playing import repository_files
from triton_contract.playing.observation import SHARED_MEMORY, Observation
from triton_contract.playing.play import play, recount
from triton_contract.playing.statistics import SETTLE_PAUSE
from triton_contract.process import DEATH_SECONDS
from triton_contract.targets import Target

RECORD_PAUSE = 0.7
"""Seconds between two equal readings of the statistics while answers are recorded. 2.51 counts its first decoupled
request some 40 ms after its answer. 2.48 and 2.50 count one of a model with response senders half a second after it."""
COMPARE_PAUSE = 0.1
"""The same while a server is compared with recorded answers. What it counts later shows as a difference, and is read
again. Each case waits so long."""
SILENCE_SECONDS = 8.0
"""How long (seconds) to wait for an answer that a recorded reference never gave. Models that wait for idle sequences do
so for five seconds, and that must have happened by then."""
_HARMLESS = ("silent", SHARED_MEMORY)


class Side(Protocol):
    """Answers the cases of one group: `begin`, then `observe` for each case, then `end`."""

    def begin(self, repository: Path, flags: Sequence[str]) -> None: ...
    def limit(self, case: Case) -> str:
        """Why the case cannot be asked of this side, which makes it unproven; "" where it can."""

    def observe(self, case: Case) -> Observation: ...
    def again(self, seen: Observation) -> Observation:
        """The observation with its statistics read again."""

    def renew(self) -> None:
        """Use a newly started server for the next case."""

    def lost(self, case: Case) -> str:
        """Why no case can be asked after this one; "" where one can."""

    def end(self) -> None: ...


class LiveSide:
    """A target. Its server is started anew when a case asks for that, and after the server died."""

    def __init__(self, target: Target, *, settle_pause: float = SETTLE_PAUSE) -> None:
        self.target = target
        self._settle_pause = settle_pause
        self._started = self._used = self._stale = False
        self._repository, self._flags = MODELS, list[str]()

    def __repr__(self) -> str:
        return f"<LiveSide {self.target!r}>"

    def begin(self, repository: Path, flags: Sequence[str]) -> None:
        """Start the target; `{models}` in a flag is the folder that all repositories are in.

        A target that cannot be given the flags is not started: its limits cover every case of the group.
        """
        self._repository = repository
        self._flags = [flag.replace("{models}", str(MODELS)) for flag in flags]
        self._used = self._stale = False
        if self.target.can_start(flags):
            self.target.start(repository, self._flags)
            self._started = True

    def limit(self, case: Case) -> str:
        return self.target.limit(case)

    def observe(self, case: Case) -> Observation:
        if reason := self.limit(case):
            return Observation((), unproven=reason)
        if case.edits:
            return self._observe_over_a_copy(case)
        if not self._started:
            self.begin(self._repository, self._flags)
        if self._stale or (self._used and (case.needs_fresh_server or case.isolated)):
            self.target.restart()
            self._stale = False
        self._used = True
        return self._play(case)

    def _observe_over_a_copy(self, case: Case) -> Observation:
        with repository_files.copied(self._repository) as copy:
            self.target.stop()
            self.target.start(copy, self._flags)
            try:
                return self._play(case, copy)
            finally:
                self.target.stop()
                self._started = False

    def _play(self, case: Case, repository: Path | None = None) -> Observation:
        seen = play(
            case,
            self.target.http,
            self.target.metrics,
            self.target.grpc,
            repository=repository,
            settle_pause=self._settle_pause,
        )
        death = self.target.death(within=DEATH_SECONDS if _looks_dead(case, seen) else 0.0)
        return seen if death is None else replace(seen, death=str(death), counts=None)

    def again(self, seen: Observation) -> Observation:
        return recount(seen, self.target.http)

    def renew(self) -> None:
        self._stale = True

    def lost(self, case: Case) -> str:
        fault = self.target.lost()
        return fault and f"target {self.target.name} was lost at {case.id}: {fault}"

    def end(self) -> None:
        self.target.stop()


def _looks_dead(case: Case, seen: Observation) -> bool:
    """Whether the server may be about to die: the connection of a plain request was cut or refused.

    Cases of literal bytes do not count, for a server closes their connections on purpose. Nor does silence: a server
    that does not answer is alive.
    """
    if any(step.is_raw or step.half_close for step in case.steps):
        return False
    return any(each.response is None and each.ending not in _HARMLESS for each in seen.exchanges)


def hurried(case: Case, expected: Observation) -> Case:
    """The case, which waits SILENCE_SECONDS for what the reference never answered.

    It was waited for as long as an answer may take (PATIENCE) when it was recorded.
    """
    silent = unanswered(case, expected)
    places, names = {id(step) for step in silent}, {step.answer_of for step in silent} - {None}

    def changed(step: Step) -> Step:
        if not (id(step) in places or step.in_background in names):
            return step
        return step.model_copy(update={"timeout": SILENCE_SECONDS})

    return case.model_copy(update={"steps": tuple(map(changed, case.steps))}) if silent else case


def unanswered(case: Case, seen: Observation) -> list[Step]:
    """The steps that were waited for as long as an answer may take (PATIENCE), in vain.

    What the case left behind may then wait for ever, as a model that works on until its client goes on. The next case
    needs another server. A step that says itself how long it waits expects silence.
    """
    answers = zip(case.answered, seen.exchanges, strict=False)
    return [step for step, exchange in answers if not _is_limited(case, step) and _never_ended(exchange)]


def _is_limited(case: Case, step: Step) -> bool:
    started = [other for other in case.steps if step.answer_of and other.in_background == step.answer_of]
    return any(each.is_limited for each in (step, *started))


def _never_ended(exchange: Exchange) -> bool:
    late = exchange.response is not None and exchange.response.reason == "DEADLINE_EXCEEDED"
    return late or exchange.ending == "silent"


class RecordedSide:
    """The recorded answers of a real server, by case id."""

    def __init__(self, observations: Mapping[str, Observation]) -> None:
        self._observations = observations

    def __repr__(self) -> str:
        return f"<RecordedSide of {len(self._observations)} cases>"

    def begin(self, repository: Path, flags: Sequence[str]) -> None:
        """Do nothing: there is no server."""

    def limit(self, case: Case) -> str:
        seen = self._observations.get(case.id)
        return "" if seen is None else seen.unproven

    def observe(self, case: Case) -> Observation:
        if case.id not in self._observations:
            raise LookupError(
                f"no recorded answer to {case.id}: run `triton-contract record --http-case {case.id}`"
            )
        return self._observations[case.id]

    def again(self, seen: Observation) -> Observation:
        return seen

    def renew(self) -> None:
        """Do nothing: there is no server."""

    def lost(self, case: Case) -> str:
        return ""

    def end(self) -> None:
        """Do nothing: there is no server."""
