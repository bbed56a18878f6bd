"""The journal as a test sees it: all requests of a session, or those that fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, overload

from triton_emulator.harness.arguments import named
from triton_emulator.harness.criteria import Criteria, Predicate
from triton_emulator.harness.journal import Journal, JournalEntry


class Requests:
    """Requests in the order in which they came, with their answers. It is live: it shows what comes later, too."""

    def __init__(self, journal: Journal, criteria: tuple[Criteria, ...] = ()) -> None:
        self._journal = journal
        self._criteria = criteria

    def __repr__(self) -> str:
        of = f" for {' and '.join(map(str, self._criteria))}" if self._criteria else ""
        return f"<Requests{of}: {self.count}>"

    @named
    def where(
        self,
        operation: str | None = None,
        *,
        model: str | None = None,
        version: str | int | None = None,
        protocol: str | None = None,
        headers: Mapping[str, Any] | None = None,
        where: Predicate | None = None,
    ) -> Requests:
        """Those of these that fit. A header's value is a text, a compiled pattern that matches somewhere, or None.

        Raises ValueError for an operation or a protocol that there is not.
        """
        criteria = Criteria.of(operation, model, version, protocol, headers, where, self._journal.secrets)
        return Requests(self._journal, (*self._criteria, criteria))

    def _entries(self) -> list[JournalEntry]:
        return [entry for entry in self._journal.entries if all(each.fits(entry) for each in self._criteria)]

    def __iter__(self) -> Iterator[JournalEntry]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    @overload
    def __getitem__(self, at: int) -> JournalEntry: ...

    @overload
    def __getitem__(self, at: slice) -> list[JournalEntry]: ...

    def __getitem__(self, at: int | slice) -> JournalEntry | list[JournalEntry]:
        return self._entries()[at]

    @property
    def count(self) -> int:
        """How many there are. Requests that fell out of the journal do not count: see `dropped`."""
        return len(self)

    @property
    def dropped(self) -> int:
        """How many requests of the session, whichever they were, have fallen out of the journal."""
        return self._journal.dropped

    @property
    def first(self) -> JournalEntry:
        """The oldest. Raises LookupError where there is none."""
        return self._one(0)

    @property
    def last(self) -> JournalEntry:
        """The newest. Raises LookupError where there is none."""
        return self._one(-1)

    def _one(self, at: int) -> JournalEntry:
        entries = self._entries()
        if not entries:
            wanted = " and ".join(map(str, self._criteria)) or "any request"
            others = len(self._journal.entries)
            raise LookupError(f"no request for {wanted} has come; the journal has {others} requests")
        return entries[at]

    @named
    def wait_for(self, count: int = 1, timeout: float = 10.0) -> Requests:
        """Wait until there are `count` of them with complete answers; returns this.

        Raises TimeoutError after `timeout` seconds, with the requests that have come.
        """
        if not self._journal.wait(lambda: self._complete() >= count, timeout):
            raise TimeoutError(
                f"{self._complete()} of {count} requests came within {timeout} s: {list(self)}"
            )
        return self

    def _complete(self) -> int:
        return sum(entry.complete for entry in self._entries())
