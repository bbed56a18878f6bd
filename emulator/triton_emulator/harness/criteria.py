"""Which requests a plan or a question is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_emulator.harness.journal import REDACTED, SECRET_HEADERS, JournalEntry, Undecodable
from triton_emulator.harness.operations import check_operation, check_protocol

Predicate = Callable[[JournalEntry], bool]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a request has to be. None is anything."""

    operation: str | None = None
    model: str | None = None
    version: str | None = None
    protocol: str | None = None
    headers: tuple[tuple[str, Any], ...] = ()
    where: Predicate | None = None
    #: the names of headers whose values are not shown
    secrets: Collection[str] = field(default=SECRET_HEADERS, compare=False)

    @classmethod
    def of(
        cls,
        operation: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
        protocol: str | None = None,
        headers: Mapping[str, Any] | None = None,
        where: Predicate | None = None,
        secrets: Collection[str] = SECRET_HEADERS,
    ) -> Criteria:
        """Raises ValueError for an operation or a protocol that there is not, TypeError for another type."""
        if operation is not None:
            check_operation(operation)
        if protocol is not None:
            check_protocol(protocol)
        if model is not None and not isinstance(model, str):
            raise TypeError(f"model is a str, not {model!r}")
        if version is not None and (isinstance(version, bool) or not isinstance(version, str | int)):
            raise TypeError(f"version is a str or an int, not {version!r}")
        if where is not None and not callable(where):
            raise TypeError(f"where is a function of an entry of the journal, not {where!r}")
        wanted = tuple(sorted((name.lower(), value) for name, value in (headers or {}).items()))
        for name, value in wanted:
            if value is not None and not isinstance(value, str | re.Pattern):
                raise TypeError(f"the header {name!r} is a str, a compiled pattern or None, not {value!r}")
        return cls(
            operation, model, None if version is None else str(version), protocol, wanted, where, secrets
        )

    def __str__(self) -> str:
        named = ("operation", "model", "version", "protocol")
        parts = [f"{name}={getattr(self, name)!r}" for name in named if getattr(self, name) is not None]
        parts += [f"headers={self.shown_headers()!r}"] if self.headers else []
        parts += [f"where={getattr(self.where, '__name__', self.where)}"] if self.where else []
        return ", ".join(parts) or "any request"

    def shown_headers(self) -> Mapping[str, Any]:
        """What is wanted of the headers, for messages: texts that are secrets are redacted."""
        return {
            name: REDACTED if isinstance(value, str) and name in self.secrets else value
            for name, value in self.headers
        }

    def fits(self, entry: JournalEntry) -> bool:
        """Whether an entry is all that; raises what `where` raises."""
        return (
            self.operation in (None, entry.operation)
            and self.model in (None, entry.model)
            and self.version in (None, entry.version)
            and self.protocol in (None, entry.protocol)
            and (not self.headers or self._headers_fit(entry))
            and self.where_fits(entry)
        )

    def where_fits(self, entry: JournalEntry) -> bool:
        """Whether `where` is true of an entry. It is not where it looks at the tensors of a request that has none."""
        try:
            return self.where is None or bool(self.where(entry))
        except Undecodable:
            return False

    def _headers_fit(self, entry: JournalEntry) -> bool:
        given = entry.given_headers
        return all(name in given and header_fits(given[name], value) for name, value in self.headers)


def header_fits(given: str, wanted: Any) -> bool:
    """Whether a header's value is what is wanted."""
    if wanted is None:
        return True
    return given == wanted if isinstance(wanted, str) else wanted.search(given) is not None
