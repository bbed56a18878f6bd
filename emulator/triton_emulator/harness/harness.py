"""The harness of one session: its journal, its plans, and what a test is to be told at its end."""

from __future__ import annotations

from collections.abc import Iterator
from traceback import TracebackException

from triton_emulator.harness.cassettes.writing import Recorder
from triton_emulator.harness.given_files import Given
from triton_emulator.harness.journal import HTTP_OK, Journal, JournalEntry
from triton_emulator.harness.plans import Plans
from triton_emulator.harness.stubs import Models, Stubs

#: what fails a test at its end unless it is allowed
PROBLEMS = ("unfired", "unused", "unknown", "exceptions")
#: problems of one kind that are told
_MOST_TEXTS = 20


class Harness:
    """Made with the session that it belongs to."""

    def __init__(
        self,
        journal: Journal,
        seed: int,
        models: Models,
        given: Given,
        *,
        passes: bool = False,
        allowed: set[str] | None = None,
    ) -> None:
        """`given` are the plans and stubs that stand from the start.

        `passes` says that the answers are those of a real server, which pass as they are. Raises SettingsError for a
        stub that no model can have.
        """
        self.journal = journal
        #: writes what has passed into a cassette; None where nothing is recorded
        self.recorder: Recorder | None = None
        self.plans = Plans(seed, journal.now, passes=passes)
        self.stubs = Stubs(models, passes=passes)
        for plan in given.plans:
            plan.arm(self.plans, journal.secrets)
        try:
            for stub in given.stubs:
                stub.arm(self.stubs, journal.secrets)
        except BaseException:
            self.stubs.close()  # or the models of those before it would stay
            raise
        #: the same set in each harness that takes the place of another: what is allowed meanwhile stays so
        self.allowed: set[str] = set() if allowed is None else allowed
        #: requests for paths and models that are not there, and handlers that failed, as texts
        self._unknown: list[str] = []
        self._exceptions: list[str] = []

    def __repr__(self) -> str:
        return f"<Harness {len(self.journal.entries)} entries, {len(list(self.plans))} plans>"

    # --- on the event loop ---

    def meet(self, entry: JournalEntry) -> None:
        """Give a request, whose operation is known, the fault of the first plan that it meets."""
        met = self.plans.choose(entry)
        if met is not None:
            entry.plan, entry.script = met
            entry.fault = str(entry.plan.fault)

    def end(self, entry: JournalEntry) -> None:
        """The last byte of an answer is about to be sent, or the client has gone. A second call does nothing."""
        if entry.ended_ns:
            return
        if entry.plan is not None:
            entry.plan.settle(entry.script)
        elif entry.code != HTTP_OK and entry.asks_for_nothing():
            self._note(self._unknown, repr(entry))
        entry.end()
        if self.recorder is not None:
            self.recorder.take(entry)

    def failed(self, entry: JournalEntry, fault: Exception) -> None:
        """A handler raised what it should not."""
        # The exception itself would keep the frames of its traceback, and with them the whole request.
        entry.exception = TracebackException.from_exception(fault)
        self._note(self._exceptions, f"{entry!r} raised {type(fault).__name__}: {fault}")

    def missed(self, entry: JournalEntry, text: str) -> None:
        """A request to a model that only stubs have fits none of them."""
        self._note(self._unknown, f"{entry.protocol} {entry.operation}: {text}")

    def not_recorded(self, text: str) -> None:
        """No recording answers a request."""
        self._note(self._unknown, text)

    @staticmethod
    def _note(texts: list[str], text: str) -> None:
        if len(texts) < _MOST_TEXTS:
            texts.append(text)

    # --- of a test ---

    def allow(self, *problems: str) -> None:
        """Do not report these problems. Raises ValueError for a word that is none of them."""
        for problem in problems:
            if problem not in PROBLEMS:
                raise ValueError(f"a problem is one of {', '.join(PROBLEMS)}, not {problem!r}")
        self.allowed.update(problems)

    def problems(self) -> Iterator[str]:
        """What a test that has ended should be failed for."""
        if "unfired" not in self.allowed:
            for plan in self.plans:
                if not plan.standing:
                    yield from plan.problems()
        if "unused" not in self.allowed:
            for stub in self.stubs:
                if not stub.standing:
                    yield from stub.problems()
        if "unknown" not in self.allowed:
            yield from (f"a request for what is not there: {text}" for text in self._unknown)
        if "exceptions" not in self.allowed and self.recorder is not None and self.recorder.fault is not None:
            yield f"an exchange could not be recorded: {self.recorder.fault}"
        if "exceptions" not in self.allowed:
            yield from (f"a handler failed: {text}" for text in self._exceptions)


class Unwatched(Harness):
    """The harness of entries that no journal has."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def end(self, entry: JournalEntry) -> None:
        entry.end()


def unwatched(like: JournalEntry) -> Unwatched:
    """A harness for an answer to the same request that is only compared; it keeps as much as that entry's journal."""
    return Unwatched(like.another_journal())
