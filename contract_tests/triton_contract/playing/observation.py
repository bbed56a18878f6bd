"""What one server showed for one case, as a value: it is what is recorded and compared."""

from __future__ import annotations

from dataclasses import dataclass

from triton_contract.clients.exchange import Exchange

Counts = dict[str, int]
"""Counts of the statistics by a path such as `two/1/inference_stats/success`; zeros are left out."""

SHARED_MEMORY = "shared memory"
"""The `ending` of an entry that is not an answer: it holds the bytes of a shared memory object in `extra`."""

IN_VAIN = "waited in vain: "
"""How the `ending` of an entry begins that stands for requests that were never queued as the case waits for."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one server showed for one case.

    `counts` is what the case added to the statistics (None: they were not read). `before` and `after` are the
    statistics themselves. `death` says how the server ended, if it did. `unproven` says why the server was not asked;
    there are no exchanges then.
    """

    exchanges: tuple[Exchange, ...]
    counts: Counts | None = None
    death: str | None = None
    before: Counts | None = None
    after: Counts | None = None
    unproven: str = ""
